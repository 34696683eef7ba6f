"""Multiview embedding: the mean forecast of the best of many low-dimensional embeddings (views).

The method is that of Ye and Sugihara (2016), https://doi.org/10.1126/science.aag0863.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from analysis.edm.embedding import delays
from analysis.edm.forecast import Forecast, skill
from analysis.edm.simplex_projection import simplex


class Views(NamedTuple):
    """A mean forecast and the views that it averages."""

    forecast: Forecast
    columns: list  # coordinates of each view, ((variable, lag), ...), best view first
    rho: np.ndarray  # correlations by which the views were ranked, best first


def multiview(
    x_TxV, y, library, prediction, *, dimension: int, size=None, views=None, ranked_on=None,
    tau=-1, horizon=1, theiler=0,
) -> Views:  # fmt: skip
    """Predict by the mean of the simplex projections of the best views.

    Args:
      x_TxV: series to embed.
      y: series [T] to predict.
      library: rows whose state and target may be used, see `simplex`.
      prediction: rows to predict from.
      dimension: number of lags of each series to choose from, 0 to dimension - 1.
      size: number of coordinates of a view. None or 0 means the number of series.
      views: number of best views to average. None or 0 means the square root of the number of all
        views, rounded down.
      ranked_on: rows on which the skill that ranks the views is computed. None means the library.
        A Theiler window is needed then, because neighbours in time would make every view look
        better than it is.
      tau: rows between two lags of a series.
      horizon: rows from a state to its target (Tp).
      theiler: Theiler window in rows.

    Returns:
      The mean forecast and its views. The variance of the forecast is that between the views.

    Raises:
      ValueError: a view has more coordinates than there are in total.
    """
    x_TxV = np.asarray(x_TxV, float)
    names = [(v, lag) for v in range(x_TxV.shape[1]) for lag in range(dimension)]
    states, size = delays(x_TxV, dimension, tau), size or x_TxV.shape[1]
    if size > len(names):
        raise ValueError(f"size={size}: there are only {len(names)} coordinates for a view")
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
