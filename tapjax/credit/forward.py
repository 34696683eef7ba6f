"""The view of a network after a forward pass, and the true credits to compare estimates with."""

import jax
import jax.numpy as jnp

from tapjax.types import BlockNetwork, ForwardView


def observe(network: BlockNetwork, params, batch, key) -> ForwardView:
    """Run a network forward, block by block.

    Args:
      network: BlockNetwork to run.
      params: parameters of the network.
      batch: Batch of B examples.
      key: random key for the noise in the blocks.

    Returns:
      The ForwardView.
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
    # For a quadratic cost this is the output that the example should have had. For cross-entropy
    # it is the logits after one gradient step of size 1 towards the class.
    target = output - error
    return ForwardView(
        h=jnp.stack(hidden),
        error=error,
        last=last,
        loss=loss_B,
        target=target,
        block=block,
        terminal=terminal,
        x=batch.x,
        label=network.label(batch),
        embed=lambda x: network.embed(params, x),
        cost=lambda output: network.loss(output, batch),
        adjoint=lambda i, feedback, a: network.adjoint(params, feedback, i, hidden[i], a),
        params=params,
    )


def true_credit(seen: ForwardView):
    """Compute the gradient of each example's loss with respect to every hidden state.

    It takes one backward pass. Only measurements and the oracle use it.

    Args:
      seen: view of the forward pass, from `observe`.

    Returns:
      [L+1, B, ...].
    """
    credits = [seen.last]
    for i in reversed(range(len(seen.h) - 1)):
        _, pull = jax.vjp(lambda h, i=i: seen.block(i, h), seen.h[i])
        credits.append(pull(credits[-1])[0])
    return jnp.stack(credits[::-1])
