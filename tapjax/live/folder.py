"""The run directory of a `Recorder`: its description, its records and how it is reopened."""

import dataclasses
import math
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tapjax
from tapjax.contract.files import RunError, names_and_arrays, read_json, read_npz
from tapjax.contract.layout import (
    MANIFEST,
    SCHEMA,
    STEP_AXES,
    is_scratch,
    record_name,
    record_steps,
    write_json,
    write_npz,
)
from tapjax.contract.lease import Lease

DIMENSION = "participation_ratio"
HEAD = "head"  # usual name of the layer with the outputs
LISTED = 3  # number of differences that an error message lists


class Description(NamedTuple):
    """What a recorder knows of its run: seeds, settings, names of the network and of the data.

    `changing` are names of settings that may differ when the run is reopened.
    """

    seeds: tuple[int, ...]
    settings: dict
    model: str
    data: str
    head: str
    changing: tuple[str, ...] = ()


def as_settings(config) -> dict:
    """Convert the settings of an experiment to JSON data.

    Args:
      config: mapping, dataclass, object with `to_dict`, namespace of argparse, or None.

    Returns:
      Dict of JSON data, the same in every process.

    Raises:
      ValueError: it is of another type.
    """
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    elif not isinstance(config, Mapping) and hasattr(config, "__dict__"):
        config = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else vars(config)
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(f"config is {type(config).__name__}, not a dict of settings")
    return as_json(dict(config or {}))


