"""Forecasts and scores of how good they are."""

from typing import NamedTuple

import numpy as np

FEWEST = 5  # smallest number of pairs for which scores are computed
RESAMPLES, CONFIDENCE = 200, 0.95


class Forecast(NamedTuple):
    """Predictions made at `rows` of the values that were observed `horizon` rows later."""

    rows: np.ndarray  # rows from which the predictions are made [P]
    predicted: np.ndarray  # predicted values [P]
    observed: np.ndarray  # observed values [P], NaN after the end of the series
    variance: np.ndarray | None  # variance of the prediction [P]; None if the method gives none
    coefficients: np.ndarray | None = None  # coefficients of an S-map [P, 1 + E]


def skill(observed, predicted) -> dict[str, float]:
    """Compute scores over the pairs in which both values are finite.

    Args:
      observed: observed values [..., P].
      predicted: predicted values [..., P].

    Returns:
      `rho` (Pearson correlation), `rmse` (root mean square error), `mae` (mean absolute error) and
      `n`, the number of pairs. The scores are NaN for fewer than 5 pairs, and `rho` is NaN if
      either series is constant.

    Raises:
      ValueError: the shapes differ.
    """
    observed, predicted, both = _pairs(observed, predicted)
    n = int(both.sum())
    if n < FEWEST:
        return {"rho": np.nan, "rmse": np.nan, "mae": np.nan, "n": n}
    observed, predicted = observed[both], predicted[both]
    error = predicted - observed
    return {
        "rho": correlation(observed, predicted),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "n": n,
    }


def interval(observed, predicted, block: int, seed: int = 0) -> tuple[float, float]:
    """Compute an interval of rho by a moving-block bootstrap.

    The blocks keep neighbours in time together (Kunsch 1989,
    https://doi.org/10.1214/aos/1176347265).

    Args:
      observed: observed values [P].
      predicted: predicted values [P].
      block: number of points per block, more than the decorrelation time of the series.
      seed: random seed of the resampling.

    Returns:
      Lower and upper bound of the 95 % percentile interval. They are NaN if there are fewer than
      four blocks of points, or if either series is constant.
    """
    observed, predicted, both = _pairs(observed, predicted)
    pairs, n = np.stack([observed[both], predicted[both]]), int(both.sum())
    if n < max(4 * block, FEWEST):
        return np.nan, np.nan
    starts = np.random.default_rng(seed).integers(0, n - block + 1, (RESAMPLES, -(-n // block)))
    place = (starts[..., None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :n]
    if not all(map(varies, pairs)):
        return np.nan, np.nan
    a, b = pairs[:, place] - pairs[:, place].mean(-1, keepdims=True)
    rho = (a * b).sum(1) / np.sqrt(np.maximum((a * a).sum(1) * (b * b).sum(1), 1e-300))
    low, high = np.quantile(rho, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def varies(x) -> np.ndarray:
    """Decide whether series differ from a constant by more than rounding.

    Args:
      x: series [P] or [P, V].

    Returns:
      One boolean per series.
    """
    return np.ptp(x, axis=0) > 1e-12 * np.abs(x).max(0)


def _pairs(observed, predicted):
    """Return both arrays as floats, and a mask of the pairs in which both values are finite."""
    observed, predicted = np.asarray(observed, float), np.asarray(predicted, float)
    if observed.shape != predicted.shape:
        raise ValueError(f"observed has shape {observed.shape}, predicted {predicted.shape}")
    return observed, predicted, np.isfinite(observed) & np.isfinite(predicted)


def correlation(a_P, b_P) -> float:
    """Return the Pearson correlation; NaN if either series is constant."""
    if not (varies(a_P) and varies(b_P)):
        return np.nan
    a_P, b_P = a_P - a_P.mean(), b_P - b_P.mean()
    scale = np.sqrt((a_P @ a_P) * (b_P @ b_P))
    return float(a_P @ b_P / scale) if scale > 0 else np.nan
