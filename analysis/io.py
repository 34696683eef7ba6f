"""Reading runs: `open_run(folder)` checks the records and gives their arrays as they are asked for.

Only NumPy and JSON are used; nothing that a run directory names is imported or unpickled.
"""

import json
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from analysis.layout import MANIFEST, SCHEMA, STEP_AXES, record_steps

# What every run says of itself.
TYPES = {
    "config.json": {"seeds": list, "steps": int},
    "env.json": {"schema": int},
    "model.json": {"architecture": str, "data": str, "layer_names": list, "dimension": str},
    "STATUS.json": {"status": str, "step": int},
}


class RunError(Exception):
    """A run that cannot be analysed; the message names the files or steps."""


class Run:
    """One run directory, read-only. Seeds whose loss became non-finite are left out.

    Attributes:
      path, name: the directory and its last part.
      config, env, data, model, status: contents of its JSON files.
      seeds: seeds that stayed finite, [S]; `diverged` maps the others to their step.
      layer_names: names of the measured layers [L].
      complete: whether the run is finished and all its records are there.
    """

    def __init__(self, path: Path, partial: bool):
        self.path, self.name = path, path.name
        self.env, self.data, self.model, self.config = (
            read_json(path / name, TYPES.get(name)) for name in MANIFEST
        )
        self.status = read_json(path / "STATUS.json", TYPES["STATUS.json"])
        if not all(isinstance(seed, int) for seed in self.config["seeds"]):
            raise RunError(f"{path / 'config.json'}: seeds are no integers")
        if not all(isinstance(name, str) for name in self.model["layer_names"]):
            raise RunError(f"{path / 'model.json'}: layer_names are no names")
        if self.env["schema"] != SCHEMA:
            raise RunError(f"{path} has schema {self.env['schema']}; this reader knows {SCHEMA}")
        self.imported = self.config.get("imported", False)
        self.layer_names = self.model["layer_names"]
        self.diverged = self.status.get("diverged", {})
        every_seed = list(self.config["seeds"])
        self._kept = [i for i, seed in enumerate(every_seed) if str(seed) not in self.diverged]
        self.seeds = [every_seed[i] for i in self._kept]
        self._files = self._check_files(partial)
        if not self.seeds:
            raise RunError(f"{path}: every seed diverged, nothing is left to analyse")

    def _check_files(self, partial):
        files = record_steps(self.path / "records")
        if not files:
            raise RunError(f"{self.path} holds no records")
        finished = self.status["status"] in ("DONE", "DIVERGED")
        if not finished and not partial:
            raise RunError(
                f"{self.path} is {self.status['status']} at step {self.status['step']}: resume it, "
                "or analyse what is there with --partial"
            )
        kept, expected, problem = [], next(iter(files)) if self.imported else 0, ""
        for first, path in files.items():
            if first != expected:
                what = "a gap" if first > expected else "an overlap"
                problem = f"{path}: {what}, starts at step {first} instead of {expected}"
                break
            steps = _read_npz(path, ["step"])["step"]
            if int(steps[0]) != first:
                raise RunError(f"{path} is named wrongly: it starts at step {steps[0]}")
            expected = int(steps[-1]) + self.config.get("scalar_bin", 1)
            kept.append(path)
        if not problem and expected < self.status["step"]:
            problem = f"{path}: the records end at step {expected} of {self.status['step']}"
        if not kept:
            raise RunError(f"{problem}; nothing comes before")
        if problem and not partial:
            raise RunError(f"{problem}; --partial analyses what comes before")
        self.complete = finished and not problem
        return kept

    @cached_property
    def _names(self):
        return {name for path in self._files for name in _names_in(path)}

    def _load(self, name):
        if name not in self._names:
            group, _, short = name.rpartition("/")
            known = sorted(n.removeprefix(f"{group}/") for n in self._names if n.startswith(group))
            raise RunError(f"{self.path} has no {short!r}; recorded are {', '.join(known)}")
        found = {path: _read_npz(path, [name]).get(name) for path in self._files}
        parts = {path: part for path, part in found.items() if part is not None}
        if "/" not in name:
            return np.concatenate(list(parts.values()))
        seeds = len(self.config["seeds"])
        for path, part in parts.items():
            if len(part) != seeds:
                raise RunError(f"{path}: {name!r} is of {len(part)} seeds, the run of {seeds}")
        return np.concatenate(list(parts.values()), 1)[self._kept]

    def array(self, group: str, name: str) -> np.ndarray:
        """A recorded quantity over the whole run.

        Args:
          group: `scalar` (each step), `probe` (each measurement) or `eval` (whole test split).
          name: its name, e.g. `loss`.

        Returns:
          float64 array [S, T, ...], finite seeds only.

        Raises:
          RunError: it was not recorded; the message lists what was.
        """
        return self._load(f"{group}/{name}").astype(float)

    @property
    def extent(self) -> str:
        """Which steps were read, of how many."""
        step = self.steps("scalar")
        return f"steps {step[0]} to {step[-1]} of {self.config['steps']}"

    def has(self, group: str, name: str) -> bool:
        """Whether a quantity was recorded."""
        return f"{group}/{name}" in self._names

    def steps(self, group: str) -> np.ndarray:
        """The step axis of a group of arrays, [T]."""
        return self._load(STEP_AXES[group])

    @property
    def hidden(self) -> list[int]:
        """Indices of the layers that D averages over: all but the head."""
        return [i for i, name in enumerate(self.layer_names) if name != self.model["head"]]

    def dimension(self, metric: str | None = None) -> np.ndarray:
        """D(t), the mean of a metric over hidden layers.

        Args:
          metric: name of a recorded dimensionality; the run's own choice by default.

        Returns:
          [S, T].

        Raises:
          RunError: not recorded, or not a value a layer.
        """
        metric = metric or self.model["dimension"]
        layers_SxTxL = self.array("probe", metric)
        if layers_SxTxL.shape[2:] != (len(self.layer_names),):
            raise RunError(f"{self.path}: {metric!r} is no dimensionality of layers")
        return layers_SxTxL[:, :, self.hidden].mean(-1)

    def gradient_integral(self) -> np.ndarray:
        """The integral of |grad L| over steps, from the first measurement to each.

        Returns:
          [S, T], one value a measurement.
        """
        step, norm_SxT = self.steps("scalar"), self.array("scalar", "grad_norm")
        width = np.diff(step, append=2 * step[-1] - step[-2]) if len(step) > 1 else np.ones(1)
        edges = np.append(step, step[-1] + width[-1])
        at = self.steps("probe")
        sums = [np.concatenate([[0.0], np.cumsum(row * width)]) for row in norm_SxT]
        return np.stack([np.interp(at, edges, total) for total in sums])


