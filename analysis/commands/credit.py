"""Measure how good estimated credits are, and which accuracy networks trained with them reach.

Values that a study of these methods reported earlier are listed beside the measured ones.
"""

from pathlib import Path

import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_csv, write_results
from analysis.credit import quality, tuning
from analysis.figures.credit import overview
from analysis.runs.reader import RunError
from analysis.runs.seeds import open_family, settings
from analysis.statistics.corrections import correct, told_q
from tapjax.contract.text import did_you_mean, plural

SHOWN = ("method", "variant", "n", "gamma", "gamma_half", "dir_gamma", "rho", "param_cosine")
SHOWN += ("accuracy", "accuracy_half", "notes_gamma", "notes_rho", "notes_accuracy")
FEW = 4  # largest number of methods whose Gamma the conclusion names


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "credit")
    add_figure_flags(parser)
    parser.add_argument(
        "--against",
        type=lambda text: tuple(text.split(",")),
        default=",".join(quality.REFERENCES),
        metavar="METHODS",
        help="methods, separated by commas, that all others are compared with, seed by seed",
    )
    parser.add_argument(
        "--tuning",
        action="store_true",
        help="show the best run of each method, and the expected best of n runs, and write "
        "tuning.csv",
    )


def run(args):
    """Run the command with its parsed flags."""
    return compare(args.runs, args.out, args.partial, args.against, args.tuning)


def compare(
    paths, out: Path, partial: bool = False, against=quality.REFERENCES, tuned: bool = False
):
    """Write tables and figures of credit runs, grouped by setting.

    Runs of one setting train the same model on the same data for the same number of steps. They are
    compared with each other.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for credit.json, credit.csv and one figure per setting.
      partial: whether to read unfinished runs, too.
      against: names of methods that all others are compared with.
      tuned: whether to print the best run of each method, and to write tuning.csv, too.

    Returns:
      (JSON result, table to print).

    Raises:
      RunError: no run is of the credit family, or none is of a method of `against`.
    """
    runs, refused = open_family(paths, "credit", partial)
    _check(against, runs)
    rows = quality.table(runs, against)
    told = [correct(rows, f"over_{r}_p", f"over_{r}_q") for r in against]
    table = pd.DataFrame(rows).set_index("setting")
    figures = {}
    for i, (setting, members) in enumerate(settings(runs, quality.setting), 1):
        figures[setting] = overview(members, setting, out / f"setting_{i}").name
    result = {"command": "credit", "rows": plain(rows), "figures": figures}
    result["refused"] = refused
    result["notes"] = [line for line in told if line]
    result["conclusion"] = _conclusion(rows, against)
    shown = [*SHOWN, *(f"over_{name}{end}" for name in against for end in ("", "_q"))]
    if tuned:
        result["tuning"] = plain(tuning.table(rows))
        best = pd.DataFrame(result["tuning"], columns=None if result["tuning"] else ["setting"])
        best = best.set_index("setting")
        write_results(out, "credit", result, table)
        write_csv(out / "tuning.csv", best)
        return result, best.drop(columns="run", errors="ignore")
    write_results(out, "credit", result, table)
    return result, table[[name for name in shown if name in table]].dropna(axis=1, how="all")


def _check(against, runs):
    """Refuse references of which there is no run, except for the default ones."""
    known = sorted({quality.method(run.config) for run in runs})
    for name in set(against) - set(known) - set(quality.REFERENCES):
        hint = did_you_mean(name, known)
        raise RunError(f"--against: no run of method {name!r}; there are {', '.join(known)}{hint}")


def _conclusion(rows, against):
    """Name the best method but backpropagation in each setting, and compare it with others."""
    said = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        scored = [r for r in rows if r["setting"] == setting and r.get("accuracy") is not None]
        if scored:
            said.append(_best(scored, setting, against))
    return " ".join(said) if said else "No accuracy was recorded."


def _best(rows, setting, against):
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
        for name in against
        if f"over_{name}" in top
    )
    told += f"; backpropagation reaches {max(r['accuracy'] for r in bp):.3f}" if bp else ""
    near = ", ".join(f"{row['method']} {row['gamma']:.2f}" for row in others[:FEW])
    return f"{told}. Cosine of the credits with the true gradient (Gamma): {near}."
