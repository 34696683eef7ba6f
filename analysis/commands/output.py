"""What every command writes: JSON and CSV."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from tapjax.contract.layout import write_json, write_text

# A spreadsheet takes a cell that begins so for a formula, and carries it out.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain(value):
    """A result as JSON data: NumPy scalars unwrapped, what is not finite as null."""
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
    """Write NAME.json and NAME.csv, unless there is no folder to write to.

    Args:
      out: folder or None.
      name: of the files.
      result: JSON data.
      table: data frame.
    """
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", result)
    write_csv(out / f"{name}.csv", table)


def write_csv(path: Path, table: pd.DataFrame, index: bool = True) -> None:
    """Write a table atomically, as text that no spreadsheet takes for formulas.

    Args:
      path: destination.
      table: data frame; text that a spreadsheet would carry out gets an apostrophe in front.
      index: write the index, too.
    """
    table = table.reset_index() if index else table
    table = table.rename(columns=_harmless).map(_harmless)
    write_text(path, table.to_csv(index=False))


def _harmless(cell):
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
