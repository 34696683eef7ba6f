"""Curvature of the training loss: eigenvalues, trace and spectral density of its Hessian."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from tapjax.measure.training_examples import training_examples

EXAMPLES = 1024
ITERATIONS = 30  # of Lanczos
TOP = 3  # eigenvalues
PROBES = 8  # random vectors for the trace
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
      that lie near each; `trace`, Hutchinson's estimate of the sum of all eigenvalues, and
      `trace_error`, its standard error.
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
    ritz_K, share_K = lanczos(product, jax.random.normal(start, at.shape), count)
    v_RxD = jax.random.rademacher(signs, (PROBES, at.size), jnp.float32)
    trace_R = jax.lax.map(lambda v: v @ product(v), v_RxD)
    return {
        "top": ritz_K[::-1][:TOP],
        "bottom": ritz_K[0],
        "ritz": ritz_K,
        "density": share_K,
        "trace": trace_R.mean(),
        "trace_error": trace_R.std(ddof=1) / PROBES**0.5,
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
