"""Losses, one value an example: whoever calls decides how to reduce."""

import jax.numpy as jnp
import optax


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


LOSSES = {"cross_entropy": cross_entropy, "squared_error": squared_error}
