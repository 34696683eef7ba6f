"""Measure how good estimated credits are, and which accuracy networks trained with them reach.

Values that a study of these methods reported earlier are listed beside the measured ones.
"""

from pathlib import Path

import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.credit import quality
from analysis.figures.credit import overview
from analysis.runs.seeds import open_family, settings
from analysis.statistics.corrections import correct, told_q
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
    """Name the best method but backpropagation in each setting, and compare it with others."""
    said = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        scored = [r for r in rows if r["setting"] == setting and r.get("accuracy") is not None]
        if scored:
            said.append(_best(scored, setting))
    return " ".join(said) if said else "No accuracy was recorded."


def _best(rows, setting):
    bp = [row for row in rows if row["method"] == "bp"]
    others = [row for row in rows if row["method"] != "bp"]
    if not others:
        return f"Backpropagation reaches a test accuracy of {bp[0]['accuracy']:.3f} in {setting}."
    top = max(others, key=lambda row: row["accuracy"])
    told = (
        f"In {setting}, {top['method']} reaches the highest test accuracy without backpropagation"
    )
    told += f" of {plural(len(others), 'run')}: {top['accuracy']:.3f}"
    told += "".join(
        f", {top[f'over_{name}']:+.3f} over {name} ({told_q(top[f'over_{name}_q'])})"
        for name in quality.REFERENCES
        if f"over_{name}" in top
    )
    told += f"; backpropagation reaches {max(r['accuracy'] for r in bp):.3f}" if bp else ""
    near = ", ".join(f"{row['method']} {row['gamma']:.2f}" for row in others[:FEW])
    return f"{told}. Cosine of the credits with the true gradient (Gamma): {near}."
