"""Table of the credit estimators by name, and the function that builds one from a config.

The credit of a hidden state is an estimate of the gradient of each example's loss with respect to
that state.
"""

from tapjax.config.schema import lookup
from tapjax.credit.fixed import backprop, direct_feedback, projection, warmup
from tapjax.credit.scalar_bridge import scalar_bridge
from tapjax.credit.state_bridge import state_bridge
from tapjax.credit.vector_field import vector_field

CREDITS = {
    "bp": backprop,
    "dfa": direct_feedback,
    "dir": projection,
    "state_bridge": state_bridge,
    "scalar_bridge": scalar_bridge,
    "vector_field": vector_field,
}


def make_credit(network, cfg, tx, warmup_steps: int = 0):
    """Build the credit estimator that a config names.

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: `config.credit`.
      tx: optimizer of the estimator; only learned estimators use it.
      warmup_steps: number of first steps in which direct feedback gives the credits; 0 for none.

    Returns:
      The Credit.
    """
    credit = lookup(cfg.name, CREDITS, "credit.name")(network, cfg, tx)
    return (
        warmup(direct_feedback(network, cfg, tx), credit, warmup_steps) if warmup_steps else credit
    )
