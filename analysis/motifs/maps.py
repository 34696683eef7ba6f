"""Map of all states: t-SNE of a training set by divergence, and placement of other points.

The method is that of Berman et al. (2014), https://doi.org/10.1098/rsif.2014.0672. Only points of
the same map can be compared, so several runs are placed on one map.
"""

from typing import NamedTuple

import numpy as np

from analysis.motifs.divergence import (
    PERPLEXITY,
    conditional,
    divergences,
    nearest_only,
)

NEIGHBOURS = 200  # number of training points that determine the place of a new point
EARLY, LATE, EXAGGERATION = 125, 875, 4  # early and late iterations; factor of the early ones
MOST = 5000  # maximum number of training points, because divergences of all pairs are in memory
BATCH = 2000  # points placed at once
# Search: initial damping, damping at which it stops, shortest step relative to the spread of the
# neighbours, and maximum number of steps.
DAMPING, HOPELESS, SHORT, ROUNDS = 0.01, 1e12, 1e-4, 100


class Map(NamedTuple):
    """Training points and their places on the map."""

    shares: np.ndarray  # [N, M]
    place: np.ndarray  # [N, 2]


class Places(NamedTuple):
    """Places of new points on a map."""

    place: np.ndarray  # [K, 2]
    inside: np.ndarray  # whether a point is in the convex hull of its neighbours [K]
    cost: np.ndarray  # divergence of the neighbourhoods, up to a constant per point [K]


def fit(shares_NxM, perplexity=PERPLEXITY, seed: int = 0, iterations: int = LATE) -> Map:
    """Compute a map by t-SNE of squared divergences.

    Args:
      shares_NxM: training set, at most 5000 rows of shares.
      perplexity: effective number of neighbours.
      seed: random seed of the initial places.
      iterations: number of iterations after those with early exaggeration.

    Returns:
      The map.

    Raises:
      ValueError: there are too many points, or too few for the perplexity.
      ImportError: openTSNE is not installed.
    """
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities
    from scipy.sparse import csr_matrix

    shares_NxM = np.asarray(shares_NxM, float)
    if len(shares_NxM) > MOST:
        raise ValueError(f"{len(shares_NxM)} training points are too many, at most {MOST}")
    apart = divergences(shares_NxM, shares_NxM)
    apart = (apart / max(apart.max(), np.finfo(float).tiny)) ** 2
    np.fill_diagonal(apart, np.inf)
    p = csr_matrix(conditional(nearest_only(apart), perplexity))
    start = 1e-4 * np.random.default_rng(seed).standard_normal((len(shares_NxM), 2))
    embedding = TSNEEmbedding(
        start, PrecomputedAffinities(p, normalize=True), negative_gradient_method="bh",
        random_state=seed, n_jobs=1,
    )  # fmt: skip
    # A twelfth of the number of points (Belkina et al. 2019,
    # https://doi.org/10.1038/s41467-019-13055-y). With openTSNE's default rate, few points are
    # scattered too far.
    rate = {"learning_rate": len(shares_NxM) / 12}
    embedding = embedding.optimize(EARLY, exaggeration=EXAGGERATION, momentum=0.5, **rate)
    return Map(shares_NxM, np.asarray(embedding.optimize(iterations, momentum=0.8, **rate)))


