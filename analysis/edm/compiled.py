"""Compiles inner loops where numba is installed (extra `edm`); elsewhere NumPy does the same."""

from importlib.util import find_spec

AVAILABLE = find_spec("numba") is not None


def compiled(function):
    """The function compiled by numba, which takes half a second to import: only when it is used."""
    import numba

    return numba.njit(cache=True, error_model="numpy")(function)
