"""What a network shows after a forward pass, and the true credits to measure estimates against."""

import jax
import jax.numpy as jnp

from tapjax.types import Layered, Seen


def observe(layered: Layered, params, batch, key) -> Seen:
    """Run a network forward, block by block.

    Args:
      layered: network.
      params: its parameters.
      batch: examples.
      key: of what is random in the blocks.

    Returns:
      Seen.
    """

    def block(i, h):
        return layered.block(params, i, h, key)

    def terminal(h):
        return layered.loss(layered.output(params, h), batch)

    hidden = [layered.embed(params, batch.x)]
    for i in range(layered.depth):
        hidden.append(block(i, hidden[-1]))
    output, pull = jax.vjp(lambda h: layered.output(params, h), hidden[-1])
    loss_B, pull_loss = jax.vjp(lambda out: layered.loss(out, batch), output)
    (error,) = pull_loss(jnp.ones_like(loss_B))
    (last,) = pull(error)
    # Of a quadratic cost the target is what the output should have been, of classes the class.
    target = output - error
    return Seen(jnp.stack(hidden), error, last, loss_B, target, block, terminal)


def true_credit(seen: Seen):
    """The gradient of each example's loss by every hidden state, by one backward pass.

    Only for measuring, and for the oracle.

    Args:
      seen: from `observe`.

    Returns:
      [L+1, B, ...].
    """
    credits = [seen.last]
    for i in reversed(range(len(seen.h) - 1)):
        _, pull = jax.vjp(lambda h, i=i: seen.block(i, h), seen.h[i])
        credits.append(pull(credits[-1])[0])
    return jnp.stack(credits[::-1])
