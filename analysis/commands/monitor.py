"""`monitor`: what the live monitor would have said of finished runs, and how right it was."""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.commands.output import plain, write_results
from analysis.figures.prediction import monitored
from analysis.io import Run, RunError, find_runs, open_run
from analysis.monitor import HORIZONS, METHODS, Monitor


def add_arguments(parser) -> None:
    """The command's own flags."""
    parser.add_argument("--out", type=Path, default=Path("out/monitor"), help="for the results")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help="of forecasting")
    parser.add_argument("--metric", help="dimensionality; each run's own by default")


def run(args):
    """Carry out the parsed command."""
    return replay(args.runs, args.out, args.partial, args.method, args.metric)


def replay(paths, out: Path, partial: bool = False, method=METHODS[0], metric=None):
    """Feed recorded runs to the monitor, seed by seed.

    Args:
      paths: run directories or folders of them.
      out: folder for monitor.json, monitor.csv and, in RUN/seed_N, monitor_state.json and
        monitor_visualization.png.
      partial: read unfinished runs too.
      method: of forecasting.
      metric: dimensionality; each run's own by default.

    Returns:
      (JSON result, table to print: by horizon, skill over persistence, share of curves on which
      forecasts beat it, and coverage of the 90 % interval).
    """
    rows, warned = [], []
    for path in tqdm(find_runs(paths), desc="replaying", unit="run", disable=None):
        run = open_run(path, partial)
        for i, seed in enumerate(run.seeds):
            monitor, scores = replay_seed(run, i, method, metric)
            folder = out / run.name / f"seed_{seed}"
            monitor.save(folder)
            title = f"{run.model['architecture']} on {run.model['data']}, seed {seed}"
            monitored(monitor.state(), title, folder / "monitor_visualization.png")
            rows += [{"run": run.name, "seed": seed, **score} for score in scores]
            names = {"run": run.name, "seed": seed}
            warned += [names | warning._asdict() for warning in monitor.warnings]
    if not rows:
        raise RunError("no curve is long enough to forecast anything")
    table = pd.DataFrame(rows)
    curves = table.groupby(["run", "seed"]).ngroups
    alarms = pd.DataFrame(warned, columns=["run", "seed", "step", "kind"])
    result = {
        "command": "monitor",
        "method": method,
        "curves": curves,
        "curves_with_a_warning": int(alarms.groupby(["run", "seed"]).ngroups),
        "warnings_by_kind": alarms["kind"].value_counts().to_dict(),
        "forecasts": plain(rows),
        "warnings": plain(warned),
    }
    write_results(out, "monitor", result, table.set_index("run"))
    by = table.groupby("horizon")
    shown = pd.DataFrame(
        {
            "curves": by.size(),
            "error": by["error"].median(),
            "error_of_persistence": by["error_of_persistence"].median(),
            "skill": by["skill"].median(),
            "beats_persistence": by["skill"].agg(lambda v: (v > 0).mean()),
            "coverage": by["coverage"].mean(),
        }
    )
    return result, shown


def replay_seed(run: Run, index: int, method: str, metric: str | None):
    """The monitor after one recorded seed, and how good its forecasts were.

    Args:
      run: an open run.
      index: which of its seeds.
      method: of forecasting.
      metric: dimensionality; the run's own by default.

    Returns:
      (Monitor, one row a horizon: root mean squared `error` of ln D, that of persistence,
      `skill`, `coverage` of the interval).
    """
    t, d = run.steps("probe"), run.dimension(metric)[index]
    steps = run.steps("scalar")
    loss, norm = (
        np.interp(t, steps, run.array("scalar", name)[index]) for name in ("loss", "grad_norm")
    )
    monitor, made = Monitor(method=method), {h: [] for h in HORIZONS}
    for i, step in enumerate(t.tolist()):
        report = monitor.update(step, loss[i], norm[i], d[i])
        for horizon, prediction in report.predictions.items():
            if prediction.step <= t[-1]:
                level = d[max(i - 4, 0) : i + 1].mean()
                made[horizon].append((*prediction[:4], level))
    return monitor, [_score(h, np.array(p), t, d) for h, p in made.items() if p]


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
