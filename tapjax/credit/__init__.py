"""Credit estimators by name."""

from tapjax.credit.fixed import backprop, direct_feedback, projection, warmup
from tapjax.credit.scalar_bridge import scalar_bridge
from tapjax.credit.state_bridge import state_bridge
from tapjax.credit.vector_field import vector_field

FIXED = {"bp": backprop, "dfa": direct_feedback, "dir": projection}
LEARNED = {
    "state_bridge": state_bridge,
    "scalar_bridge": scalar_bridge,
    "vector_field": vector_field,
}


def make_credit(layered, cfg, tx, warmup_steps: int):
    """The estimator that a config names.

    Args:
      layered: network.
      cfg: `config.credit`.
      tx: optimizer of a learned one.
      warmup_steps: of direct feedback before a learned one is used.

    Returns:
      A Credit.
    """
    if cfg.name in FIXED:
        return FIXED[cfg.name](layered, cfg)
    learned = LEARNED[cfg.name](layered, cfg, tx)
    return warmup(direct_feedback(layered, cfg), learned, warmup_steps) if warmup_steps else learned
