"""Losses with one value per example.

The caller decides how to reduce these values. The loss of a sequence is the mean over its graded
positions; a target is not graded if it is negative (classes) or not-a-number (real values).
"""

import jax.numpy as jnp
import optax

FORBIDDEN = -1e9


def cross_entropy(logits_BxC, y_B):
    """Compute the softmax cross-entropy in nats.

    Args:
      logits_BxC: unnormalised log-probabilities, or [B, Q, C] for sequences.
      y_B: integer classes, or [B, Q].

    Returns:
      Loss of each example, `[B]`.

    Examples:
      >>> loss = cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))
      >>> [round(float(value), 3) for value in loss]  # ln 4
      [1.386, 1.386]
    """
    if y_B.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(logits_BxC, y_B)
    known = jnp.maximum(y_B, 0)
    each = optax.softmax_cross_entropy_with_integer_labels(logits_BxC, known)
    return mean_graded(each, y_B)


def mean_graded(values_BxQ, y_BxQ):
    """Compute the mean over the graded positions of each sequence; 0 where there are none.

    Args:
      values_BxQ: values of all positions.
      y_BxQ: targets, which tell the positions that are graded.

    Returns:
      Array `[B]`.

    Examples:
      >>> mean_graded(jnp.array([[1.0, 2.0, 6.0]]), jnp.array([[0, 5, -1]])).tolist()
      [1.5]
    """
    graded = is_graded(y_BxQ)
    return jnp.where(graded, values_BxQ, 0.0).sum(1) / jnp.maximum(graded.sum(1), 1)


def is_graded(y):
    """Return where targets are graded, a boolean array like `y`."""
    return jnp.isfinite(y) if jnp.issubdtype(y.dtype, jnp.floating) else y >= 0


def scores(outputs, y):
    """Score every target: whether its class is predicted, or how near a real value is.

    Args:
      outputs: outputs of the network, [B, C], or [B, Q, C] for sequences.
      y: targets, [B] or [B, Q].

    Returns:
      float32 array like `y`. A class scores 1 if it has the largest output, and otherwise 0. A real
      value of a sequence scores 1 minus the squared error, which is the explained variance of
      targets with a variance of 1. Positions that are not graded score 0.
    """
    if y.ndim == 1 or not jnp.issubdtype(y.dtype, jnp.floating):
        return (outputs.argmax(-1) == y).astype(jnp.float32)
    graded = is_graded(y)
    return jnp.where(graded, 1 - jnp.square(outputs[..., 0] - jnp.where(graded, y, 0.0)), 0.0)


def score_by_example(outputs, y):
    """Return the mean score of every example [B], over its graded positions; see `scores`."""
    found = scores(outputs, y)
    return found if y.ndim == 1 else mean_graded(found, y)


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
    """Compute the squared error for one real-valued target, per example or position.

    Args:
      outputs_Bx1: outputs of the network, or [B, Q, 1] for sequences.
      y_B: real-valued targets, or [B, Q].

    Returns:
      Loss of each example, `[B]`.
    """
    if y_B.ndim == 1:
        return jnp.square(outputs_Bx1[:, 0] - y_B)
    known = jnp.where(is_graded(y_B), y_B, 0.0)  # keeps not-a-number out of the gradient
    return mean_graded(jnp.square(outputs_Bx1[..., 0] - known), y_B)


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
