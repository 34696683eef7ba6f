"""Choice of the dimension, the horizon and the nonlinearity of a forecast.

Choose on one segment and test on another. If both are the same, the measured skill is too high.
"""

import numpy as np

from analysis.edm.forecast import skill
from analysis.edm.s_map import smaps
from analysis.edm.simplex_projection import simplex

THETAS = (0, 0.01, 0.1, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
TOLERANCE = 0.01  # loss of skill that is accepted for a smaller dimension


def embed_dimension(x, y, library, prediction, dimensions=range(1, 11), **settings) -> np.ndarray:
    """Compute the skill of simplex projection for several dimensions.

    Args:
      x: series to embed, see `simplex`.
      y: series [T] to predict.
      library: rows whose state and target may be used.
      prediction: rows to predict from.
      dimensions: dimensions to try.
      **settings: see `simplex`.

    Returns:
      One rho per dimension.
    """
    return np.array(
        [_rho(simplex(x, y, library, prediction, dimension=d, **settings)) for d in dimensions]
    )


def predict_interval(x, y, library, prediction, horizons=range(1, 11), **settings) -> np.ndarray:
    """Compute the skill of simplex projection for several horizons.

    Args:
      x: series to embed, see `simplex`.
      y: series [T] to predict.
      library: rows whose state and target may be used. The caller must leave out rows whose target
        lies outside the segments of the library.
      prediction: rows to predict from.
      horizons: horizons to try, in rows.
      **settings: see `simplex`.

    Returns:
      One rho per horizon.
    """
    return np.array(
        [_rho(simplex(x, y, library, prediction, horizon=h, **settings)) for h in horizons]
    )


def predict_nonlinear(x, y, library, prediction, thetas=THETAS, **settings) -> np.ndarray:
    """Compute the skill of an S-map for several values of theta.

    A gain over theta 0 is evidence of nonlinearity.

    Args:
      x: series to embed, see `smap`.
      y: series [T] to predict.
      library: rows whose state and target may be used.
      prediction: rows to predict from.
      thetas: values of theta to try.
      **settings: see `smap`.

    Returns:
      One rho per theta.
    """
    return np.array([_rho(f) for f in smaps(x, y, library, prediction, thetas=thetas, **settings)])


def _rho(forecast):
    return skill(forecast.observed, forecast.predicted)["rho"]


def smallest_good(values, rho, tolerance: float = TOLERANCE):
    """Return the first of several values whose skill is close to the best.

    Args:
      values: values in order of preference.
      rho: skill of each value.
      tolerance: largest accepted difference from the best skill.

    Returns:
      One of `values`.

    Raises:
      ValueError: no skill is finite.
    """
    rho = np.asarray(rho, float)
    if not np.isfinite(rho).any():
        raise ValueError("the series cannot be predicted at all: it is constant or too short")
    return next(v for v, r in zip(values, rho, strict=True) if r >= np.nanmax(rho) - tolerance)


def autocorrelation(x_T, longest: int) -> np.ndarray:
    """Return the autocorrelation of a series from lag 0 to `longest`; NaN if it is constant."""
    x_T = np.asarray(x_T, float) - np.mean(x_T)
    padded = np.fft.rfft(x_T, 2 * len(x_T))
    covariance = np.fft.irfft(np.abs(padded) ** 2)[: longest + 1]
    with np.errstate(invalid="ignore"):
        return covariance / covariance[0]


def decorrelation(x_T) -> int:
    """Return the first lag at which the autocorrelation falls below 1/e.

    If it never does, return the length of the series.
    """
    below = autocorrelation(x_T, len(x_T) - 1) < 1 / np.e
    return int(below.argmax()) if below.any() else len(x_T)
