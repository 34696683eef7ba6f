"""Simplex projection (Sugihara and May 1990)."""

import numpy as np

from analysis.edm.embedding import delays, library_rows, one_series, targets, usable, whole
from analysis.edm.forecast import Forecast
from analysis.edm.neighbours import nearest


def simplex(
    x, y, library, prediction, *, dimension: int, tau=-1, horizon=1, theiler=0, neighbours=None
) -> Forecast:
    """Predict by the weighted mean of what followed the nearest states of a library.

    Args:
      x: series [T] to embed, or several [T, V]; with dimension 1, V columns are the state itself.
      y: series [T] to predict.
      library: rows whose state and target may be used: numbers or a boolean mask; a set, in which
        a row named twice counts once. Rows without a finite state and target are left out.
      prediction: rows to predict from; a row in the library is never its own neighbour.
      dimension: values of each series in a state (E).
      tau: rows between them.
      horizon: rows from a state to its target (Tp).
      theiler: library rows at most this far from a predicted row are left out.
      neighbours: how many; by default (None or 0) one more than the values of a state, E + 1 for
        one series, as in pyEDM.

    Returns:
      A forecast; NaN where fewer than `neighbours` library rows are admissible.

    Raises:
      ValueError: rows outside the series, too few of them, or a setting out of range.
    """
    states = delays(x, dimension, tau)
    target, theiler = targets(one_series(y, len(states)), horizon), whole(theiler, "theiler", 0)
    library = library_rows(states, library, target)
    prediction = usable(states, prediction, "prediction")
    count = whole(neighbours or states.shape[1] + 1, "neighbours", 1)
    if len(library) < count:
        raise ValueError(f"{len(library)} library rows for {count} neighbours")
    index, distance = nearest(
        states[library], library, states[prediction], prediction, count, theiler
    )
    predicted, variance = weighted(target[library][index], weights(distance))
    return Forecast(prediction, predicted, target[prediction], variance)


def weights(distance_PxK) -> np.ndarray:
    """exp(-d / d_1), with d_1 the distance of the nearest; where that is 0, only those at 0.

    Args:
      distance_PxK: sorted distances; infinite ones make the whole row NaN.

    Returns:
      [P, K].
    """
    first = distance_PxK[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(first > 0, np.exp(-distance_PxK / first), distance_PxK == 0)
    weight[~np.isfinite(distance_PxK).all(1)] = np.nan
    return weight


def weighted(value_PxK, weight_PxK):
    """Weighted mean and variance, each [P]."""
    total = weight_PxK.sum(1)
    mean = (weight_PxK * value_PxK).sum(1) / total
    return mean, (weight_PxK * (value_PxK - mean[:, None]) ** 2).sum(1) / total
