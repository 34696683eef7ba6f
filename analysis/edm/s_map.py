"""S-map: a linear map at every state, fitted to a library by distance (Sugihara 1994).

The normal equations of all predicted rows are one matrix product of weights and products of
coordinates. Where they are ill-conditioned, or the columns of the library linearly dependent, the
rows are solved one by one by `numpy.linalg.lstsq`: of all solutions the one of least norm.
"""

from typing import NamedTuple

import numpy as np

from analysis.edm.embedding import delays, library_rows, one_series, targets, usable, whole
from analysis.edm.forecast import Forecast
from analysis.edm.neighbours import squared_distances, without_window

BLOCK = 2**16  # distances held at once: they stay in the cache
LEAST = 1e-200  # rate that weighs all alike
CONDITION = 1e6  # of the scaled normal equations; their error is this times 1e-16
DEPENDENT = 1e-7  # ratio of singular values of a library whose columns count as dependent
CANCELLED = 1e-6  # share of a moment that may be left after it is moved to the predicted state


def smap(
    x, y, library, prediction, *, dimension: int, theta, tau=-1, horizon=1, theiler=0,
    neighbours=None,
) -> Forecast:  # fmt: skip
    """Predict by a linear map fitted to the library with weights exp(-theta d / mean d).

    Args:
      x: series [T] to embed, or several [T, V]; with dimension 1, V columns are the state itself.
      y: series [T] to predict.
      library: rows whose state and target may be used: numbers or a boolean mask; a set, in which
        a row named twice counts once. Rows without a finite state and target are left out.
      prediction: rows to predict from; a row in the library is not used for itself.
      dimension: values of each series in a state (E).
      theta: 0 weighs all rows equally, which is an autoregression.
      tau: rows between the values of a state.
      horizon: rows from a state to its target (Tp).
      theiler: library rows at most this far from a predicted row are left out.
      neighbours: how many of the library rows, nearest first and ties as in `neighbours.nearest`;
        all by default (None or 0). pyEDM leaves out the farthest: `len(library) - 1`.

    Returns:
      A forecast with `coefficients` [P, 1 + E]: intercept and derivatives of the target by the
      values of a state. Where columns are constant or linearly dependent they are those of least
      norm, as `numpy.linalg.lstsq` gives for the rows (1, state) times their weights.

    Raises:
      ValueError: rows outside the series, too few of them, or a setting out of range.
    """
    return smaps(
        x, y, library, prediction, dimension=dimension, thetas=[theta], tau=tau, horizon=horizon,
        theiler=theiler, neighbours=neighbours,
    )[0]  # fmt: skip


