"""TAP calibration: fits of every curve model to every D(t), with scores of fit and of forecast."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from analysis.runs.reader import Run, RunError
from analysis.statistics.parallel import in_processes
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
      run: open run.
      metric: dimensionality metric to average over hidden layers; None uses the metric that the run
        names.
      models: names of the models, keys of `curve_models.MODELS`.

    Returns:
      (rows, curves): one row per seed and model, and a dict from (seed, model) to the fitted curve
      [T].

    Raises:
      RunError: there are fewer than 20 measurements, or D is constant, zero or not finite.
    """
    t, d_SxT, g_SxT = run.steps("probe"), run.dimension(metric), run.gradient_integral()
    if len(t) < 20:
        raise RunError(
            f"{run.path}: {len(t)} measurements are too few for a fit, at least 20 are needed"
        )
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
        with np.errstate(over="ignore"):  # an open end of an interval is infinite
            value, low, high = np.exp(bounds) if positive else bounds
        result[name] = {"value": value, "low": low, "high": high}
    return result


def fit_runs(runs, metric: str | None = None, models=tuple(MODELS)) -> list:
    """Fit the curve models to D(t) of several runs, in several processes.

    Args:
      runs: open runs.
      metric: name of a recorded dimensionality metric; None uses the metric of each run.
      models: names of the models to fit.

    Returns:
      For each run, what `fit_run` returns, or the RunError that it raises.
    """
    return in_processes(partial(_fitted, metric=metric, models=models), runs, "fitting")


def _fitted(run, metric, models):
    try:
        return fit_run(run, metric, models)
    except RunError as error:
        return error


def forecast_tail(name: str, axis: Axis, d: np.ndarray) -> np.ndarray:
    """Simulate D over all steps with a model that is fitted to the first 40 % of the steps.

    A forecast does not know the future gradient norm. It is set to the mean over the last tenth of
    the measurements in the fitted part.

    Args:
      name: name of the model, a key of `MODELS`.
      axis: steps and gradient integral at which D was measured.
      d: measured D, [T].

    Returns:
      Simulated D, [T].
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
    """Return the index of the first measurement of the held-out tail."""
    return int(np.searchsorted(t, TAIL_START * t[-1]))


def tail_baselines(t: np.ndarray, d: np.ndarray) -> dict[str, np.ndarray]:
    """Compute two baseline forecasts of the held-out tail that need no model.

    Args:
      t: steps since the first measurement, [T].
      d: measured D, [T].

    Returns:
      Two arrays [T]: `persistence`, the mean of the last 10 points before the tail; and
      `damped_trend`, which starts at this mean and follows half the slope in ln t of the last 80
      points before the tail (only those in the second half of that part).
    """
    start = tail_start(t)
    level = d[:start][-PERSISTENCE_POINTS:].mean()
    recent = slice(max(start - TREND_POINTS, start // 2), start)
    slope = np.polyfit(np.log1p(t[recent]), d[recent], 1)[0]
    trend = level + 0.5 * slope * (np.log1p(t) - np.log1p(t[start - 1]))
    return {"persistence": np.full(len(t), level), "damped_trend": trend}


def on_log_grid(t, *series):
    """Interpolate series on a grid that is evenly spaced in ln t.

    Args:
      t: steps since the first measurement, [T].
      *series: arrays [T].

    Returns:
      Each series at step 0 and at 45 logarithmically spaced steps.
    """
    grid = np.concatenate([[0.0], np.geomspace(t[1], t[-1], LOG_POINTS - 1)])
    return tuple(np.interp(grid, t, values) for values in series)


def r2(measured: np.ndarray, simulated: np.ndarray) -> float:
    """Compute R2: 1 minus the squared error divided by that of the mean of the measured series."""
    return float(
        1 - np.square(measured - simulated).sum() / np.square(measured - measured.mean()).sum()
    )


def _rms(x):
    return float(np.sqrt(np.square(x).mean()))


def fit_table(rows: list[dict]) -> pd.DataFrame:
    """Convert rows to a table, with the parameters in columns `NAME`, `NAME_low`, `NAME_high`.

    Args:
      rows: rows from `fit_run`.

    Returns:
      Table with one line per run, seed and model.
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
    """Summarise the scores of each model over all runs and seeds.

    Args:
      table: table from `fit_table`.

    Returns:
      Table with one line per model: number of curves n, median R2 on both grids, share of curves
      with R2 above .8, median tail error, shares of curves on which the forecast of the model beats
      persistence and the damped trend, and share of identified fits.
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
