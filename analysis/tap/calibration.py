"""TAP calibration: fit every curve model to every D(t) and score it as a forecast would be."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.runs.reader import Run, RunError
from analysis.tap.curve_models import FIXED, MODELS, Axis, Fit, fit_curve
from analysis.tap.fit_errors import Errors, fit_errors

LOG_POINTS = 46
TAIL_START = 0.4
PERSISTENCE_POINTS = 10
TREND_POINTS = 80
FLAT = 1e-6


def fit_run(
    run: Run, metric: str | None = None, models: Sequence[str] = tuple(MODELS)
) -> tuple[list[dict], dict]:
    """Fit curve models to D(t) of each seed.

    Args:
      run: an open run.
      metric: dimensionality to average over hidden layers; the run's own by default.
      models: keys of `fits.MODELS`.

    Returns:
      (one row a seed and model, {(seed, model): fitted curve [T]}).

    Raises:
      RunError: too few measurements, or D is constant.
    """
    t, d_SxT, g_SxT = run.steps("probe"), run.dimension(metric), run.gradient_integral()
    if len(t) < 20:
        raise RunError(f"{run.path}: {len(t)} measurements are too few to fit, at least 20")
    rows, curves = [], {}
    for seed, d, g in zip(run.seeds, d_SxT, g_SxT, strict=True):
        if not (np.isfinite(d).all() and d.min() > 0 and np.ptp(d) > FLAT * d.mean()):
            raise RunError(f"{run.path}: D of seed {seed} is constant, zero or not finite")
        axis = Axis(t - t[0], g - g[0], float(t[-1] - t[0]))
        baselines = tail_baselines(axis.t, d)
        for name in models:
            row, fit = _fit_one(name, axis, d, baselines)
            curves[seed, name] = fit.curve
            rows.append(_identity(run, metric, seed) | row)
    return rows, curves


def _identity(run, metric, seed):
    return {
        "run": run.name,
        "architecture": run.model["architecture"],
        "data": run.model["data"],
        "metric": metric or run.model["dimension"],
        "seed": seed,
    }


def _fit_one(name, axis, d, baselines):
    model, fixed = MODELS[name], FIXED.get(name, ())
    fit = fit_curve(model, axis, d, fixed)
    determined = fit_errors(model, axis, d, fit, fixed)
    tail = forecast_tail(name, axis, d)
    scale = np.ptp(d)
    start = tail_start(axis.t)
    errors = {key: _rms(value[start:] - d[start:]) / scale for key, value in baselines.items()}
    tail_error = _rms(tail[start:] - d[start:]) / scale
    row = {
        "model": name,
        "r2": r2(d, fit.curve),
        "r2_log": r2(*on_log_grid(axis.t, d, fit.curve)),
        "tail_nrmse": tail_error,
        "tail_nrmse_persistence": errors["persistence"],
        "tail_nrmse_damped_trend": errors["damped_trend"],
        "skill_persistence": 1 - (tail_error / errors["persistence"]) ** 2,
        "skill_damped_trend": 1 - (tail_error / errors["damped_trend"]) ** 2,
        "misfit": determined.misfit,
        "misfit_p": determined.misfit_p,
        "identified": not determined.unidentified,
        "unidentified_because": "; ".join(determined.unidentified),
        "parameters": _parameters(model, fit, determined),
    }
    return row, fit


def _parameters(model, fit: Fit, determined: Errors) -> dict:
    result = {}
    for i, (name, positive) in enumerate(zip(model.names, model.positive, strict=True)):
        bounds = np.array([fit.theta[i], determined.low[i], determined.high[i]])
        with np.errstate(over="ignore"):  # an open end is infinite
            value, low, high = np.exp(bounds) if positive else bounds
        result[name] = {"value": value, "low": low, "high": high}
    return result


def forecast_tail(name: str, axis: Axis, d: np.ndarray) -> np.ndarray:
    """The curve that a model, fitted on the first 40 % of the steps, draws over all of them.

    The future gradient norm is unknown to a forecast: it is held at the mean of the last tenth
    of what was seen.

    Args:
      name: a key of `MODELS`.
      axis: where D was measured.
      d: measured D [T].

    Returns:
      Simulated D [T].
    """
    start = tail_start(axis.t)
    seen = Axis(axis.t[:start], axis.g[:start], axis.t[start - 1])
    recent = max(start // 10, 2)
    slope = (seen.g[-1] - seen.g[-recent]) / (seen.t[-1] - seen.t[-recent])
    future = seen.g[-1] + slope * (axis.t[start:] - seen.t[-1])
    frozen = Axis(axis.t, np.concatenate([seen.g, future]), seen.span)
    fit = fit_curve(MODELS[name], seen, d[:start], FIXED.get(name, ()))
    with np.errstate(all="ignore"):
        return np.exp(np.clip(MODELS[name].log_curve(fit.theta, frozen), -50, 50))


def tail_start(t: np.ndarray) -> int:
    """Index of the first measurement of the held-out tail."""
    return int(np.searchsorted(t, TAIL_START * t[-1]))


def tail_baselines(t: np.ndarray, d: np.ndarray) -> dict[str, np.ndarray]:
    """Two forecasts of the tail that need no model.

    Args:
      t: steps [T] from 0.
      d: measured D [T].

    Returns:
      `persistence`, the mean of the last 10 seen points; `damped_trend`, from there along half
      the slope in ln t of the last 80 seen points. Each [T].
    """
    start = tail_start(t)
    level = d[:start][-PERSISTENCE_POINTS:].mean()
    recent = slice(max(start - TREND_POINTS, start // 2), start)
    slope = np.polyfit(np.log1p(t[recent]), d[recent], 1)[0]
    trend = level + 0.5 * slope * (np.log1p(t) - np.log1p(t[start - 1]))
    return {"persistence": np.full(len(t), level), "damped_trend": trend}


def on_log_grid(t, *series):
    """Series interpolated on points that are evenly spaced in ln t.

    Args:
      t: steps [T] from 0.
      *series: arrays [T].

    Returns:
      The first point and 45 log-spaced ones of each series.
    """
    grid = np.concatenate([[0.0], np.geomspace(t[1], t[-1], LOG_POINTS - 1)])
    return tuple(np.interp(grid, t, values) for values in series)


def r2(measured: np.ndarray, simulated: np.ndarray) -> float:
    """One minus the squared error relative to the measured series' own mean."""
    return float(
        1 - np.square(measured - simulated).sum() / np.square(measured - measured.mean()).sum()
    )


