"""`tap`: fit the curve models to D(t) of every run."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from analysis import report
from analysis.commands.output import plain, write_results
from analysis.commands.summary import SHOWN, summarise
from analysis.figures.curves import dimension_curves, score_heat_map
from analysis.io import RunError, find_runs, open_run
from analysis.tap import fit_run, fit_table, model_scores


def add_arguments(parser) -> None:
    """The command's own flags."""
    parser.add_argument("--out", type=Path, default=Path("out/tap"), help="folder for the results")
    parser.add_argument("--metric", help="dimensionality to average over hidden layers")


def run(args):
    """Carry out the parsed command."""
    return tap(args.runs, args.out, args.partial, args.metric)


def tap(paths, out: Path, partial: bool, metric: str | None = None) -> tuple[dict, pd.DataFrame]:
    """Fit the curve models to every run and draw what they say.

    Args:
      paths: run directories or folders of them.
      out: folder for tap.json, tap.csv, tap_models.csv, figures and report.html.
      partial: read unfinished runs too.
      metric: dimensionality; each run's own by default.

    Returns:
      (JSON result, table of model scores to print).
    """
    runs = [open_run(path, partial) for path in find_runs(paths)]
    rows, pictures, refused = [], [], []
    for run in tqdm(runs, desc="fitting", unit="run", disable=None):
        try:
            fitted, curves = fit_run(run, metric)
        except RunError as error:
            refused.append(str(error))
            continue
        rows += fitted
        pictures.append(dimension_curves(run, curves, out / f"{run.name}_dimension.png", metric))
    if not rows:
        raise RunError("no run could be fitted: " + "; ".join(refused))
    table = fit_table(rows)
    scores = model_scores(table)
    maps = [score_heat_map(table, v, out / f"fit_{v}.png") for v in ("r2", "r2_log")]
    summaries = pd.DataFrame([summarise(run) for run in runs]).set_index("run")
    summaries = summaries[[name for name in SHOWN if name in summaries]]
    result = {
        "command": "tap",
        "definition_of_D": sorted({run.model["dimension"] for run in runs}),
        "steps": {run.name: [int(run.steps("probe")[i]) for i in (0, -1)] for run in runs},
        "models": plain(scores.reset_index().to_dict("records")),
        "fits": plain(rows),
        "refused": refused,
    }
    write_results(out, "tap", result, table.set_index("run"))
    scores.to_csv(out / "tap_models.csv")
    _tap_report(out, runs, summaries, scores, table, maps, pictures, refused)
    return result, scores


def _tap_report(out, runs, summaries, scores, table, maps, pictures, refused):
    synthetic = any(run.model.get("synthetic") for run in runs)
    best = table.loc[table["model"] == "tap_compression"]
    columns = ["alpha", "alpha_low", "alpha_high", "D0", "D_max", "identified", "r2", "seed"]
    parts = [
        report.paragraph(
            f"{len(runs)} runs, {int(summaries['seeds'].sum())} curves. D is the mean over hidden "
            "layers; the head is measured and left out. R2 is that of the simulated curve against "
            "the measured curve's own mean. The tail is forecast from the first 40 % of the steps; "
            "its error is relative to the range of D, and persistence (the last level seen) is "
            "what a forecast has to beat."
        ),
        *([report.paragraph("SYNTHETIC data.")] if synthetic else []),
        *(report.paragraph(f"Not fitted: {line}") for line in refused),
        report.heading("Models of D(t) over all runs and seeds"),
        report.table(scores),
        *(report.picture(path, path.stem) for path in maps),
        report.heading("Runs"),
        report.table(summaries),
        report.heading("TAP with transient compression: parameters with 95 % intervals"),
        report.paragraph(
            "alpha is per unit of integrated gradient norm. A fit that is not identified leaves "
            "alpha or D_max undetermined: its numbers mean nothing on their own."
        ),
        report.table(best.set_index("run")[columns]),
        report.heading("Curves"),
        *(report.picture(path, path.stem) for path in pictures),
    ]
    report.write_page(out / "report.html", "Dimensionality while training", parts)
