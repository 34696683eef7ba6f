"""Summarise every run in one row: status, seeds, steps, D, loss and test accuracy."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.commands.output import plain, write_results
from analysis.runs.finding import find_runs
from analysis.runs.reader import (
    DivergedError,
    EmptyRunError,
    Run,
    RunError,
    open_run,
    read_manifest,
)
from tapjax.contract.text import shortened

# Columns of `summarise` that the printed table shows.
SHOWN = ("status", "seeds", "last_step", "D_first", "D_min", "D_min_step", "D_last", "loss_last")
SHOWN += ("test_accuracy",)


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for summary.json and summary.csv; by default none are written",
    )


def run(args):
    """Run the command with its parsed flags."""
    return summary(args.runs, args.out, args.partial)


def summarise(run: Run) -> dict:
    """Summarise one run, with means over its finite seeds.

    Args:
      run: open run.

    Returns:
      Name, architecture, data set, status, numbers of finite and of diverged seeds, first and last
      step, D at the first, lowest and last measurement, final loss, and test accuracy if recorded.
    """
    row = _identity(run.name, run.model, run.status, len(run.seeds)) | _dimension(run)
    if run.has("scalar", "loss"):  # another loop may record none
        row["loss_last"] = run.tail("scalar", "loss", 50).mean()
    if run.has("eval", "accuracy"):
        accuracy = run.tail("eval", "accuracy", 1)[:, 0]
        row["test_accuracy"] = accuracy.mean()
        row["test_accuracy_sd"] = accuracy.std(ddof=1) if len(accuracy) > 1 else None
    return row


def _identity(name, model, status, seeds):
    return {
        "run": name,
        "architecture": model["architecture"],
        "data": model["data"],
        "status": status["status"],
        "seeds": seeds,
        "diverged": len(status.get("diverged", {})),
        "first_step": 0,
        "last_step": status["step"],
        "D_is": model["dimension"],
    }


def _dimension(run):
    """Return what the finite measurements of D say, or nothing if there are none."""
    d_SxT = run.known_dimension()
    kept = np.isfinite(d_SxT).all(0) if d_SxT is not None else np.zeros(1, bool)
    if not kept.any():
        return {}
    d_SxT, t = d_SxT[:, kept], run.steps("probe")[kept]
    d = d_SxT.mean(0)
    return {
        "first_step": int(t[0]),
        "last_step": int(t[-1]),
        "D_first": d[0],
        "D_min": d.min(),
        "D_min_step": int(t[d.argmin()]),
        "D_last": d[-1],
        "D_last_sd": d_SxT[:, -1].std(ddof=1) if len(run.seeds) > 1 else None,
    }


def _row(path, partial):
    """Return the row of one run; if every seed diverged, it holds no values."""
    try:
        return summarise(open_run(path, partial))
    except DivergedError:  # its row still says what it was
        _, _, model, _, status = read_manifest(path)
        return _identity(path.name, model, status, 0)


def summary(paths, out: Path | None, partial: bool) -> tuple[dict, pd.DataFrame]:
    """Build the table of runs.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for summary.json and summary.csv; None to write no files.
      partial: whether to read unfinished runs, too.

    Returns:
      (JSON result, table to print).

    Raises:
      RunError: a run is damaged or unfinished, or no run has a record.
    """
    rows, notes = [], []
    for path in find_runs(paths):
        try:
            rows.append(_row(path, partial))
        except EmptyRunError as error:
            notes.append(str(error))
    if not rows:
        raise RunError(shortened(notes))
    table = pd.DataFrame(rows).set_index("run")
    result = {"command": "summary", "runs": plain(rows), "notes": notes}
    write_results(out, "summary", result, table)
    return result, table[[name for name in SHOWN if name in table]]
