"""Losses with one value per example.

The caller decides how to reduce these values.
"""

import jax.numpy as jnp
import optax

FORBIDDEN = -1e9


def cross_entropy(logits_BxC, y_B):
    """Compute the softmax cross-entropy in nats.

    Args:
      logits_BxC: unnormalised log-probabilities.
      y_B: integer classes.

    Returns:
      Loss of each example, `[B]`.

    Examples:
      >>> loss = cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))
      >>> [round(float(value), 3) for value in loss]  # ln 4
      [1.386, 1.386]
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits_BxC, y_B)


def squared_error(outputs_BxC, y_B):
    """Compute half the squared distance to the one-hot target, summed over classes.

    Args:
      outputs_BxC: outputs of the network.
      y_B: integer classes.

    Returns:
      Loss of each example, `[B]`.
    """
    target_BxC = (y_B[:, None] == jnp.arange(outputs_BxC.shape[-1])[None]).astype(outputs_BxC.dtype)
    return 0.5 * jnp.square(outputs_BxC - target_BxC).sum(-1)


def regression(outputs_Bx1, y_B):
    """Compute the squared error for one real-valued target.

    Args:
      outputs_Bx1: outputs of the network.
      y_B: real-valued targets.

    Returns:
      Loss of each example, `[B]`.
    """
    return jnp.square(outputs_Bx1[:, 0] - y_B)


def restricted(logits_BxC, allowed_C):
    """Restrict logits to the allowed classes.

    All other classes get a logit of -1e9. They are never predicted and have probability 0.

    Args:
      logits_BxC: logits of all classes.
      allowed_C: boolean mask of the allowed classes; None allows all of them.

    Returns:
      Logits, `[B, C]`.
    """
    return logits_BxC if allowed_C is None else jnp.where(allowed_C[None], logits_BxC, FORBIDDEN)


LOSSES = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "regression": regression,
}
