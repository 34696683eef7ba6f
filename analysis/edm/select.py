"""Choosing the dimension, the delay and the nonlinearity of an embedding.

Choose on one segment, test on another: a choice made on what is then predicted flatters itself.
"""

import numpy as np

from analysis.edm.forecast import skill
from analysis.edm.s_map import smaps
from analysis.edm.simplex_projection import simplex

THETAS = (0, 0.01, 0.1, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
TOLERANCE = 0.01  # skill given away for a smaller dimension


def embed_dimension(x, y, library, prediction, dimensions=range(1, 11), **settings) -> np.ndarray:
    """Skill of simplex projection by dimension.

    Args:
      x, y, library, prediction, settings: see `simplex`.
      dimensions: those to try.

    Returns:
      rho, one a dimension.
    """
    return np.array(
        [_rho(simplex(x, y, library, prediction, dimension=d, **settings)) for d in dimensions]
    )


def predict_interval(x, y, library, prediction, horizons=range(1, 11), **settings) -> np.ndarray:
    """Skill of simplex projection by horizon.

    Args:
      x, y, library, prediction, settings: see `simplex`; library rows whose target lies outside
        the library's own segments are the caller's to leave out.
      horizons: those to try.

    Returns:
      rho, one a horizon.
    """
    return np.array(
        [_rho(simplex(x, y, library, prediction, horizon=h, **settings)) for h in horizons]
    )


def predict_nonlinear(x, y, library, prediction, thetas=THETAS, **settings) -> np.ndarray:
    """Skill of an S-map by theta; what it gains over theta 0 is nonlinearity.

    Args:
      x, y, library, prediction, settings: see `smap`.
      thetas: those to try.

    Returns:
      rho, one a theta.
    """
    return np.array([_rho(f) for f in smaps(x, y, library, prediction, thetas=thetas, **settings)])


def _rho(forecast):
    return skill(forecast.observed, forecast.predicted)["rho"]


def smallest_good(values, rho, tolerance: float = TOLERANCE):
    """The first of several values whose skill comes near the best.

    Args:
      values: in order of preference.
      rho: skill of each.
      tolerance: that may be missing from the best.

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
    """Correlation of a series with itself, [longest + 1] from lag 0; NaN if it is constant."""
    x_T = np.asarray(x_T, float) - np.mean(x_T)
    padded = np.fft.rfft(x_T, 2 * len(x_T))
    covariance = np.fft.irfft(np.abs(padded) ** 2)[: longest + 1]
    with np.errstate(invalid="ignore"):
        return covariance / covariance[0]


def decorrelation(x_T) -> int:
    """First lag at which the autocorrelation falls below 1/e; the length if it never does."""
    below = autocorrelation(x_T, len(x_T) - 1) < 1 / np.e
    return int(below.argmax()) if below.any() else len(x_T)
