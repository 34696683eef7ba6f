"""Import of logs of other tools as run directories."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.runs.logs import Log, read_log
from tapjax.contract.files import RunError
from tapjax.contract.layout import DIMENSIONS
from tapjax.contract.text import plural
from tapjax.live import Recorder

LAYERED = {*DIMENSIONS, *(f"centred_{name}" for name in DIMENSIONS)}


def import_logs(sources: list[Path], out: Path, head: str, step: str, mapping) -> list[str]:
    """Convert logs to one run directory, with one seed per log.

    Args:
      sources: files that `logs.read_log` reads; several are seeds of one experiment.
      out: run directory to create.
      head: layer with the outputs, which is left out of D: `last`, `none` or the name of a layer.
      step: name of the column with the steps; empty for one of the usual names.
      mapping: name of a column -> name of the array in the run. `eval/NAME` and `probe/NAME` are
        scores on the test split and on the probe.

    Returns:
      Remarks for the user.

    Raises:
      RunError: a log is unusable, or `out` already holds a run.
    """
    if (out / "config.json").exists():
        raise RunError(f"{out} already holds a run: choose another --out")
    logs = [read_log(source, step, mapping) for source in sources]
    columns = list(dict.fromkeys(name for log in logs for name in log.table))
    steps = sorted(set.intersection(*(set(map(int, log.table.index)) for log in logs)))
    if not steps:
        raise RunError(
            f"{sources[0]} and the others have no step in common: import them one by one"
        )
    values_SxTxC = np.stack([_values(log.table, steps, columns) for log in logs])
    groups = {name: _group(name) for name in columns}
    layers = list(dict.fromkeys(layer for _, _, layer in groups.values() if layer))
    name = _head(head, layers)
    remarks = _remarks(sources, logs, columns, steps)
    with Recorder(
        out, seeds=len(logs), model=sources[0].stem, head=name, chunk=10_000, quiet=True,
        config={"imported_from": [source.name for source in sources]},
    ) as record:  # fmt: skip
        for t, at in enumerate(steps):
            _record_step(record, at, values_SxTxC[:, t], columns, groups, layers)
    if not any(group == "scalar" for group, _, _ in groups.values()):
        remarks.append("no column holds scalars such as the loss")
    return remarks


def _values(table, steps, columns):
    return table.reindex(index=steps, columns=columns).to_numpy(float)


def _group(column):
    """Return (group, name, layer) of a column; the layer is empty for other quantities."""
    metric, _, layer = column.partition("/")
    if layer and metric in LAYERED:
        return "probe", metric, layer
    if metric in ("eval", "probe") and layer:
        return metric, layer, ""
    return "scalar", column, ""


def _record_step(record, step, values_SxC, columns, groups, layers):
    known = ~np.isnan(values_SxC).all(0)
    found = {"scalar": {}, "probe": {}, "eval": {}}
    measured = {layer: {} for layer in layers}
    given = False
    for i, column in enumerate(columns):
        group, name, layer = groups[column]
        value = values_SxC[:, i] if len(values_SxC) > 1 else values_SxC[0, i]
        if layer:
            measured[layer][name] = value
            given |= bool(known[i])
        elif known[i]:
            found[group][name] = value
    if found["scalar"]:
        record(step, **found["scalar"])
    if given or found["probe"]:
        record.probe(step, layers=_complete(measured) if given else None, **found["probe"])
    if found["eval"]:
        record.evaluate(step, **found["eval"])


def _complete(measured):
    """Give all layers the same measurements; not-a-number where a layer has none."""
    names = list(dict.fromkeys(name for found in measured.values() for name in found))
    some = next(value for found in measured.values() for value in found.values())
    missing = np.full_like(some, np.nan)
    return {
        layer: {name: found.get(name, missing) for name in names}
        for layer, found in measured.items()
    }


def _head(head, layers):
    if head == "none" or not layers:
        return "head"
    name = layers[-1] if head == "last" else head
    if name not in layers:
        raise RunError(f"--head={head} is not one of last, none, {', '.join(layers)}")
    return name


def _remarks(sources, logs: list[Log], columns, steps):
    remarks = list(dict.fromkeys(line for log in logs for line in log.remarks))
    for source, log in zip(sources, logs, strict=True):
        missing = [name for name in columns if name not in log.table]
        if missing:
            remarks.append(f"{source.name} lacks {', '.join(missing)}: not-a-number")
    for source, log in zip(sources, logs, strict=True):
        more = len(log.table) - len(steps)
        if more:
            remarks.append(f"{source.name} has {plural(more, 'step')} that others lack: left out")
    if "loss" not in columns:
        near = [name for name in columns if "loss" in name.lower()]
        hint = f", as in --map={near[0]}:loss" if near else ""
        remarks.append(f"no column is the training loss; --map=NAME:loss names it{hint}")
    return remarks


def parse_mapping(text: str) -> dict[str, str]:
    """Parse `--map=NAME:ARRAY,NAME:ARRAY`.

    Args:
      text: value of the flag.

    Returns:
      Name of a column -> name of an array.

    Raises:
      RunError: a part has another form, or an array is named twice.
    """
    pairs = [part.rpartition(":") for part in filter(None, text.split(","))]
    if any(not name or not array for name, _, array in pairs):
        raise RunError(f"--map={text!r} must have the form NAME:ARRAY,NAME:ARRAY")
    arrays = pd.Series([array for _, _, array in pairs], dtype=str)
    if arrays.duplicated().any():
        raise RunError(
            f"--map={text!r} names the array {arrays[arrays.duplicated()].iloc[0]!r} twice"
        )
    return {name: array for name, _, array in pairs}