def _rms(x):
    return float(np.sqrt(np.square(x).mean()))


def fit_table(rows: list[dict]) -> pd.DataFrame:
    """Rows as a table, parameters in columns `NAME`, `NAME_low`, `NAME_high`.

    Args:
      rows: from `fit_run`.

    Returns:
      One line a run, seed and model.
    """
    flat = []
    for row in rows:
        line = {key: value for key, value in row.items() if key != "parameters"}
        for name, estimate in row["parameters"].items():
            line |= {name: estimate["value"]}
            line |= {f"{name}_{side}": estimate[side] for side in ("low", "high")}
        flat.append(line)
    return pd.DataFrame(flat)


def model_scores(table: pd.DataFrame) -> pd.DataFrame:
    """How each model does over all runs and seeds.

    Args:
      table: from `fit_table`.

    Returns:
      Per model: n, median R2 on both grids, share above .8, median tail error, share of curves
      on which its forecast beats persistence and the damped trend, share identified.
    """
    groups = table.groupby("model", sort=False)
    return pd.DataFrame(
        {
            "n": groups.size(),
            "r2": groups["r2"].median(),
            "r2_log": groups["r2_log"].median(),
            "r2_above_.8": groups["r2"].apply(lambda v: (v > 0.8).mean()),
            "tail_nrmse": groups["tail_nrmse"].median(),
            "beats_persistence": groups["skill_persistence"].apply(lambda v: (v > 0).mean()),
            "beats_damped_trend": groups["skill_damped_trend"].apply(lambda v: (v > 0).mean()),
            "identified": groups["identified"].mean(),
        }
    )