def place(fitted: Map, shares_KxM, perplexity: float = PERPLEXITY, without=None) -> Places:
    """Place new points so that distances on the map match the divergences from their neighbours.

    There are two searches, from the mean of the neighbours and from the nearest neighbour. The
    result is the one with the lower cost among those that end inside the convex hull of the
    neighbours. If neither does, the result is the starting point with the lower cost.

    Args:
      fitted: map from `fit`.
      shares_KxM: shares of the new points.
      perplexity: effective number of neighbours.
      without: mask [K, N] of training points that a point may not use, such as itself. None means
        that all may be used.

    Returns:
      Places of the new points.
    """
    batches = [
        _place(
            fitted, shares_KxM[start : start + BATCH], perplexity,
            None if without is None else without[start : start + BATCH],
        )
        for start in range(0, len(shares_KxM), BATCH)
    ]  # fmt: skip
    return Places(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def _place(fitted, shares_KxM, perplexity, without):
    apart = divergences(shares_KxM, fitted.shares)
    if without is not None:
        apart[without] = np.inf
    count = min(NEIGHBOURS, apart.shape[1])
    near = np.argpartition(apart, count - 1, 1)[:, :count]
    p = conditional(np.take_along_axis(apart, near, 1) ** 2, perplexity)
    y_KxNx2 = fitted.place[near]
    mean = (p[..., None] * y_KxNx2).sum(1)
    nearest = y_KxNx2[np.arange(len(p)), p.argmax(1)]
    found = [_search(p, y_KxNx2, start) for start in (mean, nearest)]
    inside = np.array([_in_hull(y_KxNx2, z) for z, _ in found])
    cost = np.array([c for _, c in found])
    best = np.where(inside, cost, np.inf).argmin(0)
    starts = np.array([mean, nearest])
    lost = ~inside.any(0)
    start_cost = np.array([_cost(p, y_KxNx2, z) for z in starts])
    best[lost] = start_cost.argmin(0)[lost]
    k = np.arange(len(p))
    ends = np.array([z for z, _ in found])
    z = np.where(lost[:, None], starts[best, k], ends[best, k])
    return z, ~lost, np.where(lost, start_cost[best, k], cost[best, k])


def _cost(p_KxN, y_KxNx2, z_Kx2):
    squared = ((y_KxNx2 - z_Kx2[:, None]) ** 2).sum(-1)
    return np.log((1 / (1 + squared)).sum(1)) + (p_KxN * np.log1p(squared)).sum(1)


def _derivatives(p_KxN, y_KxNx2, z_Kx2):
    """Return the gradient [K, 2] and the Hessian [K, 2, 2] of the cost."""
    apart = z_Kx2[:, None] - y_KxNx2
    w = 1 / (1 + (apart**2).sum(-1))
    q = w / w.sum(1, keepdims=True)
    slope = 2 * np.einsum("kn,kn,knd->kd", p_KxN - q, w, apart)
    pull = 2 * np.einsum("kn,knd->kd", q * w, apart)
    curved = np.einsum("kn,knd,kne->kde", (2 * q - p_KxN) * w**2, 4 * apart, apart)
    round_part = 2 * ((p_KxN - q) * w).sum(1)
    return slope, curved + round_part[:, None, None] * np.eye(2) - pull[:, :, None] * pull[:, None]


def _search(p_KxN, y_KxNx2, z_Kx2):
    """Minimise the cost by damped Newton steps, no longer than the spread of the neighbours."""
    z, cost = z_Kx2.copy(), _cost(p_KxN, y_KxNx2, z_Kx2)
    spread = np.maximum(y_KxNx2.std(1).mean(1), np.finfo(float).tiny)
    damping, active = np.full(len(z), DAMPING), np.arange(len(z))
    for _ in range(ROUNDS):
        if not active.size:
            break
        p, y = p_KxN[active], y_KxNx2[active]
        slope, curve = _derivatives(p, y, z[active])
        # Absolute values of the curvature along each axis make steps lead away from saddle points.
        value, axes = np.linalg.eigh(curve)
        size = np.abs(value) + damping[active, None] * np.abs(value).max(1, keepdims=True)
        along = np.einsum("kde,kd->ke", axes, slope)
        step = -np.einsum("kde,ke->kd", axes, along / np.maximum(size, np.finfo(float).tiny))
        length = np.linalg.norm(step, axis=1)
        step *= np.minimum(1, spread[active] / np.maximum(length, np.finfo(float).tiny))[:, None]
        tried = _cost(p, y, z[active] + step)
        better = tried < cost[active]
        moved = active[better]
        z[moved] += step[better]
        cost[moved] = tried[better]
        damping[active] *= np.where(better, 0.2, 8.0)
        active = active[(length > SHORT * spread[active]) & (damping[active] < HOPELESS)]
    return z, cost


def _in_hull(y_KxNx2, z_Kx2):
    """Decide whether a point is in the hull: no half plane through it is without neighbours."""
    apart = y_KxNx2 - z_Kx2[:, None]
    angle = np.sort(np.arctan2(apart[..., 1], apart[..., 0]), 1)
    gap = np.diff(angle, axis=1, append=angle[:, :1] + 2 * np.pi)
    return gap.max(1) < np.pi
