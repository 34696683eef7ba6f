"""Join several runs of one experiment to a single run with all their seeds."""

from pathlib import Path

import pandas as pd

from analysis.runs.joining import join
from analysis.runs.reader import open_runs


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument("--out", type=Path, required=True, help="run directory to make")
    parser.add_argument(
        "--ignore",
        default="",
        metavar="SETTINGS",
        help="settings in which the runs may differ, such as name,paths.out; settings whose names "
        "contain `seed` may always differ",
    )


def run(args):
    """Run the command with its parsed flags."""
    runs, refused = open_runs(args.runs, args.partial)
    remarks = join(runs, args.out, [name for name in args.ignore.split(",") if name])
    rows = [{"run": each.name, "seeds": len(each.seeds)} for each in runs]
    result = {"command": "join", "runs": rows, "out": str(args.out), "refused": refused}
    return result | {"notes": remarks}, pd.DataFrame(rows).set_index("run")
