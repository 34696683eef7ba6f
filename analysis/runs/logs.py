"""Readers of logs of other tools: one table per file, with the steps as its index.

Columns are scalars such as `loss`, or measurements of a layer such as `participation_ratio/fc1`.
"""

import io
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tapjax.contract.files import DAMAGE, RunError
from tapjax.contract.text import did_you_mean, plural

# Names of the column with the steps, the first that is there.
STEPS = ("step", "global_step", "_step", "trainer/global_step", "iteration", "iter", "epoch")
# Name of an array of a run -> names under which other tools log it.
SYNONYMS = {
    "loss": ("train_loss", "train/loss", "training_loss", "loss/train", "train_loss_step"),
    "grad_norm": ("train/grad_norm", "gradient_norm", "grad_norm_total", "grad/norm"),
    "eval/accuracy": ("val_accuracy", "val/accuracy", "val_acc", "eval_accuracy", "test_accuracy"),
    "eval/loss": ("val_loss", "val/loss", "eval_loss", "validation_loss", "test_loss"),
}
LAYERED = "layer"  # column that names the layer of a row
RENAMED = {"cumulative_90": "effective_rank_90"}
# Columns that tools write beside the quantities.
IGNORED_ENDS = ("__MIN", "__MAX")  # of exports of W&B
IGNORED = ("_runtime", "_timestamp", "wall_time", "created_at", "epoch")


class Log(NamedTuple):
    """Contents of a log: a table of numbers with the steps as its index, and remarks."""

    table: pd.DataFrame
    remarks: list[str]


def read_log(path: Path, step: str = "", mapping=None) -> Log:
    """Read a log that another tool has written.

    Args:
      path: .csv (also of Lightning, Keras and W&B), .json, .jsonl, .h5 (with one group per layer),
        or an event file of TensorBoard.
      step: name of the column with the steps; empty for one of the usual names.
      mapping: name of a column -> name of the array in the run; None for the usual names.

    Returns:
      The Log. Steps increase; of steps that occur twice, as after a resume, the last counts.

    Raises:
      RunError: the file cannot be read, or has no usable column.
    """
    if not path.is_file():
        raise RunError(f"{path} is {'no file' if path.exists() else 'missing'}")
    try:
        return _parsed(path, step, dict(mapping or {}))
    except DAMAGE as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def _parsed(path, step, mapping):
    table = (_tensorboard if _is_events(path) else _readers()[path.suffix])(path)
    table.columns = [_plain_name(str(name)) for name in table.columns]
    table, remarks = _by_step(path, table, step)
    if LAYERED in table:
        table = _spread(table)
    table, dropped = _numbers(table)
    if dropped:
        remarks.append(f"columns without numbers are left out: {', '.join(dropped)}")
    table, said = _renamed(path, table, mapping)
    return Log(*_clean(path, table, remarks + said))


def is_log(path: Path) -> bool:
    """Decide by the name of a file whether it is a log that `read_log` reads."""
    return _is_events(path) or path.suffix in _readers()


def _is_events(path):
    return ".tfevents." in path.name


def _readers():
    text = {".csv": _csv, ".tsv": _csv, ".json": _json, ".jsonl": _json, ".ndjson": _json}
    return text | {".h5": _hdf5, ".hdf5": _hdf5}


def _csv(path):
    return pd.read_csv(io.StringIO(_text(path)), sep=None, engine="python")


def _text(path):
    """Decode a text file as spreadsheets write it: UTF-16 with a mark, UTF-8, or Latin-1."""
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _json(path):
    text = _text(path).strip()
    if path.suffix == ".json":
        found = json.loads(text)
        if isinstance(found, dict) and all(isinstance(rows, list) for rows in found.values()):
            if all(isinstance(row, dict) for rows in found.values() for row in rows):
                rows = [{LAYERED: layer} | row for layer, rows in found.items() for row in rows]
                return pd.DataFrame(rows)
            return pd.DataFrame(found)
    else:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise RunError(f"{path} holds no list of objects such as {{'step': 1, 'loss': 0.5}}")
    return pd.json_normalize(found, sep="/")


def _hdf5(path):
    try:
        import h5py
    except ImportError as error:
        raise RunError(f"{path} needs h5py: pip install h5py") from error
    with h5py.File(path) as file:
        if all(isinstance(each, h5py.Dataset) for each in file.values()):
            return pd.DataFrame({name: each[()] for name, each in file.items()})
        tables = [
            pd.DataFrame({name: each[()] for name, each in group.items()}).assign(layer=layer)
            for layer, group in file.items()
            if isinstance(group, h5py.Group)
        ]
    return pd.concat(tables, ignore_index=True)


