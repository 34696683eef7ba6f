"""Compiles inner loops where numba is installed (extra `edm`); elsewhere NumPy does the same."""

try:
    import numba
except ImportError:
    compiled = None
else:
    compiled = numba.njit(cache=True, error_model="numpy")
