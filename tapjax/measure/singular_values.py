"""Singular values of activation matrices, without vectors, accurate enough to be summed.

A float32 Gram matrix loses up to 1e-3 of a participation ratio, and a float32 SVD up to 5e-5
where the matrix is of low rank. On CPU a float64 Gram matrix and LAPACK's values-only symmetric
eigensolver stay within 1e-6 everywhere and are faster; the centred matrix shares the Gram matrix.
Accelerators, where float64 is slow or missing, take float32 SVDs. Tests hold both against a
float64 SVD.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg  # noqa: F401  loads the LAPACK that jaxlib calls, for threadpool_limits
from threadpoolctl import threadpool_limits


def one_lapack_thread():
    """A context in which LAPACK has a single thread.

    XLA's threads call LAPACK. Threads of LAPACK's own would wait for each other in busy loops:
    ten times slower as soon as anything else runs on the machine.
    """
    return threadpool_limits(1, user_api="blas")


def spectra(a_NxD, centred: bool):
    """Singular values of a matrix and, if wanted, of it with its column means removed.

    Args:
      a_NxD: finite real float32 matrix.
      centred: whether to give the second spectrum too.

    Returns:
      One or two float32 arrays [min(N, D)], largest first.
    """
    if jax.default_backend() == "cpu":
        return _by_gram(centred)(a_NxD)
    return by_svd(a_NxD, centred)


def by_svd(a_NxD, centred: bool):
    """`spectra` by float32 SVDs, on any platform."""
    matrices = (a_NxD, a_NxD - a_NxD.mean(0, keepdims=True))
    return tuple(jnp.linalg.svd(a, compute_uv=False) for a in matrices[: 1 + centred])


@functools.cache
def _by_gram(centred: bool):
    """`spectra` by a float64 Gram matrix, batched by itself.

    Float64 exists only while the function below is traced, so that nothing else is promoted.
    An ordinary vmap would trace it anew outside that scope, and lose it.
    """

    @jax.custom_batching.custom_vmap
    def spectra_of(a_xNxD):
        with jax.enable_x64(True):
            grams = _gram(jax.lax.convert_element_type(a_xNxD, jnp.float64), centred)
            squares = _eigenvalues(jnp.stack(grams))
            values = jnp.sqrt(jnp.maximum(squares, 0.0))[..., ::-1]
            return tuple(jax.lax.convert_element_type(values, jnp.float32))

    @spectra_of.def_vmap
    def batched(size, is_batched, a_xNxD):
        del size, is_batched  # its only argument
        return spectra_of(a_xNxD), (True,) * (1 + centred)

    return spectra_of


def _gram(a_xNxD, centred):
    """Products of the matrix with itself on its smaller side, and of the centred one."""
    n, d = a_xNxD.shape[-2:]
    mean_x1xD = a_xNxD.mean(-2, keepdims=True)
    if n >= d:
        gram = a_xNxD.mT @ a_xNxD
        return (gram, gram - n * mean_x1xD.mT @ mean_x1xD)[: 1 + centred]
    gram = a_xNxD @ a_xNxD.mT
    by_row = gram.mean(-1, keepdims=True)
    return (gram, gram - by_row - by_row.mT + by_row.mean(-2, keepdims=True))[: 1 + centred]


def _eigenvalues(a_xNxN):
    """Eigenvalues in ascending order; `jnp.linalg.eigvalsh` would compute the vectors, too.

    One matrix a call: given several, jaxlib 0.10 to 0.11.1 hands them to XLA's threads and waits
    for them on one of those threads, and as many such calls as threads wait forever.
    """
    _load_lapack()
    *batch, n, _ = a_xNxN.shape
    call = jax.ffi.ffi_call(
        "lapack_dsyevd_ffi",
        (
            jax.ShapeDtypeStruct((n, n), jnp.float64),
            jax.ShapeDtypeStruct((n,), jnp.float64),
            jax.ShapeDtypeStruct((), jnp.int32),
        ),
    )

    def one(a_NxN):
        _, values, info = call(a_NxN, mode=np.uint8(ord("N")), uplo=np.uint8(ord("L")))
        return jnp.where(info == 0, values, jnp.nan)

    return jax.lax.map(one, a_xNxN.reshape(-1, n, n)).reshape(*batch, n)


@functools.cache
def _load_lapack():
    """Have jaxlib look up LAPACK, which lowering one of its own calls does; the process would
    crash without."""
    jax.jit(jnp.linalg.eigvalsh).lower(jax.ShapeDtypeStruct((2, 2), jnp.float32))
