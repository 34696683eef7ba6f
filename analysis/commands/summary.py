"""Summarise every run in one row: status, seeds, steps, D, loss and test accuracy."""

from pathlib import Path

import pandas as pd

from analysis.commands.output import plain, write_results
from analysis.runs.reader import Run, find_runs, open_run

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
    d_SxT, t = run.dimension(), run.steps("probe")
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
        "loss_last": run.tail("scalar", "loss", 50).mean(),
    }
    if run.has("eval", "accuracy"):
        accuracy = run.tail("eval", "accuracy", 1)[:, 0]
        row["test_accuracy"] = accuracy.mean()
        row["test_accuracy_sd"] = accuracy.std(ddof=1) if len(accuracy) > 1 else None
    return row


def summary(paths, out: Path | None, partial: bool) -> tuple[dict, pd.DataFrame]:
    """Build the table of runs.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for summary.json and summary.csv; None to write no files.
      partial: whether to read unfinished runs, too.

    Returns:
      (JSON result, table to print).
    """
    rows = [summarise(open_run(path, partial)) for path in find_runs(paths)]
    table = pd.DataFrame(rows).set_index("run")
    result = {"command": "summary", "runs": plain(rows)}
    write_results(out, "summary", result, table)
    return result, table[[name for name in SHOWN if name in table]]
