"""Measure how good estimated credits are, and which accuracy networks trained with them reach.

The values that the notes on learned credit assignment report are listed beside the measured ones.
"""

from pathlib import Path

import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.credit import quality
from analysis.figures.credit import overview
from analysis.runs.seeds import open_family, settings
from analysis.statistics.corrections import correct
from tapjax.contract.text import plural

SHOWN = ("method", "variant", "n", "gamma", "gamma_half", "dir_gamma", "rho", "param_cosine")
SHOWN += (
    "accuracy",
    "accuracy_half",
    "over_dir",
    "over_dir_q",
    "over_dfa",
    "over_dfa_q",
    "notes_gamma",
    "notes_rho",
)
SHOWN += ("notes_accuracy",)
FEW = 4  # largest number of methods whose Gamma the conclusion names


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "credit")
    add_figure_flags(parser)


def run(args):
    """Run the command with its parsed flags."""
    return compare(args.runs, args.out, args.partial)


def compare(paths, out: Path, partial: bool = False):
    """Write tables and figures of credit runs, grouped by setting.

    Runs of one setting train the same model on the same data for the same number of steps. They are
    compared with each other.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for credit.json, credit.csv and one figure per setting.
      partial: whether to read unfinished runs, too.

    Returns:
      (JSON result, table to print).

    Raises:
      RunError: no run is of the credit family.
    """
    runs, refused = open_family(paths, "credit", partial)
    rows = quality.table(runs)
    told = [correct(rows, f"over_{r}_p", f"over_{r}_q") for r in quality.REFERENCES]
    table = pd.DataFrame(rows).set_index("setting")
    figures = {}
    for i, (setting, members) in enumerate(settings(runs, quality.setting), 1):
        figures[setting] = overview(members, setting, out / f"setting_{i}").name
    result = {"command": "credit", "rows": plain(rows), "figures": figures}
    result["refused"] = refused
    result["notes"] = [line for line in told if line]
    result["conclusion"] = _conclusion(rows)
    write_results(out, "credit", result, table)
    return result, table[[name for name in SHOWN if name in table]].dropna(axis=1, how="all")


def _conclusion(rows):
    """Name the method with the highest accuracy of each setting, and what it gains over others."""
    said = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        scored = [r for r in rows if r["setting"] == setting and r.get("accuracy") is not None]
        if scored:
            top = max(f"{row['accuracy']:.3f}" for row in scored)
            best = [row["method"] for row in scored if f"{row['accuracy']:.3f}" == top]
            of = f"of {plural(len(scored), 'run')} in {setting}"
            said.append(f"{', '.join(best)} ({top}) {of}{_gains(scored, best)}")
    return f"Highest test accuracy: {'; '.join(said)}." if said else "No accuracy was recorded."


def _gains(rows, best):
    """Say how the best method compares with the references, and how near its credits are."""
    if len(best) > 1:
        return ""
    (row,) = [row for row in rows if row["method"] == best[0]][:1]
    told = [
        f"{row[f'over_{name}']:+.3f} over {name} (q {row[f'over_{name}_q']:.3f})"
        for name in quality.REFERENCES
        if f"over_{name}" in row
    ]
    near = [f"{r['method']} {r['gamma']:.2f}" for r in rows if r["method"] != "bp"][:FEW]
    return f"{''.join(f', {text}' for text in told)}; Gamma {', '.join(near)}"
