"""Reader of run directories: `open_run(folder)` checks the records and loads arrays on demand.

The reader uses only NumPy and JSON. It never imports or unpickles anything that a run directory
names.
"""

import math
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from analysis.runs import measures, tables
from analysis.runs.finding import find_runs
from tapjax.contract.files import RunError, names_and_arrays, read_json, read_npz
from tapjax.contract.layout import MANIFEST, SCHEMA, STEP_AXES, measure_names, record_steps
from tapjax.contract.text import shortened

# Fields that the files of every run must have, with their types.
TYPES = {
    "config.json": {"seeds": list, "steps": int},
    "env.json": {"schema": int},
    "model.json": {"architecture": str, "data": str, "layer_names": list, "dimension": str},
    "STATUS.json": {"status": str, "step": int},
}
# Fields that they may have in addition.
OPTIONAL = {
    "config.json": {
        "family": str,
        "imported": bool,
        "recorded": bool,
        "model": dict,
        "checkpoint": dict,
    },
    "model.json": {
        "structure": dict,
        "weight_names": list,
        "unit_layers": list,
        "skill_names": list,
    },
    "STATUS.json": {"diverged": dict},
}
FINITE = ("scalar/loss", "scalar/grad_norm")  # must be finite for every seed that did not diverge


class DivergedError(RunError):
    """Raised for a run in which every seed diverged."""


class EmptyRunError(RunError):
    """Raised for a run that has no record yet."""


