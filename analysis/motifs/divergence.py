"""Kullback-Leibler divergences between shares, and the neighbour probabilities for t-SNE."""

import numpy as np

FLOOR = 1e-12  # added to every share, so that a divergence from a zero is large but not infinite
PERPLEXITY = 32.0
KEPT = 150  # number of neighbours of a point with a nonzero probability
TOLERANCE, HALVINGS = 1e-5, 60  # of the search for beta: accuracy of the entropy, most steps
STEEPEST = 1e300  # largest beta, reached if all neighbours of a row are equally far


def floored(p_NxM) -> np.ndarray:
    """Return shares without zeros, normalised to sum 1."""
    p_NxM = np.asarray(p_NxM, float) + FLOOR
    return p_NxM / p_NxM.sum(1, keepdims=True)


def divergences(p_NxM, q_KxM) -> np.ndarray:
    """Compute KL(p || q) of all pairs of rows.

    Args:
      p_NxM: shares, with row sums 1.
      q_KxM: shares, with row sums 1.

    Returns:
      Divergences [N, K] in bits, at least 0.
    """
    p, q = floored(p_NxM), floored(q_KxM)
    entropy = (p * np.log2(p)).sum(1)
    return np.maximum(entropy[:, None] - p @ np.log2(q).T, 0.0)


def conditional(distance_NxK, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Compute neighbour probabilities proportional to exp(-beta d).

    For each row, beta is chosen such that the probabilities have the given perplexity.

    Args:
      distance_NxK: squared distances d of K neighbours. Neighbours at an infinite distance have
        probability 0.
      perplexity: effective number of neighbours.

    Returns:
      Probabilities [N, K] with row sums 1.

    Raises:
      ValueError: a row has fewer neighbours than the perplexity.
    """
    distance = np.asarray(distance_NxK, float)
    if (np.isfinite(distance).sum(1) < perplexity).any():
        raise ValueError(f"perplexity {perplexity} needs at least {perplexity} neighbours")
    distance = distance - distance.min(1, keepdims=True)
    low, high = np.zeros((2, len(distance), 1))
    high[:] = np.inf
    beta = 1 / np.maximum(np.nanmean(np.where(np.isfinite(distance), distance, np.nan), 1), 1e-300)
    beta = beta[:, None]
    for _ in range(HALVINGS):
        weight = np.where(np.isfinite(distance), np.exp(-np.minimum(beta * distance, 700)), 0.0)
        p = weight / weight.sum(1, keepdims=True)
        entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(1, keepdims=True)
        wide = entropy > np.log(perplexity)
        if (np.abs(entropy - np.log(perplexity)) < TOLERANCE).all():
            break
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isfinite(high), (low + high) / 2, np.minimum(beta * 2, STEEPEST))
    return p


def nearest_only(distance_NxK, kept: int = KEPT) -> np.ndarray:
    """Set all but the `kept` smallest distances of every row to infinity."""
    if kept >= distance_NxK.shape[1]:
        return distance_NxK
    limit = np.partition(distance_NxK, kept - 1, 1)[:, kept - 1 : kept]
    return np.where(distance_NxK <= limit, distance_NxK, np.inf)
