"""Learning rules: (init, update) pairs that turn a batch into pseudo-gradients."""

import jax

from tapjax.step.losses import restricted, score_by_example
from tapjax.types import Proposal, Rule


def backprop(model, loss, watched: bool = False) -> Rule:
    """Make the rule that proposes the exact gradient of the mean loss.

    Args:
      model: network, a `types.Model`.
      loss: per-example loss, `(logits [B, C], y [B]) -> [B]`; for sequences of [B, Q, C] and
        [B, Q].
      watched: whether to pass the batch's activations to the optimizer as well.

    Returns:
      A Rule without state. Its scalars are `loss` and, if the network has more than one output,
      `accuracy`, both of the batch before the update.
    """

    def init(key, params):
        del key, params
        return ()

    def update(rule, params, stats, batch, key):
        def objective(params):
            if watched:
                logits_BxC, seen, new_stats = model.watch(params, stats, batch.x, key=key)
            else:
                (logits_BxC, _, new_stats), seen = model.apply(params, stats, batch.x, key), ()
            logits_BxC = restricted(logits_BxC, batch.allowed)
            return loss(logits_BxC, batch.y).mean(), (logits_BxC, new_stats, seen)

        (value, aux), grads = jax.value_and_grad(objective, has_aux=True)(params)
        logits_BxC, new_stats, seen = aux
        scalars = {"loss": value}
        if logits_BxC.shape[-1] > 1:
            scalars["accuracy"] = score_by_example(logits_BxC, batch.y).mean()
        return Proposal(grads, rule, new_stats, scalars, seen)

    return Rule(init, update)


RULES = {"backprop": backprop}
