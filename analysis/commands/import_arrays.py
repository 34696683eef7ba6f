"""Convert arrays that another framework recorded into run directories."""

from pathlib import Path

import pandas as pd

from analysis.runs.importer import import_arrays


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument(
        "arrays",
        nargs="+",
        help=".npz files with step, loss, grad_norm, layer_names and at least one metric [T, L]",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="run directory to make, or folder for those of several files",
    )
    parser.add_argument(
        "--head",
        default="none",
        help="layer with the outputs of the network, left out of D: last, none or its name",
    )


def run(args):
    """Run the command with its parsed flags."""
    return import_runs(args.arrays, args.out, args.head)


def import_runs(sources, out: Path, head: str) -> tuple[dict, pd.DataFrame]:
    """Convert arrays of another framework into run directories.

    A single file is imported into `out` itself. Several files are imported into folders below it.

    Args:
      sources: paths of .npz files.
      out: run directory for one file, or folder for the run directories of several files.
      head: layer that is the head and stays out of D: `last`, `none` or the name of a layer.

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
