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
# Of the search: first damping and the one to give up at, the shortest step over the neighbours'
# spread, most steps.
DAMPING, HOPELESS, SHORT, ROUNDS = 0.01, 1e12, 1e-4, 100


class Map(NamedTuple):
    """Training points and where they lie."""

    shares: np.ndarray  # [N, M]
    place: np.ndarray  # [N, 2]


class Places(NamedTuple):
    """Points put on a map."""

    place: np.ndarray  # [K, 2]
    inside: np.ndarray  # whether in the convex hull of its neighbours [K]
    cost: np.ndarray  # divergence of neighbourhoods, up to a constant of the point [K]


def fit(shares_NxM, perplexity=PERPLEXITY, seed: int = 0, iterations: int = LATE) -> Map:
    """t-SNE of squared divergences.

    Args:
      shares_NxM: training set, at most 5000 rows.
      perplexity: effective neighbours.
      seed: of the start.
      iterations: after those that exaggerate.

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
    return Map(shares_NxM, np.asarray(embedding.optimize(iterations, momentum=0.8, **rate)))


def place(fitted: Map, shares_KxM, perplexity: float = PERPLEXITY, without=None) -> Places:
    """Where new points belong: as near to their neighbours on the map as in divergence.

    Of two searches, from the neighbours' mean and from the nearest one, the one that ends lower
    inside the neighbours' convex hull counts; if neither does, the better start.

    Args:
      fitted: from `fit`.
      shares_KxM: points.
      perplexity: effective neighbours.
      without: training points that a point may not use, such as itself [K, N]; none by default.

    Returns:
      Places.
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


def _derivatives(p_KxN, y_KxNx2, z_Kx2):
    """Gradient [K, 2] and Hessian [K, 2, 2] of the cost."""
    apart = z_Kx2[:, None] - y_KxNx2
    w = 1 / (1 + (apart**2).sum(-1))
    q = w / w.sum(1, keepdims=True)
    slope = 2 * np.einsum("kn,kn,knd->kd", p_KxN - q, w, apart)
    pull = 2 * np.einsum("kn,knd->kd", q * w, apart)
    curved = np.einsum("kn,knd,kne->kde", (2 * q - p_KxN) * w**2, 4 * apart, apart)
    round_part = 2 * ((p_KxN - q) * w).sum(1)
    return slope, curved + round_part[:, None, None] * np.eye(2) - pull[:, :, None] * pull[:, None]


def _search(p_KxN, y_KxNx2, z_Kx2):
    """Damped Newton steps, never longer than the neighbours are spread."""
    z, cost = z_Kx2.copy(), _cost(p_KxN, y_KxNx2, z_Kx2)
    spread = np.maximum(y_KxNx2.std(1).mean(1), np.finfo(float).tiny)
    damping, active = np.full(len(z), DAMPING), np.arange(len(z))
    for _ in range(ROUNDS):
        if not active.size:
            break
        p, y = p_KxN[active], y_KxNx2[active]
        slope, curve = _derivatives(p, y, z[active])
        # Away from saddles too: along each axis of the curvature by its absolute value.
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
    """Whether no half plane through a point is without neighbours."""
    apart = y_KxNx2 - z_Kx2[:, None]
    angle = np.sort(np.arctan2(apart[..., 1], apart[..., 0]), 1)
    gap = np.diff(angle, axis=1, append=angle[:, :1] + 2 * np.pi)
    return gap.max(1) < np.pi
