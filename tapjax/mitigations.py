"""What is done to gradients and updates so that a network goes on learning: optax transformations.

Each at strength 0 leaves an update as it was, bit for bit. Those that draw take the random `key`
that every update is given (see step.py).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def noisy_gradient(scale: float, decay: float) -> optax.GradientTransformationExtraArgs:
    """Noise in proportion to each parameter's whole gradient: g + scale decay^t |g| N(0, I).

    The deviation of one entry is that of the gradient's norm, so that the noise's norm is scale
    times the square root of the number of entries of it. decay=0 is a single noisy step (0^0 = 1).

    Args:
      scale: sigma_0.
      decay: lambda.

    Returns:
      A transformation.
    """

    def init(params):
        del params
        return jnp.int32(0)

    def update(updates, step, params=None, *, key, **extra):
        del params, extra
        size = scale * jnp.float32(decay) ** step
        leaves, structure = jax.tree.flatten(updates)
        keys = jax.random.split(key, len(leaves))
        noisy = [
            g + size * jnp.sqrt(jnp.vdot(g, g)) * jax.random.normal(k, g.shape)
            for g, k in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(structure, noisy), step + 1

    return optax.GradientTransformationExtraArgs(init, update)


def towards_start(strength: float) -> optax.GradientTransformation:
    """Regenerative L2: a pull towards the weights of the beginning (Kumar et al. 2023).

    Args:
      strength: of the gradient strength * (w - w_0).

    Returns:
      A transformation whose state are the weights of the beginning.
    """

    def init(params):
        return jax.tree.map(jnp.copy, params)

    def update(updates, start, params=None):
        pull = lambda g, w, w0: g + strength * (w - w0)  # noqa: E731
        return jax.tree.map(pull, updates, params, start), start

    return optax.GradientTransformation(init, update)


class Spectral(NamedTuple):
    """The right singular vector of every matrix, as far as known."""

    vectors: Any


def spectral(strength: float) -> optax.GradientTransformation:
    """The gradient of strength * sum (sigma_1(W)^2 - 1)^2 (Lewandowski et al. 2024, k = 2).

    sigma_1 by one power iteration a step from where the last one ended; kernels as matrices of all
    inputs by outputs. Vectors such as biases are left alone.

    Args:
      strength: of the penalty.

    Returns:
      A transformation.
    """

    def init(params):
        def start(w):
            return jnp.ones(w.shape[-1]) * w.shape[-1] ** -0.5 if w.ndim > 1 else jnp.zeros(0)

        return Spectral(jax.tree.map(start, params))

    def update(updates, state, params=None):
        leaves, structure = jax.tree.flatten(params)
        gradients, vectors = jax.tree.leaves(updates), structure.flatten_up_to(state.vectors)
        both = [_push(*item) for item in zip(gradients, leaves, vectors, strict=True)]
        pushed, vectors = zip(*both, strict=True)
        unflatten = jax.tree.unflatten
        return unflatten(structure, pushed), Spectral(unflatten(structure, vectors))

    def _push(g, w, v):
        if w.ndim < 2:
            return g, v
        matrix = w.reshape(-1, w.shape[-1])
        u = _unit(matrix @ v)
        v = _unit(matrix.T @ u)
        sigma = u @ (matrix @ v)
        slope = 4 * sigma * (sigma**2 - 1) * jnp.outer(u, v)
        return g + strength * slope.reshape(w.shape), v

    return optax.GradientTransformation(init, update)


def _unit(v):
    return v / jnp.maximum(jnp.linalg.norm(v), 1e-12)


def perturbed(scale: float) -> optax.GradientTransformationExtraArgs:
    """Noise of a fixed size on every parameter after every step: with weight decay, shrink and
    perturb (Ash and Adams 2020, as Dohare et al. 2024 use it).

    Args:
      scale: its standard deviation.

    Returns:
      A transformation, the last of a chain.
    """

    def update(updates, state, params=None, *, key, **extra):
        del params, extra
        leaves, structure = jax.tree.flatten(updates)
        keys = jax.random.split(key, len(leaves))
        noisy = [
            u + scale * jax.random.normal(k, u.shape) for u, k in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(structure, noisy), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
