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
STEPS = ("step", "global_step", "_step", "trainer/global_step", "train/global_step", "iteration")
STEPS += ("iter", "epoch")
# Columns that tell several runs in one file apart.
RUNS = ("run", "run_id", "run_name", "name", "seed")
MISSING = ("", "na", "n/a", "none", "null", "-")  # texts of cells without a value
DELIMITERS = (",", ";", "\t", "|")
# Name of an array of a run -> names under which other tools log it.
SYNONYMS = {
    "loss": ("train_loss", "train/loss", "training_loss", "loss/train", "train_loss_step"),
    "grad_norm": ("train/grad_norm", "gradient_norm", "grad_norm_total", "grad/norm"),
    "eval/accuracy": (
        "val_accuracy",
        "val/accuracy",
        "val_acc",
        "val/acc",
        "eval_accuracy",
        "test_accuracy",
    ),
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
    _refuse_several_runs(path, table)
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
    """Read a table as text; `_numbers` tells cells without a value from those that are NaN."""
    lines = [line for line in _text(path).splitlines() if line.strip() and line[0] != "#"]
    if not lines:
        raise RunError(f"{path} is empty")
    delimiter = max(DELIMITERS, key=lines[0].count)
    table = pd.read_csv(
        io.StringIO("\n".join(lines)), sep=delimiter, dtype=str, keep_default_na=False,
        skipinitialspace=True,
    )  # fmt: skip
    header = [list(table.columns)] * len(table)
    again = (table.to_numpy() == np.array(header)).all(1) if len(table) else []
    return table[~np.array(again, bool)]  # a header is repeated when a log is resumed


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
        if isinstance(found, dict) and isinstance(found.get("log_history"), list):
            found = found["log_history"]  # trainer_state.json of Hugging Face
        if isinstance(found, dict) and all(isinstance(rows, list) for rows in found.values()):
            if all(isinstance(row, dict) for rows in found.values() for row in rows):
                found = [{LAYERED: layer} | row for layer, rows in found.items() for row in rows]
            else:
                found = pd.DataFrame({name: pd.Series(v) for name, v in found.items()})
                return found.map(_given, na_action="ignore")
    else:
        lines = [line for line in text.splitlines() if line.strip()]
        found = [json.loads(line) for line in lines[:-1]]
        try:
            found += [json.loads(line) for line in lines[-1:]]
        except ValueError:  # the process was killed while it wrote the last line
            if not found:
                raise
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise RunError(f"{path} holds no list of objects such as {{'step': 1, 'loss': 0.5}}")
    rows = [{name: _given(value) for name, value in _flat(row).items()} for row in found]
    return pd.DataFrame(rows)


def _flat(row, prefix=""):
    found = {}
    for name, value in row.items():
        nested = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{name}/") if nested else {f"{prefix}{name}": value}
    return found


def _given(value):
    """Mark a value that was logged as not-a-number, to tell it from one that was not logged."""
    return math.inf if isinstance(value, float) and math.isnan(value) else value


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
        from tensorboard.util import tensor_util
    except ImportError as error:
        raise RunError(f"{path} needs tensorboard: pip install tensorboard") from error
    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        curves[tag] = pd.Series({event.step: event.value for event in events.Scalars(tag)})
    for tag in events.Tags()["tensors"]:  # scalars as newer versions write them
        found = {e.step: tensor_util.make_ndarray(e.tensor_proto) for e in events.Tensors(tag)}
        if all(value.size == 1 and value.dtype.kind in "biuf" for value in found.values()):
            curves[tag] = pd.Series({step: value.item() for step, value in found.items()})
    return pd.DataFrame(curves).rename_axis("step").reset_index()


def _refuse_several_runs(path, table):
    names = [str(name) for name in table.columns]
    runs = sorted({name.rpartition(" - ")[0] for name in names} - {""})  # as W&B exports them
    column = next((name for name in names if name.lower() in RUNS), "")
    if len(runs) < 2 and column:
        runs = [str(run) for run in table[column].unique()]
    if len(runs) > 1:
        raise RunError(
            f"{path} holds several runs ({', '.join(runs[:3])}, ...): save one file for each, and "
            "import them with --seeds, or one by one"
        )


def _plain_name(name):
    """Return the name of a column without the name of the run, as W&B writes it."""
    return name.rpartition(" - ")[2].strip()


def _by_step(path, table, step):
    if step and step not in table:
        hint = did_you_mean(step, table.columns)
        raise RunError(f"{path} has no column {step!r}{hint}; --step names the one with the steps")
    lower = {name.lower(): name for name in table.columns}
    column = step or next((lower[name] for name in STEPS if name in lower), "")
    if not column:
        return table.rename_axis("step"), ["no column holds steps: rows are numbered from 0"]
    numbers = _as_numbers(table[column])
    unreadable = int((~np.isfinite(numbers)).sum())
    table, numbers = table[np.isfinite(numbers)].drop(columns=column), numbers[np.isfinite(numbers)]
    if (numbers != numbers.round()).any() or (numbers < 0).any():
        raise RunError(f"{path}: {column!r} holds steps that are not integers, 0 or above")
    table.index = pd.Index(numbers.astype(np.int64), name="step")
    remarks = [] if column == "step" else [f"steps are those of the column {column!r}"]
    if unreadable:
        remarks.append(f"{plural(unreadable, 'row')} without a step in {column!r} left out")
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
    numbers = table.drop(columns=beside).apply(_as_numbers)
    empty = [name for name in numbers if not np.isfinite(numbers[name]).any()]
    return numbers.drop(columns=empty), empty


def _as_numbers(column):
    """Convert a column to numbers: NaN where there is no value, infinity where it was logged NaN.

    Reads thousands separators (1,000), decimal commas (1,5) and the text of tensors.
    """
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    text = column.astype(str).str.strip().where(column.notna(), "")
    text = text.str.replace(r"^tensor\(([^,)]*).*\)$", r"\1", regex=True)
    thousands = text.str.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
    text = text.where(~thousands, text.str.replace(",", ""))
    text = text.str.replace(r"^(-?\d+),(\d+)$", r"\1.\2", regex=True)
    lower = text.str.lower()
    numbers = pd.to_numeric(text.where(~lower.isin(MISSING), None), errors="coerce").astype(float)
    return numbers.where(~lower.isin(("nan", "+nan", "-nan")), math.inf)


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
    empty = table.isna().all(axis=1)
    if empty.any():
        remarks.append(f"{plural(int(empty.sum()), 'row')} without numbers left out")
        table = table[~empty]
    if not len(table) or not len(table.columns):
        raise RunError(f"{path} holds no numbers")
    back = (np.diff(table.index) < 0).any()
    merged = table.groupby(level=0).last()  # the last value of each quantity
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
