"""Kullback-Leibler divergences between shares, and the neighbourhoods that t-SNE makes of them."""

import numpy as np

FLOOR = 1e-12  # added to every share: a divergence from nothing is large, not infinite
PERPLEXITY = 32.0
KEPT = 150  # neighbours of a point that count
TOLERANCE, HALVINGS = 1e-5, 60
STEEPEST = 1e300  # beta of a row all of whose neighbours are equally far


def floored(p_NxM) -> np.ndarray:
    """Shares without zeros, of sum 1."""
    p_NxM = np.asarray(p_NxM, float) + FLOOR
    return p_NxM / p_NxM.sum(1, keepdims=True)


def divergences(p_NxM, q_KxM) -> np.ndarray:
    """KL(p || q) of all pairs.

    Args:
      p_NxM: shares.
      q_KxM: shares.

    Returns:
      [N, K] in bits, none negative.
    """
    p, q = floored(p_NxM), floored(q_KxM)
    entropy = (p * np.log2(p)).sum(1)
    return np.maximum(entropy[:, None] - p @ np.log2(q).T, 0.0)


def conditional(distance_NxK, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Probabilities of neighbours, exp(-beta d), with beta set by the perplexity of each row.

    Args:
      distance_NxK: of the neighbours, squared where they are distances; infinite ones do not count.
      perplexity: effective number of neighbours.

    Returns:
      [N, K] of row sums 1.

    Raises:
      ValueError: fewer neighbours than the perplexity.
    """
    distance = np.asarray(distance_NxK, float)
    if (np.isfinite(distance).sum(1) < perplexity).any():
        raise ValueError(f"perplexity {perplexity} needs at least as many neighbours")
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
    """All but the nearest of every row made infinitely far."""
    if kept >= distance_NxK.shape[1]:
        return distance_NxK
    limit = np.partition(distance_NxK, kept - 1, 1)[:, kept - 1 : kept]
    return np.where(distance_NxK <= limit, distance_NxK, np.inf)
