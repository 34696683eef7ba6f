"""Functions that write the results of the commands as JSON and CSV files."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from tapjax.contract.layout import write_json, write_text

# A spreadsheet executes a cell that begins with one of these characters as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def add_out(parser, name: str) -> None:
    """Add the flag --out, the folder for the results of a command, out/NAME by default."""
    parser.add_argument(
        "--out", type=Path, default=Path("out") / name, help="folder for the results"
    )


def plain(value):
    """Convert a result to JSON data: NumPy scalars to Python numbers, non-finite values to null."""
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_results(out, name: str, result: dict, table) -> None:
    """Write NAME.json and NAME.csv to a folder.

    Args:
      out: folder to write in, created if it does not exist; None to write nothing.
      name: name of both files, without extension.
      result: JSON data for NAME.json.
      table: data frame for NAME.csv.
    """
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", result)
    write_csv(out / f"{name}.csv", table)


def write_csv(path: Path, table: pd.DataFrame, index: bool = True) -> None:
    """Write a table atomically as CSV whose text no spreadsheet executes as a formula.

    Args:
      path: path of the file to write.
      table: data frame; text that a spreadsheet would execute gets an apostrophe in front.
      index: whether to write the index, too.
    """
    table = table.reset_index() if index else table
    table = table.rename(columns=_harmless).map(_harmless)
    write_text(path, table.to_csv(index=False))


def _harmless(cell):
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
