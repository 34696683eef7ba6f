"""What a forecast is and how good it is."""

from typing import NamedTuple

import numpy as np

FEWEST = 5  # pairs below which nothing is scored


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
    """
    observed, predicted = np.asarray(observed, float), np.asarray(predicted, float)
    both = np.isfinite(observed) & np.isfinite(predicted)
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


def correlation(a_P, b_P) -> float:
    """Pearson correlation, NaN where a series is constant."""
    a_P, b_P = a_P - a_P.mean(), b_P - b_P.mean()
    scale = np.sqrt((a_P @ a_P) * (b_P @ b_P))
    return float(a_P @ b_P / scale) if scale > 0 else np.nan
