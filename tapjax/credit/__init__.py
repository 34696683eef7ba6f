"""Credit estimators by name."""

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
    """The estimator that a config names.

    Args:
      network: network.
      cfg: `config.credit`.
      tx: optimizer of a learned one.
      warmup_steps: of direct feedback before it is used.

    Returns:
      A Credit.
    """
    credit = lookup(cfg.name, CREDITS, "credit.name")(network, cfg, tx)
    return (
        warmup(direct_feedback(network, cfg, tx), credit, warmup_steps) if warmup_steps else credit
    )
