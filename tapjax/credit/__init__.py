"""Table of the credit estimators by name, and the function that builds one from a config.

The credit of a hidden state is an estimate of the gradient of each example's loss with respect to
that state.
"""

from tapjax.config.schema import lookup
from tapjax.credit.feedback import (
    feedback_alignment,
    kolen_pollack,
    sign_symmetry,
    weight_mirror,
)
from tapjax.credit.fixed import backprop, direct_feedback, direct_target, projection, warmup
from tapjax.credit.local_losses import local_forward_gradient, local_loss
from tapjax.credit.perturbed import forward_gradient, pepita
from tapjax.credit.scalar_bridge import scalar_bridge
from tapjax.credit.state_bridge import state_bridge
from tapjax.credit.target_propagation import target_propagation
from tapjax.credit.vector_field import vector_field

CREDITS = {
    "bp": backprop,
    "dfa": direct_feedback,
    "dir": projection,
    "drtp": direct_target,
    "feedback_alignment": feedback_alignment,
    "kolen_pollack": kolen_pollack,
    "weight_mirror": weight_mirror,
    "sign_symmetry": sign_symmetry,
    "forward_gradient": forward_gradient,
    "local_loss": local_loss,
    "local_forward_gradient": local_forward_gradient,
    "target_propagation": target_propagation,
    "pepita": pepita,
    "state_bridge": state_bridge,
    "scalar_bridge": scalar_bridge,
    "vector_field": vector_field,
}

# Fields of the ForwardView that each estimator reads, whatever its options. All read `h`.
USES = {
    "bp": {"block", "last"},
    "dfa": {"error"},
    "dir": {"last"},
    "drtp": {"label"},
    "feedback_alignment": {"last", "adjoint"},
    "kolen_pollack": {"last", "adjoint"},
    "weight_mirror": {"last", "adjoint", "params"},
    "sign_symmetry": {"last", "adjoint", "params"},
    "forward_gradient": {"block", "terminal", "last", "loss"},
    "local_loss": {"cost", "last"},
    "local_forward_gradient": {"cost", "last"},
    "target_propagation": {"block", "last"},
    "pepita": {"x", "embed", "block", "error", "last"},
    "state_bridge": {"error", "last", "target", "terminal"},
    "scalar_bridge": {"error", "last", "target", "loss"},
    "vector_field": {"block", "terminal", "error", "last", "target", "loss"},
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