def as_json(value):
    """Convert a setting to JSON data; what JSON lacks becomes text, without memory addresses."""
    if isinstance(value, Mapping):
        return {str(name): as_json(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((as_json(each) for each in value), key=str)
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy, JAX and PyTorch
        return as_json(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_json(dataclasses.asdict(value))
    plain = value is None or isinstance(value, (bool, int, str))
    if plain or (isinstance(value, float) and math.isfinite(value)):
        return value
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


class Folder:
    """Run directory of a recorder, which is locked.

    Attributes:
      path: path of the directory.
      last: `step`, `probe_step` and `eval_step` -> last recorded step, -1 if there is none.
      has_scalars: whether a record holds scalars; the steps of others are those of their probes.
      layers: names of the measured layers; None before the first probe.
      diverged: seed -> step from which its loss or gradient was not finite.
    """

    def __init__(self, path: Path, lease: Lease, about: Description):
        """Check that the directory can take the run; see `Recorder` for the errors."""
        self.path, self._lease, self._about = path, lease, about
        self.last = dict.fromkeys(STEP_AXES.values(), -1)
        self.has_scalars = False
        self.layers: list[str] | None = None
        self.diverged: dict[str, int] = {}
        (path / "records").mkdir(exist_ok=True)
        for file in (*path.iterdir(), *(path / "records").iterdir()):
            if is_scratch(file):
                file.unlink()
        if (path / "config.json").exists():
            self._reopen()
        else:
            ours = {"lock", "records", *MANIFEST, "STATUS.json"}
            strangers = sorted(p.name for p in path.iterdir() if p.name not in ours)
            if strangers:
                raise RunError(f"{path} is neither empty nor a run: it holds {strangers[0]!r}")

    def _reopen(self):
        config, model = read_json(self.path / "config.json"), read_json(self.path / "model.json")
        status = read_json(self.path / "STATUS.json", {"status": str, "step": int})
        if not config.get("recorded"):
            raise RunError(f"{self.path} holds a run of another kind: choose another folder")
        if status["status"] in ("DONE", "DIVERGED"):
            raise RunError(f"{self.path} holds a finished run: choose another folder")
        new = {"seeds": list(self._about.seeds), **self._about.settings}
        old = {"seeds": config["seeds"], **config["settings"]}
        differing = [
            f"{name}: {old.get(name, 'missing')!r} -> {new.get(name, 'missing')!r}"
            for name in dict.fromkeys([*old, *new])
            if old.get(name) != new.get(name) and name not in self._about.changing
        ]
        head = self._about.head if self._about.head in model["layer_names"] else None
        if model["head"] != head:
            differing.append(f"head: {model['head']!r} -> {self._about.head!r}")
        if differing:
            told = "; ".join(differing[:LISTED]) + "; ..." * (len(differing) > LISTED)
            raise RunError(
                f"{self.path} was begun with other settings ({told}): choose another folder or "
                "the old values, or name settings that may change in Recorder(..., changing=[...])"
            )
        self.layers = model["layer_names"] or None
        self.diverged |= status.get("diverged", {})
        self._read_last()

    def _read_last(self):
        self.last, self.has_scalars = dict.fromkeys(STEP_AXES.values(), -1), False
        for file in record_steps(self.path / "records").values():
            names, arrays = names_and_arrays(file, self.last.__contains__)
            self.last |= {axis: int(steps[-1]) for axis, steps in arrays.items()}
            self.has_scalars |= any(name.startswith("scalar/") for name in names)

    def cut(self, step: int) -> bool:
        """Move records from a step on to the folder `orphaned`, because the step is repeated.

        Args:
          step: first step that is repeated.

        Returns:
          Whether there were such records.
        """
        # left: what is not repeated of records whose steps all are, which are then emptied
        left, emptied, found = {}, [], False
        for first, file in reversed(record_steps(self.path / "records").items()):
            arrays = read_npz(file)
            known = [axis for axis in self.last if axis in arrays]
            repeated = any(_repeated(axis, arrays[axis], step).any() for axis in known)
            if not repeated and not left:
                break
            self._lease.confirm()
            if repeated:
                found = True
                (self.path / "orphaned").mkdir(exist_ok=True)
                write_npz(self.path / "orphaned" / f"{file.stem}-{time.time_ns()}.npz", arrays)
            kept = _joined(_before(arrays, step), left)
            if "step" in kept:
                write_npz(self.path / "records" / record_name(first), kept)
                left = {}
            else:
                left = kept
                emptied.append(file)
        if left:  # of a loop whose first probes came before its first scalars
            self._write_new(_with_steps(left), -1)
            emptied = [file for file in emptied if file.name != self._name(_with_steps(left))]
        for file in emptied:  # last, because a kill must not lose what is left of them
            file.unlink()
        self._read_last()
        self.diverged = {seed: at for seed, at in self.diverged.items() if at < step}
        return found

    def write(self, arrays: dict[str, np.ndarray], layers, steps: int) -> None:
        """Write one record file, and what it changes in the description of the run.

        Args:
          arrays: arrays of the record. Without scalars, they are added to the last record.
          layers: names of the measured layers; None before the first probe.
          steps: planned number of steps; 0 if it is not known.
        """
        self._lease.confirm()
        if self.layers != layers or not (self.path / "config.json").exists():
            # A record needs the files that describe it, also if a kill follows.
            self.layers = layers
            self.set_status("RUNNING", "")
            self._describe(steps)
        if "step" not in arrays and self.has_scalars:
            file = list(record_steps(self.path / "records").values())[-1]
            write_npz(file, _joined(read_npz(file), arrays))
        else:
            self._write_new(_with_steps(arrays), self.last["step"])
            arrays = _with_steps(arrays)
        self.has_scalars |= any(name.startswith("scalar/") for name in arrays)
        self.last |= {axis: int(arrays[axis][-1]) for axis in self.last if axis in arrays}
        self._describe(steps)
        self.set_status("RUNNING", "")

    def _write_new(self, arrays, previous):
        path = self.path / "records" / self._name(arrays)
        write_npz(path, arrays | {"previous": np.array(previous)})

    @staticmethod
    def _name(arrays):
        return record_name(int(arrays["step"][0]))

    def write_snapshot(self, step: int, arrays: dict[str, np.ndarray]) -> None:
        """Write the snapshot of a step, and replace an older one of the same step."""
        self._lease.confirm()
        (self.path / "snapshots").mkdir(exist_ok=True)
        about = {"step": np.array(step), "seeds": np.array(self._about.seeds)}
        about["config"] = np.array("recorded")  # in tapjax's own runs, the hash of the config
        single = {name: _single(value) for name, value in arrays.items()}
        write_npz(self.path / "snapshots" / record_name(step), about | single)

    def finish(self, status: str, reason: str, steps: int) -> None:
        """Note how the run ended."""
        self._lease.confirm()
        self._describe(steps)
        self.set_status(status, reason)

    def set_status(self, status: str, reason: str) -> None:
        """Replace STATUS.json."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        done = {"step": self.last["step"] + 1, "diverged": self.diverged, "time": now}
        write_json(self.path / "STATUS.json", {"status": status, "reason": reason, **done})

    def _describe(self, steps):
        """Write the four files that describe the run, if they have changed; config.json last."""
        about, layers = self._about, self.layers or []
        model = {
            "architecture": about.model, "data": about.data, "layer_names": layers,
            "head": about.head if about.head in layers else None, "dimension": DIMENSION,
            "structure": {}, "synthetic": False,
        }  # fmt: skip
        env = {"schema": SCHEMA, "tapjax": tapjax.__version__, "command": sys.argv}
        config = {
            "seeds": list(about.seeds), "steps": max(steps, self.last["step"] + 1),
            "recorded": True, "settings": about.settings,
        }  # fmt: skip
        for name, value in zip(MANIFEST, (env, {}, model, config), strict=True):
            path = self.path / name
            if not path.exists() or (name != "env.json" and read_json(path) != value):
                write_json(path, value)


def _single(value):
    """Return numbers in single precision, in which networks hold them."""
    return value.astype(np.float32) if value.dtype == np.float64 else value


def _repeated(axis, steps, step):
    """Decide which entries are repeated by a loop that goes on from a step.

    An evaluation of that step was made after the step before, and is not repeated.
    """
    return steps > step if axis == "eval_step" else steps >= step


def _before(arrays, step):
    """Return the part of a record that is not repeated; it may lack the axis `step`."""
    kept = {"previous": arrays["previous"]} if "previous" in arrays else {}
    for group, axis in STEP_AXES.items():
        count = int((~_repeated(axis, arrays[axis], step)).sum()) if axis in arrays else 0
        if count:
            kept[axis] = arrays[axis][:count]
            kept |= {n: a[:, :count] for n, a in arrays.items() if n.startswith(f"{group}/")}
    return kept if kept.keys() - {"previous"} else {}


def _with_steps(arrays):
    """Return a record with the axis `step`: without scalars, the steps of its probes."""
    steps = [arrays[axis] for axis in STEP_AXES.values() if axis in arrays]
    return {"step": steps[0]} | arrays


def _joined(old, new):
    """Append the later steps of a record to another; not-a-number where one lacks a quantity."""
    joined = dict(old)
    for group, axis in STEP_AXES.items():
        if axis not in new:
            continue
        later = new[axis] > (old[axis][-1] if axis in old else -1)
        counts = [len(old.get(axis, ())), int(later.sum())]
        joined[axis] = np.concatenate([old.get(axis, np.array([], int)), new[axis][later]])
        for name in {n for part in (old, new) for n in part if n.startswith(f"{group}/")}:
            shape = old.get(name, new.get(name)).shape
            missing = [np.full((shape[0], n, *shape[2:]), np.nan, np.float32) for n in counts]
            parts = (old.get(name, missing[0]), new[name][:, later] if name in new else missing[1])
            joined[name] = np.concatenate(parts, 1)
    return joined
