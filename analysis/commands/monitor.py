"""Replay finished runs through the live monitor; list its warnings and score its forecasts."""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures.prediction import monitored
from analysis.live.replay import replay_seed
from analysis.runs.reader import RunError, open_runs
from tapjax.contract.text import plural, shortened
from tapjax.live.monitor import METHODS, Monitor


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "monitor")
    add_figure_flags(parser)
    parser.add_argument(
        "--method", choices=METHODS, default=METHODS[0], help="forecasting method of the monitor"
    )
    parser.add_argument(
        "--metric", help="recorded metric that D is computed from; by default that of each run"
    )


def run(args):
    """Run the command with its parsed flags."""
    return replay(args.runs, args.out, args.partial, args.method, args.metric)


def replay(paths, out: Path, partial: bool = False, method=METHODS[0], metric=None):
    """Replay recorded runs through the monitor, seed by seed.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for monitor.json, monitor.csv and, in RUN/seed_N, monitor_state.json and
        monitor_visualization.png.
      partial: whether to read unfinished runs, too.
      method: forecasting method of the monitor, one of `METHODS`.
      metric: name of a recorded dimensionality metric; None uses the metric of each run.

    Returns:
      (JSON result, table to print). The table has one row per horizon: number of curves, median
      errors, median skill over persistence, share of curves on which the forecasts beat
      persistence, and coverage of the 90 % interval.

    Raises:
      RunError: no curve is long enough for a forecast.
    """
    runs, refused = open_runs(paths, partial)
    rows, warned = [], []
    for run in tqdm(runs, desc="replaying", unit="run", disable=None):
        try:
            replayed = [replay_seed(run, i, method, metric) for i in range(len(run.seeds))]
        except RunError as error:
            refused.append(str(error))
            continue
        for seed, (monitor, scores) in zip(run.seeds, replayed, strict=True):
            save_monitor(monitor, run.model, seed, out / run.name)
            rows += [{"run": run.name, "seed": seed, **score} for score in scores]
            names = {"run": run.name, "seed": seed}
            warned += [names | warning._asdict() for warning in monitor.warnings]
    if not rows:
        too_short = "no curve is long enough for a forecast: train longer, or measure more often"
        raise RunError(shortened(refused or [too_short]))
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
        "refused": refused,
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
    nearest = shown.iloc[0]
    result["conclusion"] = (
        f"Forecasts {shown.index[0]} steps ahead beat persistence on "
        f"{nearest['beats_persistence']:.0%} of {plural(int(nearest['curves']), 'curve')}; "
        + (
            f"{nearest['coverage']:.0%} of the 90 % intervals hold."
            if np.isfinite(nearest["coverage"])
            else "there were too few past forecasts for intervals."
        )
    )
    return result, shown


def save_monitor(monitor: Monitor, model: dict, seed: int, out: Path) -> None:
    """Write monitor_state.json and monitor_visualization.png to the folder OUT/seed_N.

    Args:
      monitor: monitor of one seed.
      model: content of the run's model.json.
      seed: the seed, N in the name of the folder.
      out: folder to write in.
    """
    folder = out / f"seed_{seed}"
    monitor.save(folder)
    title = f"{model['architecture']} on {model['data']}, seed {seed}"
    if len(monitor.step) > 1:
        monitored(monitor.state(), title, folder / "monitor_visualization")
