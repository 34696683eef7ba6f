"""S-map: a linear map at every state, fitted to a library with weights that fall with distance.

The method is that of Sugihara (1994), https://doi.org/10.1098/rsta.1994.0106. The normal equations
of all predicted rows are computed by one matrix product of the weights and the products of
coordinates. If the equations of a row are ill-conditioned, or the columns of the library are
linearly dependent, the row is solved separately by `numpy.linalg.lstsq`, which returns the
solution of least norm.
"""

from typing import NamedTuple

import numpy as np

from analysis.edm.embedding import delays, library_rows, one_series, targets, usable, whole
from analysis.edm.forecast import Forecast
from analysis.edm.neighbours import squared_distances, without_window

BLOCK = 2**16  # distances held at once; this many fit into the processor's cache
LEAST = 1e-200  # smallest decay rate of the weights; it gives all finite distances equal weight
CONDITION = 1e6  # largest condition number of the scaled normal equations; error: this times 1e-16
DEPENDENT = 1e-7  # ratio of singular values below which the columns count as linearly dependent
CANCELLED = 1e-6  # a moment of which a smaller share remains after the shift to a query is rounding


def smap(
    x, y, library, prediction, *, dimension: int, theta, tau=-1, horizon=1, theiler=0,
    neighbours=None,
) -> Forecast:  # fmt: skip
    """Predict by a linear map fitted to the library with weights exp(-theta d / mean d).

    Args:
      x: series [T] to embed, or several series [T, V]. With dimension 1, the V columns are the
        state itself.
      y: series [T] to predict.
      library: rows whose state and target may be used, as row numbers or a boolean mask. The
        library is a set: a repeated row counts once. Rows without a finite state and target are
        left out.
      prediction: rows to predict from. A row that is also in the library is not used for its own
        prediction.
      dimension: number of values of each series in a state (E).
      theta: nonlinearity, at least 0. With 0 all rows have equal weight, and the map is an
        autoregression.
      tau: rows between the values of a state; negative values reach into the past.
      horizon: rows from a state to its target (Tp).
      theiler: Theiler window in rows. Library rows at most this far from a predicted row are left
        out.
      neighbours: number of library rows used, nearest first, with ties ordered as in
        `neighbours.nearest`. None or 0 means all. pyEDM leaves out the farthest row, which is
        `len(library) - 1`.

    Returns:
      A forecast with `coefficients` [P, 1 + E]: the intercept and the derivatives of the target
      with respect to the values of a state. Where columns are constant or linearly dependent, the
      coefficients are those of least norm, as `numpy.linalg.lstsq` returns for the rows (1, state)
      times their weights.

    Raises:
      ValueError: rows lie outside the series, there are too few of them, or a setting is out of
        range.
    """
    return smaps(
        x, y, library, prediction, dimension=dimension, thetas=[theta], tau=tau, horizon=horizon,
        theiler=theiler, neighbours=neighbours,
    )[0]  # fmt: skip


