"""One map of all states: t-SNE of a training set by divergence, and the place of any other point.

After Berman et al. (2014). Only points of one map can be compared: several runs are put into one.
"""

from typing import NamedTuple

import numpy as np

from analysis.motifs.divergence import (
    PERPLEXITY,
    conditional,
    divergences,
    nearest_only,
)

NEIGHBOURS = 200  # training points that place a new one
EARLY, LATE, EXAGGERATION = 125, 875, 4  # iterations, and what the first of them exaggerate
MOST = 5000  # training points; divergences of all pairs are held
BATCH = 2000
SHRUNK, ROUNDS = 2.0**-12, 200  # of the search: last step over the first, most steps
COMPASS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])


class Map(NamedTuple):
    """Training points and where they lie."""

    shares: np.ndarray  # [N, M]
    place: np.ndarray  # [N, 2]


class Places(NamedTuple):
    """Points put on a map."""

    place: np.ndarray  # [K, 2]
    inside: np.ndarray  # whether in the convex hull of its neighbours [K]
    cost: np.ndarray  # divergence of neighbourhoods, up to a constant of the point [K]


def fit(shares_NxM, perplexity: float = PERPLEXITY, seed: int = 0) -> Map:
    """t-SNE of squared divergences.

    Args:
      shares_NxM: training set, at most 5000 rows.
      perplexity: effective neighbours.
      seed: of the start.

    Returns:
      A Map.

    Raises:
      ValueError: too many points, or too few for the perplexity.
      ImportError: openTSNE is not installed.
    """
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities
    from scipy.sparse import csr_matrix

    shares_NxM = np.asarray(shares_NxM, float)
    if len(shares_NxM) > MOST:
        raise ValueError(f"{len(shares_NxM)} training points, at most {MOST}: take fewer")
    apart = divergences(shares_NxM, shares_NxM)
    apart = (apart / max(apart.max(), np.finfo(float).tiny)) ** 2
    np.fill_diagonal(apart, np.inf)
    p = csr_matrix(conditional(nearest_only(apart), perplexity))
    start = 1e-4 * np.random.default_rng(seed).standard_normal((len(shares_NxM), 2))
    embedding = TSNEEmbedding(
        start, PrecomputedAffinities(p, normalize=True), negative_gradient_method="bh",
        random_state=seed, n_jobs=1,
    )  # fmt: skip
    # A twelfth of the points (Belkina et al. 2019); openTSNE's own choice throws few points apart.
    rate = {"learning_rate": len(shares_NxM) / 12}
    embedding = embedding.optimize(EARLY, exaggeration=EXAGGERATION, momentum=0.5, **rate)
    return Map(shares_NxM, np.asarray(embedding.optimize(LATE, momentum=0.8, **rate)))


def place(fitted: Map, shares_KxM, perplexity: float = PERPLEXITY) -> Places:
    """Where new points belong: as near to their neighbours on the map as in divergence.

    Of two searches, from the neighbours' mean and from the nearest one, the one that ends lower
    inside the neighbours' convex hull counts; if neither does, the better start.

    Args:
      fitted: from `fit`.
      shares_KxM: points.
      perplexity: effective neighbours.

    Returns:
      Places.
    """
    batches = [
        _place(fitted, shares_KxM[start : start + BATCH], perplexity)
        for start in range(0, len(shares_KxM), BATCH)
    ]
    return Places(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def _place(fitted, shares_KxM, perplexity):
    apart = divergences(shares_KxM, fitted.shares)
    count = min(NEIGHBOURS, apart.shape[1])
    near = np.argpartition(apart, count - 1, 1)[:, :count]
    p = conditional(np.take_along_axis(apart, near, 1) ** 2, perplexity)
    y_KxNx2 = fitted.place[near]
    mean = (p[..., None] * y_KxNx2).sum(1)
    nearest = y_KxNx2[np.arange(len(p)), p.argmax(1)]
    # Two searches, each with its start as the last resort.
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


def _search(p_KxN, y_KxNx2, z_Kx2):
    """Compass search: the best of four steps if it helps, then a longer step, else a shorter."""
    z, cost = z_Kx2.copy(), _cost(p_KxN, y_KxNx2, z_Kx2)
    first = np.maximum(y_KxNx2.std(1).mean(1), np.finfo(float).tiny)
    step = first.copy()
    for _ in range(ROUNDS):
        active = np.flatnonzero(step > SHRUNK * first)
        if not active.size:
            break
        tried = z[active] + step[active, None] * COMPASS[:, None]
        costs = np.array([_cost(p_KxN[active], y_KxNx2[active], t) for t in tried])
        best = costs.argmin(0)
        k = np.arange(len(active))
        better = costs[best, k] < cost[active]
        moved = active[better]
        z[moved], cost[moved] = tried[best, k][better], costs[best, k][better]
        step[active] = np.where(
            better, np.minimum(2 * step[active], first[active]), step[active] / 2
        )
    return z, cost


def _in_hull(y_KxNx2, z_Kx2):
    """Whether no half plane through a point is without neighbours."""
    apart = y_KxNx2 - z_Kx2[:, None]
    angle = np.sort(np.arctan2(apart[..., 1], apart[..., 0]), 1)
    gap = np.diff(angle, axis=1, append=angle[:, :1] + 2 * np.pi)
    return gap.max(1) < np.pi
