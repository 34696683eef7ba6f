"""Losses, one value an example: whoever calls decides how to reduce."""

import jax.numpy as jnp
import optax

FORBIDDEN = -1e9


def cross_entropy(logits_BxC, y_B):
    """Softmax cross-entropy in nats.

    Args:
      logits_BxC: unnormalised log-probabilities.
      y_B: integer classes.

    Returns:
      The loss of each example, `[B]`.
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits_BxC, y_B)


def squared_error(outputs_BxC, y_B):
    """Half the squared distance to the one-hot target, summed over classes.

    Args:
      outputs_BxC: the network's outputs.
      y_B: integer classes.

    Returns:
      The loss of each example, `[B]`.
    """
    target_BxC = (y_B[:, None] == jnp.arange(outputs_BxC.shape[-1])[None]).astype(outputs_BxC.dtype)
    return 0.5 * jnp.square(outputs_BxC - target_BxC).sum(-1)


def regression(outputs_Bx1, y_B):
    """Squared error of one real target.

    Args:
      outputs_Bx1: the network's outputs.
      y_B: targets.

    Returns:
      The loss of each example, `[B]`.
    """
    return jnp.square(outputs_Bx1[:, 0] - y_B)


def restricted(logits_BxC, allowed_C):
    """Logits in which only some classes can win, or have a share of the probability.

    Args:
      logits_BxC: of all classes.
      allowed_C: which ones, or None for all.

    Returns:
      Logits.
    """
    return logits_BxC if allowed_C is None else jnp.where(allowed_C[None], logits_BxC, FORBIDDEN)


LOSSES = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "regression": regression,
}
