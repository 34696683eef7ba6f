"""Optax transformations of gradients and updates that keep a network able to learn.

At strength 0 each of them leaves an update unchanged, bit for bit. The random ones use the `key`
that step.py passes to every update. Each has its own type of state, so that optimizer_reset.py
can define how units that are reset change this state.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Noise(NamedTuple):
    """Number of updates made so far, which determines how far the noise has decayed."""

    updates_made: jax.Array


class Start(NamedTuple):
    """Initial weights of the network, or of a reset unit the weights at its reset."""

    weights: Any


class Spectral(NamedTuple):
    """Estimates of the first right singular vector of every matrix, in the order of the leaves.

    Biases and other vectors have no entry.
    """

    vectors: tuple[jax.Array, ...]


def noisy_gradient(scale: float, decay: float) -> optax.GradientTransformationExtraArgs:
    """Add noise in proportion to the norm of each parameter's gradient.

    The gradient g becomes g + scale decay^t |g| N(0, I) at update t. |g| is the norm of the
    gradient of a whole parameter array. The standard deviation of the noise in one entry is
    therefore proportional to this norm, and the norm of the noise is about scale |g| times the
    square root of the number of entries. decay=0 gives a single noisy step (0^0 = 1).

    Args:
      scale: noise scale at the first update, sigma_0.
      decay: factor per update by which the scale decreases, lambda.

    Returns:
      An optax transformation whose update needs a random `key`.
    """

    def init(params):
        del params
        return Noise(jnp.int32(0))

    def update(updates, state, params=None, *, key, **extra):
        del params, extra
        size = scale * jnp.float32(decay) ** state.updates_made
        leaves, structure = jax.tree.flatten(updates)
        keys = jax.random.split(key, len(leaves))
        noisy = [
            g + size * jnp.sqrt(jnp.vdot(g, g)) * jax.random.normal(k, g.shape)
            for g, k in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(structure, noisy), Noise(state.updates_made + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def towards_start(strength: float) -> optax.GradientTransformation:
    """Add a pull towards the initial weights: regenerative L2 regularisation.

    The method is that of Kumar et al. 2023 (https://arxiv.org/abs/2308.11958).

    Args:
      strength: factor in the added gradient strength * (w - w_0).

    Returns:
      An optax transformation whose state is the initial weights w_0. When a unit is reset, its
      entries of w_0 are replaced by the weights that it gets at the reset. Its outgoing weights are
      then pulled to 0.
    """

    def init(params):
        return Start(jax.tree.map(jnp.copy, params))

    def update(updates, start, params=None):
        pull = lambda g, w, w0: g + strength * (w - w0)  # noqa: E731
        return jax.tree.map(pull, updates, params, start.weights), start

    return optax.GradientTransformation(init, update)


def spectral(strength: float) -> optax.GradientTransformation:
    """Add the gradient of strength * sum (sigma_1(W)^2 - 1)^2, a spectral regularisation.

    The method is that of Lewandowski et al. 2024 (https://arxiv.org/abs/2406.06811) with k = 2.
    The largest singular value sigma_1 is estimated by one power iteration per step, which starts
    from the result of the previous step. Kernels are reshaped to matrices of all inputs by outputs.
    Vectors such as biases are not regularised.

    Args:
      strength: factor of the penalty.

    Returns:
      An optax transformation.
    """

    def init(params):
        widths = [w.shape[-1] for w in jax.tree.leaves(params) if w.ndim > 1]
        return Spectral(tuple(jnp.ones(width) * width**-0.5 for width in widths))

    def update(updates, state, params=None):
        gradients, structure = jax.tree.flatten(updates)
        pushed, vectors, known = [], [], iter(state.vectors)
        for g, w in zip(gradients, jax.tree.leaves(params), strict=True):
            if w.ndim > 1:
                g, v = _push(g, w, next(known))
                vectors.append(v)
            pushed.append(g)
        return jax.tree.unflatten(structure, pushed), Spectral(tuple(vectors))

    def _push(g, w, v):
        matrix = w.reshape(-1, w.shape[-1])
        u = _unit(matrix @ v)
        back = matrix.T @ u
        # A matrix of zeros, such as a head initialised to zero, gives no direction.
        # Keep the previous vector in this case.
        v = jnp.where(back.any(), _unit(back), v)
        sigma = u @ (matrix @ v)
        slope = 4 * sigma * (sigma**2 - 1) * jnp.outer(u, v)
        return g + strength * slope.reshape(w.shape), v

    return optax.GradientTransformation(init, update)


def _unit(v):
    return v / jnp.maximum(jnp.linalg.norm(v), 1e-12)


def perturbed(scale: float) -> optax.GradientTransformationExtraArgs:
    """Add noise of a fixed size to every parameter after every step.

    Together with weight decay this is shrink and perturb (Ash and Adams 2020,
    https://arxiv.org/abs/1910.08475) in the form used by Dohare et al. 2024
    (https://doi.org/10.1038/s41586-024-07711-7).

    Args:
      scale: standard deviation of the noise.

    Returns:
      An optax transformation, which must be the last of a chain. Its update needs a random `key`.
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
