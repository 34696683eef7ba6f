"""S-map: a linear map at every state, fitted to a library by distance (Sugihara 1994).

The normal equations of all predicted rows are one matrix product of weights and products of
coordinates. Where they are ill-conditioned the rows are solved one by one by singular values.
"""

from typing import NamedTuple

import numpy as np

from analysis.edm.embedding import delays, targets, usable
from analysis.edm.forecast import Forecast
from analysis.edm.neighbours import squared_distances, without_window

BLOCK = 2**16  # distances held at once: they stay in the cache
LEAST = 1e-200  # rate that weighs all alike
CONDITION = 1e6  # of the scaled normal equations; their error is this times 1e-16


def smap(
    x, y, library, prediction, *, dimension: int, theta, tau=-1, horizon=1, theiler=0,
    neighbours=None,
) -> Forecast:  # fmt: skip
    """Predict by a linear map fitted to the library with weights exp(-theta d / mean d).

    Args:
      x: series [T] to embed, or several [T, V]; with dimension 1, V columns are the state itself.
      y: series [T] to predict.
      library: rows whose state and target may be used.
      prediction: rows to predict from; a row in the library is not used for itself.
      dimension: values of each series in a state (E).
      theta: 0 weighs all rows equally, which is an autoregression.
      tau: rows between the values of a state.
      horizon: rows from a state to its target (Tp).
      theiler: library rows at most this far from a predicted row are left out.
      neighbours: how many of the library rows; all by default.

    Returns:
      A forecast with `coefficients` [P, 1 + E]: intercept and derivatives of the target by the
      values of a state.

    Raises:
      ValueError: rows outside the series, or too few of them.
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
    states, target = delays(x, dimension, tau), targets(y, horizon)
    library = usable(states, library, "library", target)
    prediction = usable(states, prediction, "prediction")
    if len(library) < states.shape[1] + 2:
        raise ValueError(f"{len(library)} library rows for {states.shape[1] + 1} coefficients")
    if neighbours is not None and not states.shape[1] < neighbours:
        raise ValueError(f"neighbours={neighbours} for {states.shape[1] + 1} coefficients")
    space = _prepare(states, target, np.unique(library), theiler, neighbours)
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
    products: np.ndarray  # [N, M], products of 1, whitened coordinates and target
    theiler: int
    neighbours: int | None


def _prepare(states_TxE, target_T, rows, theiler, neighbours):
    known, wanted = states_TxE[rows], target_T[rows]
    centre = known.mean(0)
    _, spread, axes = np.linalg.svd(known - centre, full_matrices=False)
    basis = axes.T / np.maximum(spread, np.finfo(float).tiny) * np.sqrt(len(known))
    terms = np.hstack([np.ones((len(known), 1)), (known - centre) @ basis])
    upper = np.triu_indices(terms.shape[1])
    products = np.hstack([terms[:, upper[0]] * terms[:, upper[1]], terms * wanted[:, None]])
    transposed = np.ascontiguousarray(known.T)
    return _Library(rows, known, transposed, wanted, centre, basis, products, theiler, neighbours)


def _distances(library, states_PxE, rows_P, out=None, spare=None):
    """Distances of states from the library [P, N], infinite where not admissible."""
    distance = squared_distances(states_PxE, library.transposed, out, spare)
    np.sqrt(distance, out=distance)
    without_window(distance, library.rows, rows_P, library.theiler)
    if library.neighbours == len(library.rows) - 1:
        np.put_along_axis(distance, distance.argmax(1)[:, None], np.inf, 1)
    elif library.neighbours is not None and library.neighbours < len(library.rows):
        dropped = np.argpartition(distance, library.neighbours, 1)[:, library.neighbours :]
        np.put_along_axis(distance, dropped, np.inf, 1)
    return distance


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
    normal = shift @ normal @ shift.transpose(0, 2, 1)
    right = shift @ moments_PxM[:, len(upper[0]) :, None]
    scale = np.sqrt(np.maximum(np.einsum("pii->pi", normal), np.finfo(float).tiny))
    normal /= scale[:, :, None] * scale[:, None, :]
    eigenvalues = np.linalg.eigvalsh(normal)
    sound = eigenvalues[:, 0] * CONDITION > eigenvalues[:, -1]
    found = np.zeros((len(moments_PxM), terms))
    found[sound] = np.linalg.solve(normal[sound], right[sound] / scale[sound, :, None])[..., 0]
    found /= scale
    slopes = found[:, 1:] @ library.basis.T
    intercept = found[:, 0] - (slopes * queries_PxE).sum(1)
    return found[:, 0], np.hstack([intercept[:, None], slopes]), sound


def _least_squares(weight_N, known_NxE, wanted_N):
    """The solution of least norm; NaN where nothing has a weight."""
    used = weight_N > 0
    if not used.any():
        return np.full(known_NxE.shape[1] + 1, np.nan)
    weight_N = weight_N[used]
    design = np.hstack([np.ones((used.sum(), 1)), known_NxE[used]]) * weight_N[:, None]
    return np.linalg.lstsq(design, weight_N * wanted_N[used], rcond=None)[0]
