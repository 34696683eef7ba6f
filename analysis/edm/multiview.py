"""Multiview embedding (Ye and Sugihara 2016): the mean of the best of many small views."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from analysis.edm.embedding import delays
from analysis.edm.forecast import Forecast, skill
from analysis.edm.simplex_projection import simplex


class Views(NamedTuple):
    """A forecast and what it is the mean of."""

    forecast: Forecast
    columns: list  # of each view: ((variable, lag), ...), best first
    rho: np.ndarray  # by which they were ranked


def multiview(
    x_TxV, y, library, prediction, *, dimension: int, size=None, views=None, ranked_on=None,
    tau=-1, horizon=1, theiler=0,
) -> Views:  # fmt: skip
    """Predict by the mean of the simplex projections of the best views.

    Args:
      x_TxV: series.
      y: series [T] to predict.
      library, prediction: see `simplex`.
      dimension: lags of each series to choose from, 0 to dimension - 1.
      size: coordinates of a view; as many as there are series by default.
      views: how many of the best; the root of their number by default (rounded down).
      ranked_on: rows whose skill ranks the views; the library by default, with which a Theiler
        window is needed, or neighbours in time flatter every view.
      tau, horizon, theiler: see `simplex`.

    Returns:
      The mean forecast and its views.

    Raises:
      ValueError: more coordinates than there are.
    """
    x_TxV = np.asarray(x_TxV, float)
    names = [(v, lag) for v in range(x_TxV.shape[1]) for lag in range(dimension)]
    states, size = delays(x_TxV, dimension, tau), size or x_TxV.shape[1]
    if size > len(names):
        raise ValueError(f"views of {size} coordinates out of {len(names)}")
    ranked_on = library if ranked_on is None else ranked_on
    settings = {"dimension": 1, "horizon": horizon, "theiler": theiler, "neighbours": size + 1}

    def view(columns, rows):
        return simplex(states[:, columns], y, library, rows, **settings)

    every = [list(columns) for columns in combinations(range(len(names)), size)]
    tried = [view(columns, ranked_on) for columns in every]
    rho = np.array([skill(f.observed, f.predicted)["rho"] for f in tried])
    best = np.argsort(-np.nan_to_num(rho, nan=-np.inf), kind="stable")
    best = best[: views or int(np.sqrt(len(every)))]
    made = [view(every[i], prediction) for i in best]
    rows = sorted(set.intersection(*(set(f.rows) for f in made)))
    predicted = np.array([f.predicted[np.isin(f.rows, rows)] for f in made])
    observed = made[0].observed[np.isin(made[0].rows, rows)]
    forecast = Forecast(np.array(rows), predicted.mean(0), observed, predicted.var(0))
    return Views(forecast, [tuple(names[c] for c in every[i]) for i in best], rho[best])
