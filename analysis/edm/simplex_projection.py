"""Simplex projection: forecasts by the nearest neighbours in state space.

The method is that of Sugihara and May (1990), https://doi.org/10.1038/344734a0.
"""

import numpy as np

from analysis.edm.embedding import delays, library_rows, one_series, targets, usable, whole
from analysis.edm.forecast import Forecast
from analysis.edm.neighbours import nearest


def simplex(
    x, y, library, prediction, *, dimension: int, tau=-1, horizon=1, theiler=0, neighbours=None
) -> Forecast:
    """Predict by the weighted mean of the values that followed the nearest states of a library.

    Args:
      x: series [T] to embed, or several series [T, V]. With dimension 1, the V columns are the
        state itself.
      y: series [T] to predict.
      library: rows whose state and target may be used, as row numbers or a boolean mask. The
        library is a set: a repeated row counts once. Rows without a finite state and target are
        left out.
      prediction: rows to predict from. A row that is also in the library is never its own
        neighbour.
      dimension: number of values of each series in a state (E).
      tau: rows between the values of a state; negative values reach into the past.
      horizon: rows from a state to its target (Tp).
      theiler: Theiler window in rows. Library rows at most this far from a predicted row are left
        out.
      neighbours: number of neighbours. None or 0 means one more than the number of values in a
        state, which is E + 1 for one series, as in pyEDM.

    Returns:
      A forecast. It is NaN where fewer than `neighbours` library rows are admissible.

    Raises:
      ValueError: rows lie outside the series, there are too few of them, or a setting is out of
        range.

    Examples:
      >>> from analysis.edm.coupled_maps import coupled_maps
      >>> from analysis.edm.forecast import skill
      >>> x, _ = coupled_maps(300, 0.0, 0.0)
      >>> found = simplex(x, x, np.arange(200), np.arange(200, 299), dimension=2)
      >>> bool(skill(found.observed, found.predicted)["rho"] > 0.99)  # one step ahead
      True
    """
    states = delays(x, dimension, tau)
    target, theiler = targets(one_series(y, len(states)), horizon), whole(theiler, "theiler", 0)
    library = library_rows(states, library, target)
    prediction = usable(states, prediction, "prediction")
    count = whole(neighbours or states.shape[1] + 1, "neighbours", 1)
    if len(library) < count:
        raise ValueError(f"{len(library)} library rows are too few for {count} neighbours")
    index, distance = nearest(
        states[library], library, states[prediction], prediction, count, theiler
    )
    predicted, variance = weighted(target[library][index], weights(distance))
    return Forecast(prediction, predicted, target[prediction], variance)


def weights(distance_PxK) -> np.ndarray:
    """Return the weights exp(-d / d_1), where d_1 is the distance of the nearest neighbour.

    Where d_1 is 0, neighbours at distance 0 have weight 1 and all others have weight 0.

    Args:
      distance_PxK: distances of K neighbours, sorted. An infinite distance makes the whole row of
        weights NaN.

    Returns:
      Weights [P, K].
    """
    first = distance_PxK[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(first > 0, np.exp(-distance_PxK / first), distance_PxK == 0)
    weight[~np.isfinite(distance_PxK).all(1)] = np.nan
    return weight


def weighted(value_PxK, weight_PxK):
    """Return the weighted mean and the weighted variance of each row, each [P]."""
    total = weight_PxK.sum(1)
    mean = (weight_PxK * value_PxK).sum(1) / total
    return mean, (weight_PxK * (value_PxK - mean[:, None]) ** 2).sum(1) / total
