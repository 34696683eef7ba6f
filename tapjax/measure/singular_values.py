"""Singular values of activation matrices, without vectors, accurate enough to be summed.

A float32 Gram matrix has errors of up to 1e-3 in a participation ratio. A float32 SVD has errors of
up to 5e-5 for matrices of low rank. On CPU, a float64 Gram matrix and LAPACK's symmetric
eigensolver for values only stay within 1e-6 for all matrices and are faster. The centred matrix is
computed from the same Gram matrix. Accelerators, where float64 is slow or missing, use float32
SVDs. The tests compare both with a float64 SVD.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg  # noqa: F401  loads the LAPACK that jaxlib calls, for threadpool_limits
from threadpoolctl import threadpool_limits


def one_lapack_thread():
    """Return a context manager that limits LAPACK to a single thread.

    XLA calls LAPACK from its own threads. Additional threads of LAPACK would wait for each other in
    busy loops, which is ten times slower as soon as anything else runs on the machine.
    """
    return threadpool_limits(1, user_api="blas")


def spectra(a_NxD, centred: bool):
    """Compute the singular values of a matrix and, if requested, of the centred matrix.

    The centred matrix is the matrix without its column means.

    Args:
      a_NxD: finite real float32 matrix.
      centred: whether to return the spectrum of the centred matrix too.

    Returns:
      Tuple of one or two float32 arrays [min(N, D)], largest value first.

    Examples:
      >>> plain, centred = spectra(jnp.eye(3), centred=True)
      >>> plain.round(3).tolist(), centred.round(3).tolist()
      ([1.0, 1.0, 1.0], [1.0, 1.0, 0.0])
    """
    if jax.default_backend() == "cpu":
        return _by_gram(centred)(a_NxD)
    return by_svd(a_NxD, centred)


def by_svd(a_NxD, centred: bool):
    """Compute `spectra` by float32 SVDs, on any platform."""
    matrices = (a_NxD, a_NxD - a_NxD.mean(0, keepdims=True))
    return tuple(jnp.linalg.svd(a, compute_uv=False) for a in matrices[: 1 + centred])


@functools.cache
def _by_gram(centred: bool):
    """Make a function that computes `spectra` by a float64 Gram matrix.

    The function has its own batching rule. Float64 is enabled only while the function below is
    traced, so that nothing else is promoted to float64. An ordinary vmap would trace the function
    again outside that scope, without float64.
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
        del size, is_batched  # the function has only one argument
        return spectra_of(a_xNxD), (True,) * (1 + centred)

    return spectra_of


def _gram(a_xNxD, centred):
    """Compute the Gram matrices of the matrix and the centred matrix, on the smaller side."""
    n, d = a_xNxD.shape[-2:]
    mean_x1xD = a_xNxD.mean(-2, keepdims=True)
    if n >= d:
        gram = a_xNxD.mT @ a_xNxD
        return (gram, gram - n * mean_x1xD.mT @ mean_x1xD)[: 1 + centred]
    gram = a_xNxD @ a_xNxD.mT
    by_row = gram.mean(-1, keepdims=True)
    return (gram, gram - by_row - by_row.mT + by_row.mean(-2, keepdims=True))[: 1 + centred]


def _eigenvalues(a_xNxN):
    """Compute eigenvalues in ascending order, without the vectors of `jnp.linalg.eigvalsh`.

    Each call gets one matrix. If a call gets several matrices, jaxlib 0.10 to 0.11.1 distributes
    them over XLA's threads and waits for the results on one of these threads. When there are as
    many such calls as threads, they wait forever.
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
    """Make jaxlib load LAPACK, without which the process would crash.

    Lowering one of jaxlib's own calls loads it.
    """
    jax.jit(jnp.linalg.eigvalsh).lower(jax.ShapeDtypeStruct((2, 2), jnp.float32))
