"""Random directions and directional derivatives of the loss along them.

All derivatives are computed with forward passes only.
"""

import jax
import jax.numpy as jnp

from tapjax.types import ForwardView

CENTRAL, ONE_SIDED = 1e-2, 1e-3  # step sizes with the smallest error in float32


def directions(key, shape, kind: str):
    """Draw random directions v with E[v v^T] = I.

    Args:
      key: random key.
      shape: shape of the result.
      kind: distribution of the entries: `rademacher` or `gaussian`. For `rademacher` each random
        32-bit word gives 32 signs.

    Returns:
      float32 array of the given shape.
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
    """Compute the derivatives of the loss along directions at each hidden layer separately.

    All blocks above the layer are run again.

    Args:
      seen: view of the forward pass, from `forward.observe`.
      v_LxMxB: directions [L, M, B, ...] at h_0, ..., h_{L-1}.
      mode: `jvp` (exact, forward mode), or `central` or `onesided` for finite differences.

    Returns:
      [L, M, B], the derivative of each example's loss along each direction.
    """
    if mode == "jvp":
        return _tangents(seen, v_LxMxB)
    h = seen.h[:-1, None]
    if mode == "central":
        up, down = (losses_from_each(seen, h + s * CENTRAL * v_LxMxB) for s in (1, -1))
        return (up - down) / (2 * CENTRAL)
    return (losses_from_each(seen, h + ONE_SIDED * v_LxMxB) - seen.loss[None, None]) / ONE_SIDED


def _tangents(seen, v_LxMxB):
    """Propagate the tangents of all layers together, so that each block is linearised once."""
    moving = v_LxMxB[:0]
    for i, v in enumerate(v_LxMxB):
        _, along = jax.linearize(lambda h, i=i: seen.block(i, h), seen.h[i])
        moving = jax.vmap(jax.vmap(along))(jnp.concatenate([moving, v[None]]))
    _, along = jax.linearize(seen.terminal, seen.h[-1])
    return jax.vmap(jax.vmap(along))(moving)


def losses_from_each(seen: ForwardView, starts):
    """Compute the losses that result if a hidden state is replaced by another one.

    Args:
      seen: view of the forward pass, from `forward.observe`.
      starts: states [L, M, B, ...] or [L+1, M, B, ...] that replace h_0, h_1, ...

    Returns:
      [L, M, B] or [L+1, M, B], the loss of each example for each replaced state.
    """
    moving = starts[:0]
    for i in range(len(seen.h) - 1):
        together = jnp.concatenate([moving, starts[i][None]])
        moving = jax.vmap(jax.vmap(lambda h, i=i: seen.block(i, h)))(together)
    moving = jnp.concatenate([moving, starts[len(seen.h) - 1 :]])
    return jax.vmap(jax.vmap(seen.terminal))(moving)


def joint_targets(seen: ForwardView, v_LxMxB):
    """Compute the derivatives of the loss along directions at all hidden layers at once.

    This takes one forward pass per direction. The result is the sum of what `tail_targets` returns
    for the single layers. It therefore has the same expectation over the directions of the other
    layers, at 1/L of the cost and with more noise.

    Args:
      seen: view of the forward pass, from `forward.observe`.
      v_LxMxB: directions [L, M, B, ...] at h_0, ..., h_{L-1}.

    Returns:
      [M, B], the derivative of each example's loss along each joint direction.
    """

    def loss(shift_LxB):
        h = seen.h[0]
        for i in range(len(shift_LxB)):
            h = seen.block(i, h + shift_LxB[i])
        return seen.terminal(h)

    _, along = jax.linearize(loss, jnp.zeros_like(seen.h[:-1]))
    return jax.vmap(along, in_axes=1)(v_LxMxB)


def block_targets(seen: ForwardView, a_LxB, v_LxMxB):
    """Compute the derivatives along directions that the next layer's credit predicts.

    The prediction is <a_{l+1}, J_l v>, where J_l is the Jacobian of block l. This is the adjoint
    recursion in forward mode. It takes one block forward per direction. It is exact if a_{l+1} is
    exact.

    Args:
      seen: view of the forward pass, from `forward.observe`.
      a_LxB: credits [L+1, B, ...], the last one exact.
      v_LxMxB: directions [L, M, B, ...] at h_0, ..., h_{L-1}.

    Returns:
      [L, M, B], the predicted derivative along each direction.
    """
    moved = block_responses(seen, v_LxMxB)
    return (moved * a_LxB[1:, None]).reshape(*moved.shape[:3], -1).sum(-1)


def block_responses(seen: ForwardView, v_LxMxB):
    """Compute J_l v, the derivative of each block's output along directions at its input.

    It is computed in forward mode.

    Args:
      seen: view of the forward pass, from `forward.observe`.
      v_LxMxB: directions [L, M, B, ...] at h_0, ..., h_{L-1}.

    Returns:
      [L, M, B, ...], the derivatives of h_1, ..., h_L.
    """
    answers = []
    for i, v in enumerate(v_LxMxB):
        _, along = jax.linearize(lambda h, i=i: seen.block(i, h), seen.h[i])
        answers.append(jax.vmap(along)(v))
    return jnp.stack(answers)
