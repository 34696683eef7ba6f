"""What every command writes: JSON and CSV."""

import math

import numpy as np

from analysis.layout import write_json


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
    table.to_csv(out / f"{name}.csv")
