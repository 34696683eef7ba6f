"""`import`: foreign arrays into runs."""

from pathlib import Path

import pandas as pd

from analysis.runs.importer import import_arrays


def add_arguments(parser) -> None:
    """The command's own flags."""
    parser.add_argument("arrays", nargs="+", help=".npz files")
    parser.add_argument("--out", type=Path, required=True, help="run directory to make")
    parser.add_argument("--head", default="none", help="last, none or a layer's name")


def run(args):
    """Carry out the parsed command."""
    return import_runs(args.arrays, args.out, args.head)


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
