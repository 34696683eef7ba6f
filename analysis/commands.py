"""What each analysis command does: read runs, write JSON, CSV and PNG, return what it found."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis import figures, report
from analysis.importer import import_arrays
from analysis.io import Run, RunError, find_runs, open_run
from analysis.layout import write_json
from analysis.tap import fit_run, fit_table, model_scores

# What a printed table of runs shows of `summarise`.
SHOWN = ("status", "seeds", "last_step", "D_first", "D_min", "D_min_step", "D_last", "loss_last")
SHOWN += ("test_accuracy",)


def plain(value):
    """A result as JSON data: NumPy scalars unwrapped, what is not finite as null."""
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def summarise(run: Run) -> dict:
    """The facts of one run, means over its finite seeds.

    Args:
      run: an open run.

    Returns:
      Name, model, data, seeds, steps, D at the first, lowest and last measurement, accuracy.
    """
    t, d_SxT = run.steps("probe"), run.dimension()
    d = d_SxT.mean(0)
    row = {
        "run": run.name,
        "architecture": run.model["architecture"],
        "data": run.model["data"],
        "status": run.status["status"],
        "seeds": len(run.seeds),
        "diverged": len(run.diverged),
        "first_step": int(t[0]),
        "last_step": int(t[-1]),
        "D_is": run.model["dimension"],
        "D_first": d[0],
        "D_min": d.min(),
        "D_min_step": int(t[d.argmin()]),
        "D_last": d[-1],
        "D_last_sd": d_SxT[:, -1].std(ddof=1) if len(run.seeds) > 1 else None,
        "loss_last": run.array("scalar", "loss")[:, -50:].mean(),
    }
    if run.has("eval", "accuracy"):
        accuracy = run.array("eval", "accuracy")[:, -1]
        row["test_accuracy"] = accuracy.mean()
        row["test_accuracy_sd"] = accuracy.std(ddof=1) if len(accuracy) > 1 else None
    return row


def summary(paths, out: Path | None, partial: bool) -> tuple[dict, pd.DataFrame]:
    """Table of runs.

    Args:
      paths: run directories or folders of them.
      out: folder for summary.json and summary.csv, or None.
      partial: read unfinished runs too.

    Returns:
      (JSON result, table to print).
    """
    rows = [summarise(open_run(path, partial)) for path in find_runs(paths)]
    table = pd.DataFrame(rows).set_index("run")
    result = {"command": "summary", "runs": plain(rows)}
    _write(out, "summary", result, table)
    return result, table[[name for name in SHOWN if name in table]]


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
        pictures.append(
            figures.dimension_curves(run, curves, out / f"{run.name}_dimension.png", metric)
        )
    if not rows:
        raise RunError("no run could be fitted: " + "; ".join(refused))
    table = fit_table(rows)
    scores = model_scores(table)
    maps = [figures.score_heat_map(table, v, out / f"fit_{v}.png") for v in ("r2", "r2_log")]
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
    _write(out, "tap", result, table.set_index("run"))
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


def import_runs(sources, out: Path, head: str) -> tuple[dict, pd.DataFrame]:
    """Import foreign arrays: one file into `out` itself, several into folders below it.

    Args:
      sources: .npz files.
      out: run directory, or the folder for several.
      head: see `importer.import_arrays`.

    Returns:
      (JSON result, table to print).
    """
    sources = [Path(source) for source in sources]
    rows = []
    for source in sources:
        folder = out if len(sources) == 1 else out / source.stem
        remarks = import_arrays(source, folder, head)
        rows.append({"source": source.name, "run": folder.name, "remarks": "; ".join(remarks)})
    return {"command": "import", "runs": rows}, pd.DataFrame(rows).set_index("source")


def _write(out, name, result, table):
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", result)
    table.to_csv(out / f"{name}.csv")