def smaps(
    x, y, library, prediction, *, dimension: int, thetas, tau=-1, horizon=1, theiler=0,
    neighbours=None,
) -> list[Forecast]:  # fmt: skip
    """Like `smap` for several thetas, whose distances are computed once."""
    states, theiler = delays(x, dimension, tau), whole(theiler, "theiler", 0)
    target = targets(one_series(y, len(states)), horizon)
    library = library_rows(states, library, target)
    prediction = usable(states, prediction, "prediction")
    if not all(np.isfinite(theta) and theta >= 0 for theta in thetas):
        raise ValueError(f"theta of {list(thetas)}: finite and not negative")
    if len(library) < states.shape[1] + 2:
        raise ValueError(f"{len(library)} library rows for {states.shape[1] + 1} coefficients")
    count = whole(neighbours or len(library), "neighbours", 1)
    if count <= states.shape[1]:
        raise ValueError(f"neighbours={neighbours} for {states.shape[1] + 1} coefficients")
    space = _prepare(states, target, library, theiler, count)
    moments = np.empty((len(thetas), len(prediction), space.products.shape[1]))
    step = min(max(BLOCK // len(space.rows), 1), len(prediction))
    buffers = np.empty((2, step, len(space.rows)))
    for start in range(0, len(prediction), step):
        part = prediction[start : start + step]
        distance, spare = buffers[:, : len(part)]
        _distances(space, states[part], part, distance, spare)
        for i, theta in enumerate(thetas):
            # Rows of the regression are multiplied by the weight: its square weighs the moments.
            weight = local_weights(distance, 2 * theta, spare)
            moments[i, start : start + step] = weight @ space.products
    return [
        _forecast(space, states, target, prediction, theta, moments[i])
        for i, theta in enumerate(thetas)
    ]


def local_weights(distance_PxN, theta: float, out=None) -> np.ndarray:
    """exp(-theta d / mean d), with the mean over the admissible (finite) distances of a row.

    Args:
      distance_PxN: distances.
      theta: 0 weighs all admissible ones equally.
      out: array for the result.

    Returns:
      [P, N].
    """
    total, counts = distance_PxN.sum(1), distance_PxN.shape[1]
    if not np.isfinite(total).all():
        admissible = np.isfinite(distance_PxN)
        total, counts = distance_PxN.sum(1, where=admissible), admissible.sum(1)
    # Where all neighbours lie on the point they weigh the same; above 0, so infinity weighs 0.
    rate = np.divide(theta * counts, total, out=np.zeros_like(total), where=total > 0)
    rate = np.maximum(rate, LEAST)
    weight = np.multiply(-rate[:, None], distance_PxN, out=out)
    return np.exp(weight, out=weight)


class _Library(NamedTuple):
    rows: np.ndarray  # [N], ascending
    known: np.ndarray  # states [N, E]
    transposed: np.ndarray  # [E, N]
    wanted: np.ndarray  # targets [N]
    centre: np.ndarray  # [E]
    basis: np.ndarray  # [E, E], whitens the states
    independent: bool  # whether its columns are
    products: np.ndarray  # [N, M], products of 1, whitened coordinates and target
    theiler: int
    neighbours: int


def _prepare(states_TxE, target_T, rows, theiler, neighbours):
    known, wanted = states_TxE[rows], target_T[rows]
    centre = known.mean(0)
    _, spread, axes = np.linalg.svd(known - centre, full_matrices=False)
    # Judged with the column of ones, whose unit is not that of the states.
    largest = max(spread[0], np.abs(centre).max() * np.sqrt(len(known)))
    independent = bool(spread[-1] > DEPENDENT * largest)
    basis = np.zeros_like(axes)
    if independent:
        basis = axes.T / spread * np.sqrt(len(known))
    terms = np.hstack([np.ones((len(known), 1)), (known - centre) @ basis])
    upper = np.triu_indices(terms.shape[1])
    products = np.hstack([terms[:, upper[0]] * terms[:, upper[1]], terms * wanted[:, None]])
    transposed = np.ascontiguousarray(known.T)
    return _Library(
        rows, known, transposed, wanted, centre, basis, independent, products, theiler, neighbours
    )


def _distances(library, states_PxE, rows_P, out=None, spare=None):
    """Distances of states from the library [P, N], infinite where not admissible."""
    distance = squared_distances(states_PxE, library.transposed, out, spare)
    np.sqrt(distance, out=distance)
    without_window(distance, library.rows, rows_P, library.theiler)
    if library.neighbours < len(library.rows):
        _keep_nearest(distance, library, rows_P)
    return distance


def _keep_nearest(distance_PxN, library, rows_P):
    """Make all but the nearest infinitely far, in place; ties as in `neighbours.nearest`."""
    count = library.neighbours
    if count == len(library.rows) - 1:
        border = distance_PxN.max(1)
        dropped = distance_PxN == border[:, None]
        tied = np.flatnonzero(dropped.sum(1) > 1)
    else:
        border = np.partition(distance_PxN, count - 1, 1)[:, count - 1]
        dropped = distance_PxN > border[:, None]
        tied = np.flatnonzero(dropped.sum(1) < len(library.rows) - count)
    for i in tied:
        apart = np.abs(library.rows - rows_P[i])
        dropped[i] = True
        dropped[i, np.lexsort((library.rows, apart, distance_PxN[i]))[:count]] = False
    distance_PxN[dropped] = np.inf


def _forecast(library, states_TxE, target_T, prediction, theta, moments_PxM):
    queries = states_TxE[prediction]
    predicted, coefficients, sound = _solve(moments_PxM, queries, library)
    for i in np.flatnonzero(~sound):
        distance = _distances(library, queries[i : i + 1], prediction[i : i + 1])
        weight = local_weights(distance, theta)[0]
        coefficients[i] = _least_squares(weight, library.known, library.wanted)
        predicted[i] = coefficients[i, 0] + coefficients[i, 1:] @ queries[i]
    return Forecast(prediction, predicted, target_T[prediction], None, coefficients)


def _solve(moments_PxM, queries_PxE, library):
    """Predictions [P], coefficients [P, 1 + E], and whether they can be relied on."""
    terms = queries_PxE.shape[1] + 1
    upper = np.triu_indices(terms)
    normal = np.empty((len(moments_PxM), terms, terms))
    normal[:, upper[0], upper[1]] = moments_PxM[:, : len(upper[0])]
    normal[:, upper[1], upper[0]] = moments_PxM[:, : len(upper[0])]
    # About the predicted state, so that the intercept is the prediction.
    shift = np.tile(np.eye(terms), (len(moments_PxM), 1, 1))
    shift[:, 1:, 0] = -(queries_PxE - library.centre) @ library.basis
    # What is left of a column about a state with which it agrees is rounding.
    moved = shift[:, :, 0] ** 2 * normal[:, :1, 0] + np.einsum("pii->pi", normal)
    normal = shift @ normal @ shift.transpose(0, 2, 1)
    kept = np.einsum("pii->pi", normal) > CANCELLED * moved
    right = shift @ moments_PxM[:, len(upper[0]) :, None]
    scale = np.sqrt(np.maximum(np.einsum("pii->pi", normal), np.finfo(float).tiny))
    normal /= scale[:, :, None] * scale[:, None, :]
    eigenvalues = np.linalg.eigvalsh(normal)
    sound = eigenvalues[:, 0] * CONDITION > eigenvalues[:, -1]
    sound &= kept.all(1) & library.independent
    found = np.zeros((len(moments_PxM), terms))
    found[sound] = np.linalg.solve(normal[sound], right[sound] / scale[sound, :, None])[..., 0]
    found /= scale
    slopes = found[:, 1:] @ library.basis.T
    intercept = found[:, 0] - (slopes * queries_PxE).sum(1)
    return found[:, 0], np.hstack([intercept[:, None], slopes]), sound


def _least_squares(weight_N, known_NxE, wanted_N):
    """The solution of least norm; NaN where nothing has a weight.

    Which combinations of columns vanish is read from the rows without their weights, which span
    the same space: under weights of many magnitudes rounding would pass for a direction.
    """
    used = weight_N > 0
    if not used.any():
        return np.full(known_NxE.shape[1] + 1, np.nan)
    weight_N = weight_N[used]
    design = np.hstack([np.ones((used.sum(), 1)), known_NxE[used]])
    _, spread, axes = np.linalg.svd(design, full_matrices=False)
    rank = (spread > np.finfo(float).eps * max(design.shape) * spread[0]).sum()
    spanned = axes[:rank].T
    weighted = (design @ spanned) * weight_N[:, None]
    return spanned @ np.linalg.lstsq(weighted, weight_N * wanted_N[used], rcond=None)[0]
