"""Export runs to the formats of other tools.

Seeds are kept apart: in tables by a column, in TensorBoard and Weights & Biases as runs of their
own, which need no network. Quantities that have one value per layer become one column per layer.
"""

from pathlib import Path

import pandas as pd

from analysis.runs.exporter import FORMATS, export
from analysis.runs.reader import open_runs


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument("--to", required=True, help=f"format: {', '.join(FORMATS)}")
    parser.add_argument(
        "--out", type=Path, default=Path("out/export"), help="folder for the results"
    )


def run(args):
    """Run the command with its parsed flags."""
    runs, refused = open_runs(args.runs, args.partial)
    rows = [
        {"run": run.name, "written": str(path.relative_to(args.out))}
        for run in runs
        for path in export(run, args.to, args.out)
    ]
    result = {"command": "export", "files": rows, "refused": refused}
    return result, pd.DataFrame(rows).set_index("run")