def smaps(
    x, y, library, prediction, *, dimension: int, thetas, tau=-1, horizon=1, theiler=0,
    neighbours=None,
) -> list[Forecast]:  # fmt: skip
    """Predict like `smap` for several values of theta, and compute the distances only once.

    Args:
      x: series to embed, see `smap`.
      y: series [T] to predict.
      library: rows whose state and target may be used, see `smap`.
      prediction: rows to predict from.
      dimension: number of values of each series in a state (E).
      thetas: values of theta, finite and at least 0.
      tau: rows between the values of a state.
      horizon: rows from a state to its target (Tp).
      theiler: Theiler window in rows.
      neighbours: number of library rows used; None or 0 means all.

    Returns:
      One forecast per theta, see `smap`.

    Raises:
      ValueError: see `smap`.
    """
    states, theiler = delays(x, dimension, tau), whole(theiler, "theiler", 0)
    target = targets(one_series(y, len(states)), horizon)
    library = library_rows(states, library, target)
    prediction = usable(states, prediction, "prediction")
    if not all(np.isfinite(theta) and theta >= 0 for theta in thetas):
        raise ValueError(f"theta must be finite and not negative: {list(thetas)}")
    if len(library) < states.shape[1] + 2:
        raise ValueError(
            f"{len(library)} library rows are too few for {states.shape[1] + 1} coefficients"
        )
    count = whole(neighbours or len(library), "neighbours", 1)
    if count <= states.shape[1]:
        raise ValueError(
            f"neighbours={neighbours} are too few for {states.shape[1] + 1} coefficients"
        )
    space = _prepare(states, target, library, theiler, count)
    moments = np.empty((len(thetas), len(prediction), space.products.shape[1]))
    step = min(max(BLOCK // len(space.rows), 1), len(prediction))
    buffers = np.empty((2, step, len(space.rows)))
    for start in range(0, len(prediction), step):
        part = prediction[start : start + step]
        distance, spare = buffers[:, : len(part)]
        _distances(space, states[part], part, distance, spare)
        for i, theta in enumerate(thetas):
            # The weight multiplies the rows of the regression, so its square weighs the moments.
            weight = local_weights(distance, 2 * theta, spare)
            moments[i, start : start + step] = weight @ space.products
    return [
        _forecast(space, states, target, prediction, theta, moments[i])
        for i, theta in enumerate(thetas)
    ]


def local_weights(distance_PxN, theta: float, out=None) -> np.ndarray:
    """Return the weights exp(-theta d / mean d), with the mean over the finite distances of a row.

    Args:
      distance_PxN: distances of N library rows from P states, infinite where not admissible.
      theta: nonlinearity; with 0 all admissible rows have equal weight.
      out: array [P, N] for the result; None allocates one.

    Returns:
      Weights [P, N], 0 where the distance is infinite.
    """
    total, counts = distance_PxN.sum(1), distance_PxN.shape[1]
    if not np.isfinite(total).all():
        admissible = np.isfinite(distance_PxN)
        total, counts = distance_PxN.sum(1, where=admissible), admissible.sum(1)
    # If all distances are 0, all weights are equal. The rate stays above 0 so that an infinite
    # distance has weight 0.
    rate = np.divide(theta * counts, total, out=np.zeros_like(total), where=total > 0)
    rate = np.maximum(rate, LEAST)
    weight = np.multiply(-rate[:, None], distance_PxN, out=out)
    return np.exp(weight, out=weight)


class _Library(NamedTuple):
    rows: np.ndarray  # row numbers [N], ascending
    known: np.ndarray  # states [N, E]
    transposed: np.ndarray  # states [E, N]
    wanted: np.ndarray  # targets [N]
    centre: np.ndarray  # mean state [E]
    basis: np.ndarray  # [E, E], whitens the states
    independent: bool  # whether the columns of the states are linearly independent
    products: np.ndarray  # [N, M], products of 1, whitened coordinates and target
    theiler: int  # Theiler window in rows
    neighbours: int  # number of library rows used per prediction


def _prepare(states_TxE, target_T, rows, theiler, neighbours):
    known, wanted = states_TxE[rows], target_T[rows]
    centre = known.mean(0)
    _, spread, axes = np.linalg.svd(known - centre, full_matrices=False)
    # The offset is included because a column whose spread is tiny relative to its mean is nearly
    # a multiple of the column of ones.
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
    """Return the distances of states from the library [P, N], infinite where not admissible."""
    distance = squared_distances(states_PxE, library.transposed, out, spare)
    np.sqrt(distance, out=distance)
    without_window(distance, library.rows, rows_P, library.theiler)
    if library.neighbours < len(library.rows):
        _keep_nearest(distance, library, rows_P)
    return distance


def _keep_nearest(distance_PxN, library, rows_P):
    """Set all but the nearest distances to infinity, in place; ties as in `neighbours.nearest`."""
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
    """Return predictions [P], coefficients [P, 1 + E], and whether each row is reliable [P]."""
    terms = queries_PxE.shape[1] + 1
    upper = np.triu_indices(terms)
    normal = np.empty((len(moments_PxM), terms, terms))
    normal[:, upper[0], upper[1]] = moments_PxM[:, : len(upper[0])]
    normal[:, upper[1], upper[0]] = moments_PxM[:, : len(upper[0])]
    # The origin is moved to the query state, so that the intercept is the prediction.
    shift = np.tile(np.eye(terms), (len(moments_PxM), 1, 1))
    shift[:, 1:, 0] = -(queries_PxE - library.centre) @ library.basis
    # If a column has nearly the query's value everywhere, the rest after the shift is rounding.
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
    """Return the solution of least norm; NaN if all weights are 0.

    The rank is determined from the rows without their weights, which span the same space. With
    weights of very different magnitudes, rounding errors would be mistaken for a direction.
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
