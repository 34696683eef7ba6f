"""Evaluation of the live monitor on recorded runs."""

import numpy as np

from analysis.runs.reader import Run
from tapjax.live.monitor import HORIZONS, Monitor


def replay_seed(run: Run, index: int, method: str, metric: str | None):
    """Feed one recorded seed to a live monitor and score the forecasts of the monitor.

    Args:
      run: open run.
      index: index of the seed in `run.seeds`.
      method: forecasting method, one of `monitor.METHODS`.
      metric: name of the dimensionality metric; None uses the metric that the run names.

    Returns:
      (Monitor, rows) with one row per horizon: `error`, the root mean squared error of ln D;
      `error_of_persistence`, that of the persistence forecast; `skill`, 1 minus the ratio of their
      squares; and `coverage`, the share of measured values inside the forecast interval.
    """
    t, d = run.steps("probe"), run.dimension(metric)[index]
    loss_T, norm_T = (_at(t, run, name, index) for name in ("loss", "grad_norm"))
    monitor, made = Monitor(method=method), {h: [] for h in HORIZONS}
    for i, step in enumerate(t.tolist()):
        report = monitor.update(step, loss_T[i], norm_T[i], d[i])
        for horizon, prediction in report.predictions.items():
            if prediction.step <= t[-1]:
                level = d[max(i - 4, 0) : i + 1].mean()
                made[horizon].append((*prediction[:4], level))
    return monitor, [_score(h, np.array(p), t, d) for h, p in made.items() if p]


def _at(steps_T, run, name, index):
    """Return a scalar of one seed at the measurements, [T]; None everywhere if not recorded."""
    if not run.has("scalar", name):
        return [None] * len(steps_T)
    return np.interp(steps_T, run.steps("scalar"), run.array("scalar", name)[index])


def _score(horizon, made, t, d):
    target, value, low, high, level = made.T
    actual = np.interp(target, t, d)
    known = np.isfinite(low)
    error, persistence = np.log(value / actual), np.log(level / actual)
    inside = (low <= actual) & (actual <= high)
    return {
        "horizon": horizon,
        "error": float(np.sqrt(np.square(error).mean())),
        "error_of_persistence": float(np.sqrt(np.square(persistence).mean())),
        "skill": float(1 - np.square(error).sum() / np.square(persistence).sum()),
        "coverage": float(inside[known].mean()) if known.any() else np.nan,
    }
