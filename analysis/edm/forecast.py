"""What a forecast is and how good it is."""

from typing import NamedTuple

import numpy as np

FEWEST = 5  # pairs below which nothing is scored
RESAMPLES, CONFIDENCE = 200, 0.95


class Forecast(NamedTuple):
    """Predictions made at `rows` of what was observed `horizon` rows later."""

    rows: np.ndarray  # [P]
    predicted: np.ndarray  # [P]
    observed: np.ndarray  # [P], NaN where the series has ended
    variance: np.ndarray  # [P]
    coefficients: np.ndarray | None = None  # [P, 1 + E], of an S-map


def skill(observed, predicted) -> dict[str, float]:
    """Scores over the pairs that are finite.

    Args:
      observed: [..., P].
      predicted: [..., P].

    Returns:
      `rho` (Pearson), `rmse`, `mae` (mean absolute error), `n`; NaN for fewer than 5 pairs, and
      a NaN `rho` where either is constant.

    Raises:
      ValueError: different shapes.
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
    """Interval of rho by a moving-block bootstrap (Kunsch 1989): neighbours in time stay together.

    Args:
      observed: [P].
      predicted: [P].
      block: points of a block, more than the series remember themselves.
      seed: of the resampling.

    Returns:
      Bounds of the 95 % percentile interval; NaN for fewer than four blocks, or of a constant.
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
    """Whether series differ from a constant by more than rounding.

    Args:
      x: [P] or [P, V].

    Returns:
      Booleans, one a series.
    """
    return np.ptp(x, axis=0) > 1e-12 * np.abs(x).max(0)


def _pairs(observed, predicted):
    """Both as floats, and which pairs are finite."""
    observed, predicted = np.asarray(observed, float), np.asarray(predicted, float)
    if observed.shape != predicted.shape:
        raise ValueError(f"observed has shape {observed.shape}, predicted {predicted.shape}")
    return observed, predicted, np.isfinite(observed) & np.isfinite(predicted)


def correlation(a_P, b_P) -> float:
    """Pearson correlation, NaN where a series is constant."""
    if not (varies(a_P) and varies(b_P)):
        return np.nan
    a_P, b_P = a_P - a_P.mean(), b_P - b_P.mean()
    scale = np.sqrt((a_P @ a_P) * (b_P @ b_P))
    return float(a_P @ b_P / scale) if scale > 0 else np.nan
