"""What a network shows after a forward pass, and the true credits to measure estimates against."""

import jax
import jax.numpy as jnp

from tapjax.types import BlockNetwork, ForwardView


def observe(network: BlockNetwork, params, batch, key) -> ForwardView:
    """Run a network forward, block by block.

    Args:
      network: network.
      params: its parameters.
      batch: examples.
      key: of what is random in the blocks.

    Returns:
      ForwardView.
    """

    def block(i, h):
        return network.block(params, i, h, key)

    def terminal(h):
        return network.loss(network.output(params, h), batch)

    hidden = [network.embed(params, batch.x)]
    for i in range(network.depth):
        hidden.append(block(i, hidden[-1]))
    output, pull = jax.vjp(lambda h: network.output(params, h), hidden[-1])
    loss_B, pull_loss = jax.vjp(lambda out: network.loss(out, batch), output)
    (error,) = pull_loss(jnp.ones_like(loss_B))
    (last,) = pull(error)
    # Of a quadratic cost the target is what the output should have been, of classes the class.
    target = output - error
    return ForwardView(jnp.stack(hidden), error, last, loss_B, target, block, terminal)


def true_credit(seen: ForwardView):
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