def open_run(path, partial: bool = False) -> Run:
    """Open a run directory for analysis.

    Args:
      path: the run directory.
      partial: also take an unfinished run, and of a damaged one what precedes the damage.

    Returns:
      A Run.

    Raises:
      RunError: not a run, unfinished, or with gaps or overlaps.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise RunError(f"{path} is not a run directory (no config.json in it)")
    return Run(path.resolve(), partial)


def find_runs(paths) -> list[Path]:
    """Run directories among the given folders and directly below them, in order.

    Args:
      paths: folders.

    Returns:
      Run directories, each once.

    Raises:
      RunError: a folder holds none, or two runs have the same name, by which results are kept.
    """
    found = {}
    for path in map(Path, paths):
        inside = [path, *sorted(p for p in path.glob("*") if p.is_dir())]
        runs = [p for p in inside if (p / "config.json").is_file()]
        if not runs:
            raise RunError(f"{path} is not a run directory and holds none")
        found |= {run.resolve(): run for run in runs}
    names = [place.name for place in found]
    for place in found:
        if names.count(place.name) > 1:
            raise RunError(f"two runs are named {place.name!r}: rename a folder, or go one by one")
    return list(found.values())


class Fields(dict):
    """An object of a JSON file; asking for a field that it lacks raises a RunError."""

    def __init__(self, fields: dict, path: Path):
        super().__init__(fields)
        self._path = path

    def __missing__(self, name):
        raise RunError(f"{self._path} has no field {name!r}")


def read_json(path: Path, types: Mapping[str, type] | None = None) -> Fields:
    """The object in a JSON file.

    Args:
      path: of the file.
      types: fields that it has to have, and of which type.

    Raises:
      RunError: missing, damaged, or a field is.
    """
    try:
        found = json.loads(path.read_text(), object_hook=lambda fields: Fields(fields, path))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} holds no JSON object")
    for name, wanted in (types or {}).items():
        if not isinstance(found[name], wanted):
            raise RunError(f"{path}: {name} is {found[name]!r}, not {wanted.__name__}")
    return found


def read_record(path: Path, wanted=lambda name: True) -> dict[str, np.ndarray]:
    """Arrays of one record or snapshot file.

    Args:
      path: of the file.
      wanted: name -> whether to read it; all by default.

    Raises:
      RunError: missing or damaged.
    """
    return _read_npz(path, [name for name in _names_in(path) if wanted(name)])


def _read_npz(path, names):
    """Those of the named arrays that a file holds."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names if name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is damaged: {error}") from error


def _names_in(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is damaged: {error}") from error