class Run:
    """A run directory, opened read-only. Seeds whose loss became non-finite are left out.

    Attributes:
      path, name: path of the directory and its last component.
      config, env, data, model, status: contents of the JSON files of the run.
      seeds: seeds that stayed finite, [S]. `diverged` maps each other seed to the step at which it
        diverged.
      layer_names: names of the measured layers, [L].
      complete: whether the run is finished and all its records are present.
      recorded: whether another loop wrote the run by a `Recorder`. Its steps may be irregular.
    """

    def __init__(self, path: Path, partial: bool):
        self.path, self.name = path, path.name
        self.env, self.data, self.model, self.config, self.status = read_manifest(path)
        self.recorded = self.config.get("recorded", False)
        self.imported = self.config.get("imported", False)
        self.layer_names = self.model["layer_names"]
        self.diverged = self.status.get("diverged", {})
        every_seed = list(self.config["seeds"])
        self._kept = [i for i, seed in enumerate(every_seed) if str(seed) not in self.diverged]
        self.seeds = [every_seed[i] for i in self._kept]
        self._held = {}  # record file -> names of its arrays
        self._axes = {}  # (record file, name of a step axis) -> steps along that axis
        self._files = self._check_files(partial)
        if not self.seeds:
            raise DivergedError(f"{path}: every seed diverged, nothing is left to analyse")

    def _check_files(self, partial):
        files = record_steps(self.path / "records")
        if not files:
            more = ""
            if record_steps(self.path / "snapshots"):
                more = ", only snapshots: record at least D, with Recorder.probe"
            raise EmptyRunError(f"{self.path} holds no records{more}")
        finished = self.status["status"] in ("DONE", "DIVERGED")
        if not finished and not partial:
            raise RunError(
                f"{self.path} is {self.status['status']} at step {self.status['step']}: resume it, "
                "or analyse what is there with --partial"
            )
        width = self.config.get("scalar_bin", 1)
        regular = not (self.imported or self.recorded)
        kept, expected, problem = [], 0 if regular else next(iter(files)), ""
        last = -1  # step of the record before, if its loop may leave out steps
        for first, path in files.items():
            self._held[path], found = names_and_arrays(path, ("step", "previous").__contains__)
            steps = self._axes[path, "step"] = _checked(path, "step", found)
            if self.recorded:
                if _previous(path, found) != last:
                    problem = f"{path}: the record before it, after step {last}, is missing"
                    break
                expected = max(first, last + 1)
            if first != expected:
                what = "a gap" if first > expected else "an overlap"
                problem = f"{path}: {what}, starts at step {first} instead of {expected}"
                break
            if steps[0] != first:
                raise RunError(f"{path} is named wrongly: it starts at step {steps[0]}")
            if regular and (np.diff(steps) != width).any():
                raise RunError(f"{path}: its steps are not {width} apart")
            last = int(steps[-1])
            expected = last + width
            kept.append(path)
        if not problem and expected < self.status["step"]:
            problem = f"{path}: the records end at step {expected} of {self.status['step']}"
        if not kept:
            raise RunError(f"{problem}; no record precedes it")
        if problem and not partial:
            raise RunError(f"{problem}; --partial analyses the steps before it")
        self.complete = finished and not problem
        return kept

    @cached_property
    def _names(self):
        return set().union(*(self._held[path] for path in self._files))

    def _axis(self, path, name):
        """Return a step axis of one record file, [T]."""
        if (path, name) not in self._axes:
            self._axes[path, name] = _checked(path, name, read_npz(path, name.__eq__))
        return self._axes[path, name]

    def _parts(self, name, backwards=False) -> Iterator[np.ndarray]:
        """Yield a quantity file by file, each part [S, T, ...] for the finite seeds."""
        group, _, short = name.partition("/")  # the name of the metric may itself contain slashes
        if name not in self._names:
            known = f"recorded are {', '.join(self.names(group))}" if self.names(group) else ""
            known = known or f"nothing is recorded in the group {group!r}"
            raise RunError(f"{self.path} has no {short!r}; {known}")
        seeds, axis = len(self.config["seeds"]), STEP_AXES[group]
        for path in reversed(self._files) if backwards else self._files:
            if not self._holds(path, group):
                continue
            if name not in self._held[path]:
                if not self.recorded:
                    raise RunError(f"{path} lacks {name!r}, which other records hold")
                # Another loop may record a quantity at some steps.
                shape = (len(self._kept), len(self._axis(path, axis)), *self.further(name))
                yield np.full(shape, np.nan)
                continue
            found = read_npz(path, {name, axis}.__contains__)
            self._axes.setdefault((path, axis), _checked(path, axis, found))
            part, steps = found[name], len(self._axis(path, axis))
            if part.dtype.kind not in "biuf" or part.ndim < 2 or part.shape[1] != steps:
                what = f"{part.dtype} of shape {part.shape}"
                raise RunError(f"{path}: {name!r} is {what}, not numbers [S, {steps}, ...]")
            if len(part) != seeds:
                raise RunError(f"{path}: {name!r} has {len(part)} seeds, but the run has {seeds}")
            part = part[self._kept].astype(float)
            if name in FINITE and not self.recorded and not np.isfinite(part).all():
                raise RunError(
                    f"{path}: {name!r} is not finite, but STATUS.json reports no divergence"
                )
            yield part

    def _holds(self, path, group):
        """Return whether a record file holds the steps of a group.

        Where another loop has recorded no scalars, the axis `step` holds the steps of its probes.
        """
        start = f"{group}/"
        invented = self.recorded and any(name.startswith(start) for name in self._names)
        held = self._held[path]
        return STEP_AXES[group] in held and (
            not invented or any(name.startswith(start) for name in held)
        )

    def further(self, name: str) -> tuple[int, ...]:
        """Return the sizes of a quantity `group/name` after the axes of seeds and steps."""
        path = next(path for path in self._files if name in self._held[path])
        return read_npz(path, name.__eq__)[name].shape[2:]

    def _whole(self, name, parts):
        """Join parts along the steps, and fill single gaps of the loss and the gradient."""
        whole = _joined(self.path, name, parts, 1)
        return _filled(whole) if self.recorded and name in FINITE else whole

    def array(self, group: str, name: str) -> np.ndarray:
        """Load a recorded quantity over the whole run.

        Args:
          group: `scalar` (one value per step), `probe` (one value per measurement on the probe
            examples), `eval` (one value per evaluation on the whole test split), or the name of a
            measure that `tapjax measure` has made, such as `curvature`.
          name: name of the quantity within the group, e.g. `loss`.

        Returns:
          float64 array [S, T, ...] with the finite seeds only. In a run of a `Recorder`, it is
          not-a-number where nothing was recorded; `loss` and `grad_norm`, which may be missing or
          infinite at some steps, keep their last finite value there.

        Raises:
          RunError: the quantity was not recorded; the message lists the recorded ones.
        """
        if group not in STEP_AXES:
            return measures.read(self.path, group, name)[1][self._kept]
        return self._whole(f"{group}/{name}", self._parts(f"{group}/{name}"))

    def tail(self, group: str, name: str, length: int) -> np.ndarray:
        """Load the last values of a recorded quantity, equal to `array(group, name)[:, -length:]`.

        Only the record files that contain these values are read.

        Args:
          group: group of the quantity; see `array`.
          name: name of the quantity within the group.
          length: number of values along the step axis; fewer are returned if fewer were recorded.

        Returns:
          float64 array [S, length, ...] with the finite seeds only.

        Raises:
          RunError: the quantity was not recorded; the message lists the recorded ones.
        """
        parts, found = [], 0
        for part in self._parts(f"{group}/{name}", backwards=True):
            parts, found = [part, *parts], found + part.shape[1]
            if found >= length:
                break
        return self._whole(f"{group}/{name}", parts)[:, -length:]

    @property
    def measured(self) -> list[str]:
        """Return the names of the measures that were made afterwards."""
        return measure_names(self.path)

    @property
    def extent(self) -> str:
        """Describe which steps were read, and the planned number of steps."""
        step = self.steps("scalar")
        return f"steps {step[0]} to {step[-1]} of {self.config['steps']}"

    def structure(self, sizes: Sequence[str]) -> dict:
        """Return the features of the architecture that model.json describes.

        Args:
          sizes: names of features that must be present as finite numbers.

        Returns:
          Features by name, including `family`.

        Raises:
          RunError: one of `sizes` or the family is missing.
        """
        found = self.model.get("structure", {})
        for name in sizes:
            value = found.get(name)
            if type(value) not in (int, float) or not math.isfinite(value):
                other = ", which no run of another loop has" if self.recorded else ""
                raise RunError(
                    f"{self.path}: model.json does not hold the structure's {name!r}{other}"
                )
        if not isinstance(found.get("family"), str):
            raise RunError(f"{self.path}: model.json does not hold the structure's 'family'")
        return dict(found)

    def has(self, group: str, name: str) -> bool:
        """Return whether a quantity was recorded or measured afterwards."""
        if group not in STEP_AXES:
            return name in measures.quantities(self.path, group)
        return f"{group}/{name}" in self._names

    def names(self, group: str) -> list[str]:
        """Return the sorted names of the quantities of a group."""
        if group not in STEP_AXES:
            return measures.quantities(self.path, group)
        start = f"{group}/"
        return sorted(name.removeprefix(start) for name in self._names if name.startswith(start))

    def steps(self, group: str) -> np.ndarray:
        """Return the training steps at which a group of arrays was recorded or measured, [T]."""
        if group not in STEP_AXES:
            names = measures.quantities(self.path, group)
            return measures.read(self.path, group, names[0] if names else "")[0]
        axis = STEP_AXES[group]
        found = [self._axis(path, axis) for path in self._files if self._holds(path, group)]
        if not found:
            raise RunError(f"{self.path} has no {group} arrays")
        steps = np.concatenate(found)
        if (np.diff(steps) <= 0).any():
            raise RunError(f"{self.path}: {axis} does not increase from record to record")
        return steps

    @property
    def hidden(self) -> list[int]:
        """Return the indices of the layers that D averages over: all layers except the head."""
        return [i for i, name in enumerate(self.layer_names) if name != self.model["head"]]

    def dimension(self, metric: str | None = None, gaps: bool = False) -> np.ndarray:
        """Return D(t), the mean of a dimensionality metric over the hidden layers.

        Args:
          metric: name of a recorded metric; None uses the metric that model.json names.
          gaps: whether the caller accepts some values that are not finite. Each seed still needs at
            least one finite value.

        Returns:
          D at each measurement, [S, T].

        Raises:
          RunError: the metric was not recorded, does not have one value per layer, is negative or
            is not finite.
        """
        metric = metric or self.model["dimension"]
        d_SxT = self._hidden_mean(metric)
        finite = np.isfinite(d_SxT)
        if not (finite.any(1) if gaps else finite).all():
            raise RunError(f"{self.path}: {metric!r} of hidden layers is not finite")
        return d_SxT

    def known_dimension(self) -> np.ndarray | None:
        """Return D(t) with gaps, or None if it was not measured or a seed has no finite value.

        Raises:
          RunError: a record is damaged, D is not one value per layer or is negative, or model.json
            names a dimensionality that the records lack although they hold another one.
        """
        metric = self.model["dimension"]
        if not self.has("probe", metric):
            if self.has("probe", "participation_ratio"):
                raise RunError(
                    f"{self.path / 'model.json'}: dimension={metric!r} was not recorded, unlike "
                    "'participation_ratio'"
                )
            return None
        d_SxT = self._hidden_mean(metric)
        return d_SxT if np.isfinite(d_SxT).any(1).all() else None

    def _hidden_mean(self, metric):
        """Return the mean of a metric over the hidden layers at each measurement, [S, T]."""
        parts = []
        for layers_SxTxL in self._parts(f"probe/{metric}"):
            if layers_SxTxL.shape[2:] != (len(self.layer_names),):
                raise RunError(f"{self.path}: {metric!r} is not one value per layer")
            parts.append(layers_SxTxL[:, :, self.hidden].mean(-1))
        d_SxT = _joined(self.path, metric, parts, 1)
        if (d_SxT < 0).any():
            raise RunError(f"{self.path}: {metric!r} of hidden layers is negative")
        return d_SxT

    def gradient_integral(self) -> np.ndarray:
        """Return the integral of the gradient norm |grad L| over steps, up to each measurement.

        Returns:
          One value per measurement, [S, T]. The integral starts at the first recorded step.
        """
        step, norm_SxT = self.steps("scalar"), self.array("scalar", "grad_norm")
        width = np.diff(step, append=2 * step[-1] - step[-2]) if len(step) > 1 else np.ones(1)
        edges = np.append(step, step[-1] + width[-1])
        at = self.steps("probe")
        sums = [np.concatenate([[0.0], np.cumsum(row * width)]) for row in norm_SxT]
        return np.stack([np.interp(at, edges, total) for total in sums])

    def __repr__(self):
        """Describe the run in some lines of text."""
        return tables.text(self)

    def _repr_html_(self):
        """Describe the run as a table, in notebooks."""
        return tables.html(self)

    def to_pandas(self, group: str = "probe"):
        """Return a group as a DataFrame; see `tables.to_pandas`."""
        return tables.to_pandas(self, group)

    def to_xarray(self):
        """Return the run as an xarray.DataTree; see `tables.to_xarray`."""
        return tables.to_xarray(self)

    def plot(self, quantities=("D", "loss", "accuracy")):
        """Draw quantities over training; see `tables.plot`."""
        return tables.plot(self, quantities)


