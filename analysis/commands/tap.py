"""Fit the curve models, among them the TAP equation, to D(t) of every run, and score the fits."""

from pathlib import Path

import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_csv, write_results
from analysis.figures.curves import dimension_curves, score_heat_map
from analysis.runs.reader import RunError, open_runs
from analysis.tap.calibration import fit_runs, fit_table, model_scores
from tapjax.contract.text import plural, shortened


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "tap")
    add_figure_flags(parser)
    parser.add_argument(
        "--metric", help="recorded metric that D is computed from; by default that of each run"
    )


def run(args):
    """Run the command with its parsed flags."""
    return tap(args.runs, args.out, args.partial, args.metric)


def tap(paths, out: Path, partial: bool, metric: str | None = None) -> tuple[dict, pd.DataFrame]:
    """Fit the curve models to D(t) of every run, and draw the fitted curves.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for tap.json, tap.csv, tap_models.csv, and figures.
      partial: whether to read unfinished runs, too.
      metric: name of a recorded dimensionality metric; None uses the metric of each run.

    Returns:
      (JSON result, table to print: scores of the models).

    Raises:
      RunError: no run could be fitted.
    """
    runs, refused = open_runs(paths, partial)
    rows = []
    for run, found in zip(runs, fit_runs(runs, metric), strict=True):
        if isinstance(found, RunError):
            refused.append(str(found))
            continue
        fitted, curves = found
        rows += fitted
        dimension_curves(run, curves, out / f"{run.name}_dimension", metric)
    if not rows:
        raise RunError("no run could be fitted: " + shortened(refused))
    table = fit_table(rows)
    scores = model_scores(table)
    best = scores.loc["tap_compression"]
    usable = [run for run in runs if run.name in set(table["run"])]
    for value in ("r2", "r2_log"):
        score_heat_map(table, value, out / f"fit_{value}")
    result = {
        "command": "tap",
        "definition_of_D": sorted({run.model["dimension"] for run in runs}),
        "steps": {run.name: [int(run.steps("probe")[i]) for i in (0, -1)] for run in usable},
        "conclusion": (
            "The compression form of the TAP equation fits D(t) with a median R2 of "
            f"{best['r2']:.2f}; its forecasts of the tail beat persistence on "
            f"{best['beats_persistence']:.0%} of {plural(int(best['n']), 'curve')}."
        ),
        "models": plain(scores.reset_index().to_dict("records")),
        "fits": plain(rows),
        "refused": refused,
    }
    write_results(out, "tap", result, table.set_index("run"))
    write_csv(out / "tap_models.csv", scores)
    return result, scores
