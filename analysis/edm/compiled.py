"""Compilation of inner loops by numba, if it is installed (extra `edm`).

Without numba, NumPy code computes the same results.
"""

from importlib.util import find_spec

AVAILABLE = find_spec("numba") is not None


def compiled(function):
    """Compile a function with numba.

    numba is imported here and not at the top of the module because its import takes half a second.
    """
    import numba

    return numba.njit(cache=True, error_model="numpy")(function)
