"""Curvature of the training loss: eigenvalues, trace and spectral density of its Hessian."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from tapjax.measure.moments import moment
from tapjax.measure.training_examples import training_examples

EXAMPLES = 1024
ITERATIONS = 30  # of Lanczos
TOP = 3  # eigenvalues
PROBES = 10  # random vectors for each of the three parts of the trace
EPSILON = 1e-8  # of Adam
ROUNDING = 1e-6  # relative length below which a vector is a rounding error


def measure(model, loss, state, data, key) -> dict:
    """Measure the Hessian of the mean loss of training examples by Hessian-vector products.

    Question: how sharp is the loss where the network stands? With full-batch gradient descent the
    largest eigenvalue rises to 2 / learning rate and stays there (Cohen et al. 2021,
    https://arxiv.org/abs/2103.00065). The spectral density is that of stochastic Lanczos quadrature
    (Ghorbani et al. 2019, https://arxiv.org/abs/1901.10159), from one random vector.

    Args:
      model: network, a `types.Model`; it is run in evaluation mode.
      loss: loss per example, `(outputs, batch) -> [B]`.
      state: TrainState of one seed.
      data: DeviceData; `EXAMPLES` training examples are used.
      key: random key.

    Returns:
      `top [3]`, the largest eigenvalues, largest first; `bottom`, the smallest; `ritz [30]` and
      `density [30]`, points of the spectrum in ascending order, and the share of all eigenvalues
      that lie near each; `trace`, the estimate of the sum of all eigenvalues by Hutch++ (Meyer et
      al. 2021, https://arxiv.org/abs/2010.09649), and `trace_error`, its standard error. With an
      optimizer of Adam's kind also `preconditioned_top [3]`, the largest eigenvalues of
      P^-1/2 H P^-1/2 with P = sqrt(second moment) + 1e-8, which Adam keeps near 38 / learning rate
      (Cohen et al. 2022, https://arxiv.org/abs/2207.14484). Its moment is the stored one: before
      about 3 / (1 - b2) steps t, multiply by sqrt(1 - b2^t).
    """
    batch = training_examples(data, EXAMPLES)
    at, unravel = ravel_pytree(state.params)

    def cost(flat):
        outputs, _, _ = model.apply(unravel(flat), state.stats, batch.x)
        return loss(outputs, batch).mean()

    def product(v):
        # Twice backwards, because convolutions on CPU have no derivative in forward mode.
        return jax.grad(lambda flat: jax.grad(cost)(flat) @ v)(at)

    start, signs = jax.random.split(key)
    count = min(ITERATIONS, at.size)
    first = jax.random.normal(start, at.shape)
    ritz_K, share_K = lanczos(product, first, count)
    found = {
        "top": ritz_K[::-1][:TOP],
        "bottom": ritz_K[0],
        "ritz": ritz_K,
        "density": share_K,
        **trace(product, signs, at.size),
    }
    nu = moment(state.opt, state.params, ("nu",))
    if nu is not None:
        scale = 1 / jnp.sqrt(jnp.sqrt(ravel_pytree(nu)[0]) + EPSILON)
        ritz_K, _ = lanczos(lambda v: scale * product(scale * v), first, count)
        found["preconditioned_top"] = ritz_K[::-1][:TOP]
    return found


def trace(product, key, size: int) -> dict:
    """Estimate the trace of a symmetric matrix by Hutch++.

    The trace on the range of a sketch of the matrix is computed exactly, and that on the rest by
    random vectors.

    Args:
      product: function v -> A v.
      key: random key.
      size: length D of the vectors.

    Returns:
      `trace`, and `trace_error`, its standard error, 0 if the sketch spans the whole space.
    """
    sketched, rest = jax.random.split(key)
    probes = min(PROBES, size)
    s_RxD = jax.random.rademacher(sketched, (probes, size), jnp.float32)
    q_DxR, _ = jnp.linalg.qr(jax.lax.map(product, s_RxD).T)
    exact = jax.lax.map(lambda q: q @ product(q), q_DxR.T).sum()
    g_RxD = jax.random.rademacher(rest, (PROBES, size), jnp.float32)
    g_RxD = g_RxD - (g_RxD @ q_DxR) @ q_DxR.T
    rest_R = jax.lax.map(lambda g: g @ product(g), g_RxD)
    return {
        "trace": exact + rest_R.mean(),
        "trace_error": rest_R.std(ddof=1) / PROBES**0.5,
    }


def lanczos(product, start, count: int):
    """Approximate the spectrum of a symmetric matrix by Lanczos iteration.

    Every new vector is made orthogonal to all earlier ones twice.

    Args:
      product: function v -> A v.
      start: vector [D] with which the iteration starts.
      count: number of iterations, at most D.

    Returns:
      (eigenvalues of the tridiagonal matrix in ascending order [count], squared first components of
      its eigenvectors [count]). The largest and smallest converge to those of A; the second are the
      weights of the spectral density that the start vector sees.

    Examples:
      >>> diagonal = jnp.array([1.0, 2.0, 5.0])
      >>> values, _ = lanczos(lambda v: diagonal * v, jnp.ones(3), 3)
      >>> values.round(3).tolist()
      [1.0, 2.0, 5.0]
    """
    basis_KxD = jnp.zeros((count, start.size), start.dtype)
    v = start / jnp.linalg.norm(start)

    def step(carry, i):
        basis_KxD, v = carry
        basis_KxD = basis_KxD.at[i].set(v)
        w = product(v)
        diagonal, whole = w @ v, jnp.linalg.norm(w)
        for _ in range(2):
            w = w - (basis_KxD @ w) @ basis_KxD
        length = jnp.linalg.norm(w)
        more = length > ROUNDING * whole  # otherwise the subspace is invariant, and ends
        length = jnp.where(more, length, 0.0)
        following = jnp.where(more, w / jnp.where(more, length, 1.0), 0.0)
        return (basis_KxD, following), (diagonal, length, v @ v > 0)

    found = jax.lax.scan(step, (basis_KxD, v), jnp.arange(count))[1]
    diagonal_K, beside_K, used_K = found
    # What follows an invariant subspace gets a value within the spectrum, and has no weight.
    diagonal_K = jnp.where(used_K, diagonal_K, diagonal_K[0])
    matrix = jnp.diag(diagonal_K) + jnp.diag(beside_K[:-1], 1) + jnp.diag(beside_K[:-1], -1)
    values_K, vectors_KxK = jnp.linalg.eigh(matrix)
    return values_K, jnp.square(vectors_KxK[0])
