"""Baselines for nonlinear forecasts and causal claims: persistence, AR, ARIMA and Granger tests."""

from typing import NamedTuple

import numpy as np

from analysis.edm.embedding import delays, library_rows, one_series, targets, usable
from analysis.edm.forecast import Forecast

MOST = 20  # highest order tried


class Autoregression(NamedTuple):
    """Fit of x_t = intercept + coefficients . (x_{t-1}, x_{t-2}, ...) + residual."""

    intercept: float
    coefficients: np.ndarray  # [p], possibly empty
    residuals: np.ndarray


def autoregression(x_T, rows=None, most: int = MOST) -> Autoregression:
    """Fit an autoregression by least squares, with the order of the lowest BIC.

    The BIC is that of Schwarz (1978), https://doi.org/10.1214/aos/1176344136.

    Args:
      x_T: series.
      rows: rows of the values that are fitted, as a set of row numbers or a boolean mask; None
        means all.
      most: highest order tried.

    Returns:
      The fit.

    Raises:
      ValueError: there are too few rows.
    """
    states = delays(x_T, most + 1)
    x_T = one_series(x_T, len(states), "x")
    rows = library_rows(states, np.arange(len(x_T)) if rows is None else rows, what="fitted")
    if len(rows) < 2 * most:
        raise ValueError(f"{len(rows)} rows are too few for {most} lags, give at least {2 * most}")
    design = np.hstack([np.ones((len(rows), 1)), states[rows, 1:]])
    fits = []
    for order in range(most + 1):
        columns = design[:, : order + 1]
        solution = np.linalg.lstsq(columns, x_T[rows], rcond=None)[0]
        residuals = x_T[rows] - columns @ solution
        spread = max(float(residuals @ residuals) / len(rows), np.finfo(float).tiny)
        bic = len(rows) * np.log(spread) + (order + 1) * np.log(len(rows))
        fits.append((bic, Autoregression(float(solution[0]), solution[1:], residuals)))
    return min(fits, key=lambda fit: fit[0])[1]


def persistence(y_T, prediction, horizon: int = 1) -> Forecast:
    """Predict that the value does not change.

    Args:
      y_T: series.
      prediction: rows to predict from.
      horizon: rows ahead.

    Returns:
      A forecast.
    """
    y_T = one_series(y_T, len(y_T))
    prediction = usable(y_T[:, None], prediction, "prediction")
    return Forecast(prediction, y_T[prediction], targets(y_T, horizon)[prediction], None)


def ar_forecast(y_T, library, prediction, horizon: int = 1, most: int = MOST) -> Forecast:
    """Predict by an autoregression that is fitted to the library and iterated `horizon` times.

    Args:
      y_T: series.
      library: rows of the values that are fitted.
      prediction: rows to predict from.
      horizon: rows ahead.
      most: highest order tried.

    Returns:
      A forecast.
    """
    y_T = one_series(y_T, len(y_T))
    fit = autoregression(y_T, library, most)
    states = delays(y_T, max(len(fit.coefficients), 1))
    prediction = usable(states, prediction, "prediction")
    state = states[prediction]
    for _ in range(horizon):
        used = state[:, : len(fit.coefficients)]
        ahead = fit.intercept + used @ fit.coefficients
        state = np.hstack([ahead[:, None], state[:, :-1]])
    return Forecast(prediction, state[:, 0], targets(y_T, horizon)[prediction], None)


def arima_forecast(
    y_T, split: int, orders=((1, 0, 1), (2, 0, 1), (1, 1, 1), (2, 1, 1))
) -> Forecast:
    """Predict one step ahead by an ARIMA model with fixed parameters.

    The model is the one with the lowest AICc on the rows before a split.

    Args:
      y_T: series.
      split: first row that is not fitted. It is predicted from the row before it.
      orders: orders (p, d, q) to choose from.

    Returns:
      A forecast from rows split - 1, split, ....

    Raises:
      ImportError: statsmodels is not installed.
    """
    from statsmodels.tsa.arima.model import ARIMA

    y_T = np.asarray(y_T, float)
    fits = [ARIMA(y_T[:split], order=order).fit() for order in orders]
    best = min(fits, key=lambda fit: fit.aicc)
    predicted = best.append(y_T[split:], refit=False).predict(split, len(y_T) - 1)
    return Forecast(np.arange(split - 1, len(y_T) - 1), predicted, y_T[split:], None)


def granger(x_T, y_T, most: int = 5) -> dict[str, float]:
    """Test whether the past of x improves an autoregression of y.

    The test is that of Granger (1969), https://doi.org/10.2307/1912791.

    Args:
      x_T: supposed cause.
      y_T: supposed effect.
      most: highest number of lags tried. The number with the lowest BIC of the joint regression is
        used.

    Returns:
      `p` of the F test and `lags`, the number of lags used.

    Raises:
      ImportError: statsmodels is not installed.
    """
    from statsmodels.tsa.stattools import grangercausalitytests

    tests = grangercausalitytests(np.stack([y_T, x_T], 1), most)
    lags = min(tests, key=lambda lag: tests[lag][1][1].bic)
    return {"p": float(tests[lags][0]["ssr_ftest"][1]), "lags": int(lags)}
