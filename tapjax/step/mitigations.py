"""Optax transformations of gradients and updates that keep a network able to learn.

At strength 0 each leaves an update unchanged, bit for bit. Random ones use the `key` that step.py
passes to every update. Each has its own type of state, so that optimizer_reset.py can define what
happens to it when units are renewed.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Noise(NamedTuple):
    """Updates made so far, by which the noise has faded."""

    updates_made: jax.Array


class Start(NamedTuple):
    """The weights that a network, or a renewed unit of it, began with."""

    weights: Any


class Spectral(NamedTuple):
    """The right singular vector of every matrix, as far as known, in the order of the leaves.

    Biases and other vectors have none, and no entry.
    """

    vectors: tuple[jax.Array, ...]


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
    """Regenerative L2: a pull towards the weights of the beginning (Kumar et al. 2023).

    Args:
      strength: of the gradient strength * (w - w_0).

    Returns:
      A transformation whose state are the weights of the beginning. Of a unit that is renewed
      they are those it is renewed with: its outgoing weights are pulled to 0.
    """

    def init(params):
        return Start(jax.tree.map(jnp.copy, params))

    def update(updates, start, params=None):
        pull = lambda g, w, w0: g + strength * (w - w0)  # noqa: E731
        return jax.tree.map(pull, updates, params, start.weights), start

    return optax.GradientTransformation(init, update)


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
        # A matrix of zeros, as of a head that starts from zero, says nothing: keep the vector.
        v = jnp.where(back.any(), _unit(back), v)
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
