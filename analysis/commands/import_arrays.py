"""Convert arrays and logs that another framework or tool recorded into run directories.

Reads .npz files with arrays, CSV files (of Lightning, Keras, W&B and others), JSON and JSON lines,
HDF5 files with one group per layer, and event files of TensorBoard. In a log, a column such as
`participation_ratio/fc1` is a measurement of a layer.
"""

from pathlib import Path

import pandas as pd

from analysis.runs.importer import import_arrays
from analysis.runs.log_importer import import_logs, parse_mapping
from analysis.runs.logs import is_log
from analysis.runs.reader import RunError


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument(
        "arrays",
        nargs="+",
        help=".npz files with step, loss, grad_norm, layer_names and at least one metric [T, L]; "
        "or logs: .csv, .json, .jsonl, .h5, event files",
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
    parser.add_argument("--step", default="", help="column of a log with the steps")
    parser.add_argument(
        "--map", default="",
        help="columns of a log as arrays of the run, as in train/loss:loss,val_acc:eval/accuracy",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", action="store_true", help="make one run of several logs, each with one seed"
    )


def run(args):
    """Run the command with its parsed flags."""
    return import_runs(args.arrays, args.out, args.head, args.step, args.map, args.seeds)


def import_runs(
    sources, out: Path, head: str, step: str = "", mapping: str = "", seeds: bool = False
) -> tuple[dict, pd.DataFrame]:
    """Convert arrays and logs of other tools into run directories.

    A single file is imported into `out` itself. Several files are imported into folders below it,
    unless they are seeds of one run.

    Args:
      sources: paths of the files.
      out: run directory for one file, or folder for the run directories of several files.
      head: layer that is the head and stays out of D: `last`, `none` or the name of a layer.
      step: column of a log with the steps; empty for one of the usual names.
      mapping: columns of a log as arrays of the run, see `parse_mapping`.
      seeds: whether several logs are seeds of one run.

    Returns:
      (JSON result, table to print).

    Raises:
      RunError: a file is unusable, or arrays are to be joined as seeds.
    """
    sources = [Path(source) for source in sources]
    names, rows = parse_mapping(mapping), []
    if seeds:
        arrays = [source.name for source in sources if source.suffix == ".npz"]
        if arrays:
            raise RunError(f"--seeds is for logs: import {arrays[0]} alone, then `tapjax join`")
        remarks = import_logs(sources, out, head, step, names)
        rows.append({"source": f"{len(sources)} logs", "run": out.name})
        rows[-1]["remarks"] = "; ".join(remarks)
        sources = []
    for source in sources:
        folder = out if len(sources) == 1 else out / source.stem
        if is_log(source):
            remarks = import_logs([source], folder, head, step, names)
        else:
            remarks = import_arrays(source, folder, head)
        rows.append({"source": source.name, "run": folder.name, "remarks": "; ".join(remarks)})
    return {"command": "import", "runs": rows}, pd.DataFrame(rows).set_index("source")
