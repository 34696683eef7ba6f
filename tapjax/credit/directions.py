"""Random directions, and how the loss answers to a small step along them: forward passes only."""

import jax
import jax.numpy as jnp

from tapjax.types import ForwardView

CENTRAL, ONE_SIDED = 1e-2, 1e-3  # steps with the smallest error in float32


def directions(key, shape, kind: str):
    """Random directions v with E[v v^T] = I.

    Args:
      key: random key.
      shape: of the result.
      kind: `rademacher`, 32 signs from each random word, or `gaussian`.

    Returns:
      float32 array.
    """
    if kind == "gaussian":
        return jax.random.normal(key, shape)
    size = 1
    for n in shape:
        size *= n
    words = jax.random.bits(key, (-(-size // 32), 1), jnp.uint32)
    bits = (words >> jnp.arange(32, dtype=jnp.uint32)[None]) & 1
    return (1.0 - 2.0 * bits.reshape(-1)[:size].astype(jnp.float32)).reshape(shape)


def tail_targets(seen: ForwardView, v_LxMxB, mode: str = "jvp"):
    """How the loss answers to a step at each hidden layer, with all blocks above it run again.

    Args:
      seen: after the forward pass.
      v_LxMxB: directions [L, M, B, ...] at h_0 ... h_{L-1}.
      mode: `jvp` (exact, forward mode), `central` or `onesided` differences.

    Returns:
      [L, M, B], the derivative along each direction.
    """
    if mode == "jvp":
        return _tangents(seen, v_LxMxB)
    h = seen.h[:-1, None]
    if mode == "central":
        up, down = (losses_from_each(seen, h + s * CENTRAL * v_LxMxB) for s in (1, -1))
        return (up - down) / (2 * CENTRAL)
    return (losses_from_each(seen, h + ONE_SIDED * v_LxMxB) - seen.loss[None, None]) / ONE_SIDED


def _tangents(seen, v_LxMxB):
    """All layers' tangents go up together: each block is linearised once."""
    moving = v_LxMxB[:0]
    for i, v in enumerate(v_LxMxB):
        _, along = jax.linearize(lambda h, i=i: seen.block(i, h), seen.h[i])
        moving = jax.vmap(jax.vmap(along))(jnp.concatenate([moving, v[None]]))
    _, along = jax.linearize(seen.terminal, seen.h[-1])
    return jax.vmap(jax.vmap(along))(moving)


def losses_from_each(seen: ForwardView, starts):
    """The losses that follow from other hidden states.

    Args:
      seen: after the forward pass.
      starts: [L or L+1, M, B, ...], states at h_0, h_1, ...

    Returns:
      [L or L+1, M, B].
    """
    moving = starts[:0]
    for i in range(len(seen.h) - 1):
        together = jnp.concatenate([moving, starts[i][None]])
        moving = jax.vmap(jax.vmap(lambda h, i=i: seen.block(i, h)))(together)
    moving = jnp.concatenate([moving, starts[len(seen.h) - 1 :]])
    return jax.vmap(jax.vmap(seen.terminal))(moving)


def joint_targets(seen: ForwardView, v_LxMxB):
    """The loss's answer to steps at all hidden layers at once: one forward pass a direction.

    Its expectation over the other layers' directions is that of `tail_targets`, at one L-th of the
    cost and with more noise.

    Returns:
      [M, B].
    """

    def loss(shift_LxB):
        h = seen.h[0]
        for i in range(len(shift_LxB)):
            h = seen.block(i, h + shift_LxB[i])
        return seen.terminal(h)

    _, along = jax.linearize(loss, jnp.zeros_like(seen.h[:-1]))
    return jax.vmap(along, in_axes=1)(v_LxMxB)


def block_targets(seen: ForwardView, a_LxB, v_LxMxB):
    """What the next layer's credit says of a step at each layer: one block forward a direction.

    <a_{l+1}, J_l v>, with J_l the block's Jacobian: the adjoint recursion in forward mode. Exact
    where a_{l+1} is.

    Args:
      seen: after the forward pass.
      a_LxB: credits [L+1, B, ...], the last one exact.
      v_LxMxB: directions.

    Returns:
      [L, M, B].
    """
    moved = block_responses(seen, v_LxMxB)
    return (moved * a_LxB[1:, None]).reshape(*moved.shape[:3], -1).sum(-1)


def block_responses(seen: ForwardView, v_LxMxB):
    """How each block's output answers to a step at its input: J_l v, by forward mode.

    Returns:
      [L, M, B, ...].
    """
    answers = []
    for i, v in enumerate(v_LxMxB):
        _, along = jax.linearize(lambda h, i=i: seen.block(i, h), seen.h[i])
        answers.append(jax.vmap(along)(v))
    return jnp.stack(answers)
