"""Singular values of activation matrices, without vectors, accurate enough to be summed.

A float32 Gram matrix has errors of up to 1e-3 in a participation ratio. A float32 SVD has errors of
up to 5e-5 for matrices of low rank. On CPU, a float64 Gram matrix and LAPACK's symmetric
eigensolver for values only stay within 1e-6 for all matrices and are faster. The centred Gram
matrix is computed from the same Gram matrix, or from the centred matrix if the mean is much larger
than the spread. Accelerators, where float64 is slow or missing, use float32 SVDs. The tests compare
both with a float64 SVD.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg  # noqa: F401  loads the LAPACK that jaxlib calls, for threadpool_limits
from threadpoolctl import threadpool_limits

OUTSIDE = 1e-6  # largest error of the sum of singular values that a map may cause
NARROW = 1e-2  # share of the spread in the energy below which the mean is subtracted first


def one_lapack_thread():
    """Return a context manager that limits LAPACK to a single thread.

    XLA calls LAPACK from its own threads. Additional threads of LAPACK would wait for each other in
    busy loops, which is ten times slower as soon as anything else runs on the machine.
    """
    return threadpool_limits(1, user_api="blas")


def spectra(a_xNxD, centred: bool, map_xRxD=None):
    """Compute the singular values of matrices and, if requested, of the centred matrices.

    A centred matrix is a matrix without its column means.

    Args:
      a_xNxD: finite real float32 matrices.
      centred: whether to return the spectra of the centred matrices too.
      map_xRxD: matrices whose rows span the rows of `a`, for example the weights of an affine map
        with its bias as the last row, if `a` are outputs of this map. If R is at most half of N and
        of D, the spectra are computed in R dimensions, which is several times faster. None if no
        such matrices are known.

    Returns:
      Tuple of one or two float32 arrays [..., min(N, D)], or [..., R] if `map` was used, largest
      value first. All further singular values are zero.

    Examples:
      >>> plain, centred = spectra(jnp.eye(3), centred=True)
      >>> plain.round(3).tolist(), centred.round(3).tolist()
      ([1.0, 1.0, 1.0], [1.0, 1.0, 0.0])
    """
    matrices = [a_xNxD]
    if map_xRxD is not None and 2 * map_xRxD.shape[-2] <= min(a_xNxD.shape[-2:]):
        matrices.append(jnp.where(jnp.isfinite(map_xRxD), map_xRxD, 0.0))
    if jax.default_backend() == "cpu":
        return _by_gram(centred)(*matrices)
    return by_svd(a_xNxD, centred)


def by_svd(a_xNxD, centred: bool):
    """Compute `spectra` by float32 SVDs, on any platform."""
    matrices = (a_xNxD, a_xNxD - a_xNxD.mean(-2, keepdims=True))
    return tuple(jnp.linalg.svd(a, compute_uv=False) for a in matrices[: 1 + centred])


@cache
def _by_gram(centred: bool):
    """Make a function that computes `spectra` by float64 Gram matrices, one after another.

    The function has its own batching rule. Float64 is enabled only while the function below is
    traced, so that nothing else is promoted to float64. An ordinary vmap would trace the function
    again outside that scope, without float64.
    """

    def one(matrices):
        a_NxD, *maps = (jax.lax.convert_element_type(m, jnp.float64) for m in matrices)
        squares = _squares_by_map(a_NxD, *maps, centred) if maps else _squares(a_NxD, centred)
        return jnp.sqrt(squares)[:, ::-1].astype(jnp.float32)

    @jax.custom_batching.custom_vmap
    def spectra_of(*matrices):
        with jax.enable_x64(True):
            shape = matrices[0].shape[:-2]
            flat = [m.reshape(-1, *m.shape[-2:]) for m in matrices]
            found = jax.lax.map(one, flat) if shape else one([m[0] for m in flat])[None]
            return tuple(found[:, i].reshape(*shape, -1) for i in range(1 + centred))

    @spectra_of.def_vmap
    def batched(size, is_batched, *matrices):
        each = [
            m if batched else jnp.broadcast_to(m, (size, *m.shape))
            for m, batched in zip(matrices, is_batched, strict=True)
        ]
        return spectra_of(*each), (True,) * (1 + centred)

    return spectra_of


def _squares(a_NxD, centred):
    """Compute the squared singular values, and those of the centred matrix, in ascending order."""
    return jnp.maximum(jnp.stack([_eigenvalues(gram) for gram in _gram(a_NxD, centred)]), 0.0)


def _squares_by_map(a_NxD, map_RxD, centred):
    """Compute `_squares` in the dimensions of the map, unless too much of `a` is outside of them.

    What is outside adds at most the square root of its energy, times that of the number of further
    singular values, to their sum.
    """
    inside_NxR = a_NxD @ jnp.linalg.qr(map_RxD.T).Q  # Householder: maps may be singular
    further = min(a_NxD.shape) - inside_NxR.shape[1]
    squares = jnp.pad(_squares(inside_NxR, centred), ((0, 0), (further, 0)))
    outside = jnp.maximum(jnp.square(a_NxD).sum() - jnp.square(inside_NxR).sum(), 0.0)
    error = jnp.sqrt(further * outside)
    near = (error <= OUTSIDE * jnp.sqrt(squares).sum(-1)).all()
    near &= ~_is_narrow(a_NxD) if centred else True
    return jax.lax.cond(near, lambda: squares, lambda: _squares(a_NxD, centred))


def _gram(a_NxD, centred):
    """Compute the Gram matrices of the matrix and the centred matrix, on the smaller side."""
    product = (lambda a: a.T @ a) if a_NxD.shape[0] >= a_NxD.shape[1] else (lambda a: a @ a.T)
    gram = product(a_NxD)
    if not centred:
        return (gram,)
    of_spread = jax.lax.cond(
        _is_narrow(a_NxD),
        lambda: product(a_NxD - a_NxD.mean(0, keepdims=True)),
        lambda: _without_mean(a_NxD, gram),
    )
    return gram, of_spread


def _is_narrow(a_NxD):
    """Decide whether the mean is so large that rounding would blur the centred Gram matrix."""
    energy = jnp.square(a_NxD).sum()
    spread = energy - len(a_NxD) * jnp.square(a_NxD.mean(0)).sum()
    return spread < NARROW * energy


def _without_mean(a_NxD, gram):
    """Compute the Gram matrix of the centred matrix from that of the matrix."""
    n, d = a_NxD.shape
    if n >= d:
        mean_1xD = a_NxD.mean(0, keepdims=True)
        return gram - n * mean_1xD.T @ mean_1xD
    by_row = gram.mean(-1, keepdims=True)
    return gram - by_row - by_row.T + by_row.mean(0, keepdims=True)


def _eigenvalues(a_NxN):
    """Compute eigenvalues in ascending order, without the vectors of `jnp.linalg.eigvalsh`.

    Each call gets one matrix. If a call gets several matrices, jaxlib 0.10 to 0.11.1 distributes
    them over XLA's threads and waits for the results on one of these threads. When there are as
    many such calls as threads, they wait forever.
    """
    _load_lapack()
    n = len(a_NxN)
    call = jax.ffi.ffi_call(
        "lapack_dsyevd_ffi",
        (
            jax.ShapeDtypeStruct((n, n), jnp.float64),
            jax.ShapeDtypeStruct((n,), jnp.float64),
            jax.ShapeDtypeStruct((), jnp.int32),
        ),
    )
    _, values, info = call(a_NxN, mode=np.uint8(ord("N")), uplo=np.uint8(ord("L")))
    return jnp.where(info == 0, values, jnp.nan)


@cache
def _load_lapack():
    """Make jaxlib load LAPACK, without which the process would crash.

    Lowering one of jaxlib's own calls loads it.
    """
    jax.jit(jnp.linalg.eigvalsh).lower(jax.ShapeDtypeStruct((2, 2), jnp.float32))