def _tensorboard(path):
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise RunError(f"{path} needs tensorboard: pip install tensorboard") from error
    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        points = {event.step: event.value for event in events.Scalars(tag)}
        curves[tag] = pd.Series(points)
    return pd.DataFrame(curves).rename_axis("step").reset_index()


def _plain_name(name):
    """Return the name of a column without the name of the run, as W&B writes it."""
    return name.rpartition(" - ")[2]


def _by_step(path, table, step):
    if step and step not in table:
        hint = did_you_mean(step, table.columns)
        raise RunError(f"{path} has no column {step!r}{hint}; --step names the one with the steps")
    lower = {name.lower(): name for name in table.columns}
    column = step or next((lower[name] for name in STEPS if name in lower), "")
    if not column:
        return table.rename_axis("step"), ["no column holds steps: rows are numbered from 0"]
    numbers = pd.to_numeric(table[column], errors="coerce")
    table, numbers = table[numbers.notna()].drop(columns=column), numbers.dropna()
    if (numbers != numbers.round()).any() or (numbers < 0).any():
        raise RunError(f"{path}: {column!r} holds steps that are not integers, 0 or above")
    table.index = pd.Index(numbers.astype(np.int64), name="step")
    remarks = [] if column == "step" else [f"steps are those of the column {column!r}"]
    return table, remarks


def _spread(table):
    """Turn a column with the name of the layer into one column per quantity and layer."""
    layers = list(dict.fromkeys(table[LAYERED]))
    shared, parts = ("loss", "grad_norm", "accuracy"), []
    for layer in layers:
        rows = table[table[LAYERED] == layer].drop(columns=LAYERED)
        rows = rows[~rows.index.duplicated(keep="last")]
        if parts:
            rows = rows.drop(columns=[name for name in shared if name in rows])
        parts.append(
            rows.rename(columns=lambda n, layer=layer: n if n in shared else f"{n}/{layer}")
        )
    return pd.concat(parts, axis=1)


def _numbers(table):
    beside = [n for n in table if n in IGNORED or str(n).endswith(IGNORED_ENDS)]
    numbers = table.drop(columns=beside)
    numbers = numbers.apply(pd.to_numeric, errors="coerce").astype(float)
    empty = [name for name in numbers if not np.isfinite(numbers[name]).any()]
    return numbers.drop(columns=empty), empty


def _renamed(path, table, mapping):
    """Rename columns as the user says, and else as the usual names suggest."""
    for name in mapping:
        if name not in table:
            hint = did_you_mean(name, table.columns)
            raise RunError(f"--map={name}:{mapping[name]}: {path} has no column {name!r}{hint}")
    remarks, taken = [], {*mapping.values(), *table.columns}
    for wanted, names in SYNONYMS.items():
        found = next((name for name in names if name in table and name not in mapping), "")
        if found and wanted not in taken:
            mapping[found] = wanted
            remarks.append(f"{found} is taken as {wanted}")
    named = {name: _with_metric(mapping.get(name, name)) for name in table}
    return table.rename(columns=named), remarks


def _with_metric(name):
    metric, slash, layer = name.partition("/")
    return f"{RENAMED.get(metric, metric)}{slash}{layer}"


def _clean(path, table, remarks):
    """Drop rows without numbers, order the steps, and let the last of equal steps count."""
    empty = ~np.isfinite(table).any(axis=1)
    if empty.any():
        remarks.append(f"{plural(int(empty.sum()), 'row')} without numbers left out")
        table = table[~empty]
    if not len(table) or not len(table.columns):
        raise RunError(f"{path} holds no numbers")
    back = (np.diff(table.index) < 0).any()
    merged = table.groupby(level=0).last()  # the last finite value of each quantity
    lost = int(table.index.size - merged.index.size)
    repeated = table.notna().groupby(level=0).sum().max(axis=1) > 1
    if repeated.any() or back:
        times = plural(int(repeated.sum()), "step")
        remarks.append(f"{times} of {path.name} occur twice: the last values count")
    elif lost:
        remarks.append(f"rows of the same step are joined ({lost} fewer)")
    merged.columns = [str(name) for name in merged.columns]
    return merged[sorted(merged, key=_order)], remarks


def _order(name):
    return (math.inf if "/" in name else 0, name)