def open_run(path, partial: bool = False) -> Run:
    """Open a run directory for analysis.

    Args:
      path: run directory.
      partial: whether to accept an unfinished run, and the records before the damage of a damaged
        run.

    Returns:
      The opened Run.

    Raises:
      RunError: the folder is not a run, or the run is unfinished or has gaps or overlaps in its
        records.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise RunError(f"{path} is not a run directory (no config.json in it)")
    if os.fsencode(path.resolve().name).decode(errors="replace") != path.resolve().name:
        raise RunError(f"{ascii(str(path))}: the name is not UTF-8: rename the folder")
    return Run(path.resolve(), partial)


def open_runs(paths, partial: bool = False) -> tuple[list[Run], list[str]]:
    """Open all runs among the given folders, except diverged ones and those without any record.

    Args:
      paths: run directories, or folders that contain them.
      partial: see `open_run`.

    Returns:
      (open runs, one line for each run left out).

    Raises:
      RunError: a run cannot be opened for another reason, or no run is left.
    """
    runs, left_out = [], []
    for path in find_runs(paths):
        try:
            runs.append(open_run(path, partial))
        except (DivergedError, EmptyRunError) as error:
            left_out.append(str(error))
    if not runs:
        raise RunError(shortened(left_out))
    return runs, left_out


def read_manifest(path: Path) -> list:
    """Read and check env.json, data.json, model.json, config.json and STATUS.json of a run.

    Args:
      path: run directory.

    Returns:
      Contents of the five files, in this order.

    Raises:
      RunError: a file is missing or damaged, or the run has another schema.
    """
    names = (*MANIFEST, "STATUS.json")
    found = dict(zip(names, (read_json(path / n, TYPES.get(n)) for n in names), strict=True))
    schema, seeds = found["env.json"]["schema"], found["config.json"]["seeds"]
    model = found["model.json"]
    layers = model["layer_names"]
    if schema != SCHEMA:
        raise RunError(f"{path} has schema {schema}; this reader knows {SCHEMA}")
    if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise RunError(f"{path / 'config.json'}: seeds={seeds} are not integers, 0 or above")
    if len(set(seeds)) < len(seeds):
        raise RunError(f"{path / 'config.json'}: seeds={seeds} names a seed twice")
    empty = not layers and not found["config.json"].get("recorded")
    if empty or any(type(name) is not str or not name for name in layers):
        raise RunError(f"{path / 'model.json'}: layer_names={layers} are not names")
    if len(set(layers)) < len(layers):
        raise RunError(f"{path / 'model.json'}: layer_names={layers} names a layer twice")
    if model["head"] not in (None, *layers):
        raise RunError(f"{path / 'model.json'}: head={model['head']!r} is none of the layers")
    width = found["config.json"].get("scalar_bin", 1)
    if type(width) is not int or width < 1:
        raise RunError(f"{path / 'config.json'}: scalar_bin={width!r} is not an integer above 0")
    for file, fields in OPTIONAL.items():
        for name, wanted in fields.items():
            if not isinstance(found[file].get(name, wanted()), wanted):
                raise RunError(f"{path / file}: {name} is not of type {wanted.__name__}")
    return list(found.values())


def _checked(path, name, arrays):
    """Check a step axis of one record file and return it, [T]."""
    steps = arrays.get(name)
    if steps is None:
        raise RunError(f"{path} has no {name!r}")
    if steps.ndim != 1 or not len(steps) or steps.dtype.kind not in "iu":
        raise RunError(f"{path}: {name!r} is {steps.dtype} of shape {steps.shape}, not steps [T]")
    return steps.astype(np.int64)


def _previous(path, arrays):
    """Return the last step of the record before this one, as its loop has noted it."""
    found = arrays.get("previous")
    if found is None or found.shape != () or found.dtype.kind not in "iu":
        raise RunError(f"{path} has no 'previous', the last step of the record before")
    return int(found)


def _joined(path, name, parts, axis):
    try:
        return np.concatenate(list(parts), axis)
    except ValueError as error:
        raise RunError(f"{path}: {name!r} differs in shape between records: {error}") from error


def _filled(values_SxT):
    """Replace values that are not finite by the last finite one before, or the first after."""
    finite = np.isfinite(values_SxT)
    if finite.all() or not finite.any(1).all():
        return values_SxT
    at = np.where(finite, np.arange(values_SxT.shape[1]), -1)
    at = np.maximum.accumulate(at, 1)
    at = np.where(at < 0, finite.argmax(1)[:, None], at)
    return np.take_along_axis(values_SxT, at, 1)
