"""`credit`: how good estimated credits are, what training by them is worth, beside the notes."""

from pathlib import Path

import pandas as pd

from analysis.commands.output import plain, write_results
from analysis.credit import quality
from analysis.figures.credit import overview
from analysis.runs.seeds import open_family, settings
from analysis.statistics.corrections import correct

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


def add_arguments(parser) -> None:
    """The command's own flags."""
    parser.add_argument("--out", type=Path, default=Path("out/credit"), help="for the results")


def run(args):
    """Carry out the parsed command."""
    return compare(args.runs, args.out, args.partial)


def compare(paths, out: Path, partial: bool = False):
    """Tables and figures of credit runs, those that train the same put together.

    Args:
      paths: run directories or folders of them.
      out: folder for credit.json, credit.csv and a figure a setting.
      partial: read unfinished runs too.

    Returns:
      (JSON result, table to print).

    Raises:
      RunError: not runs of the credit family.
    """
    runs = open_family(paths, "credit", partial)
    rows = quality.table(runs)
    told = [correct(rows, f"over_{r}_p", f"over_{r}_q") for r in quality.REFERENCES]
    table = pd.DataFrame(rows).set_index("setting")
    figures = {}
    for i, (setting, members) in enumerate(settings(runs, quality.setting), 1):
        figures[setting] = overview(members, setting, out / f"setting_{i}.png").name
    result = {"command": "credit", "rows": plain(rows), "figures": figures}
    result["notes"] = [line for line in told if line]
    write_results(out, "credit", result, table)
    return result, table[[name for name in SHOWN if name in table]].dropna(axis=1, how="all")
