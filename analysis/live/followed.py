"""A run that is followed while it trains: thinned curves, forecasts, warnings and jumps."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.runs.reader import read_manifest
from tapjax.contract.files import RunError, read_json, read_npz
from tapjax.contract.layout import record_steps
from tapjax.live.monitor import Monitor, Prediction, Warned

MOST_POINTS = 2000  # of a curve; half of the points are dropped when it has more
MOST_MEASUREMENTS = 4000  # beyond these, monitors receive every 2nd, then every 4th, ... one


class Spacing:
    """Choice of points of a growing series: every point at first, then every 2nd, 4th, ... point.

    Attributes:
      every: distance between two chosen points.
    """

    def __init__(self, most: int):
        """Start with every point; the distance doubles when more than `most` points are chosen."""
        self.every, self._most, self._count = 1, most, 0

    def chosen(self, count: int) -> list[int]:
        """Return the indices that are chosen among the next `count` points."""
        kept = [i for i in range(count) if (self._count + i) % self.every == 0]
        self._count += count
        while -(-self._count // self.every) > self._most:
            self.every *= 2
        return kept


class Thinned:
    """A growing series of bounded length: of long series, every 2nd, 4th, ... point is kept."""

    def __init__(self, most: int):
        """Make an empty series of at most `most` points."""
        self._spacing = Spacing(most)
        self._steps, self._values = [], []

    @property
    def every(self) -> int:
        """Distance between two points that are kept."""
        return self._spacing.every

    def add(self, step_T, values_SxT) -> None:
        """Append points.

        Args:
          step_T: steps of the new points [T].
          values_SxT: values of every seed [S, T].
        """
        before = self.every
        kept = self._spacing.chosen(len(step_T))
        self._steps += [int(step_T[i]) for i in kept]
        self._values += [np.array(values_SxT[:, i], float) for i in kept]
        fewer = self.every // before
        self._steps, self._values = self._steps[::fewer], self._values[::fewer]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps [T] and the values [S, T]."""
        values_TxS = np.array(self._values) if self._values else np.empty((0, 0))
        return np.array(self._steps, int), values_TxS.T


class Progress(NamedTuple):
    """State of a followed run, as its files say: status, last step, planned steps."""

    status: str
    step: int
    steps: int


class Followed:
    """Curves and monitors of one run directory, which are updated from the records it gains.

    Attributes:
      path, name: path of the run directory, and its last component.
      curves: `D`, `loss` and `accuracy` -> Thinned.
      monitors: seed -> Monitor.
      forecasts: seed -> list of Prediction from the last measurement.
      problem: why the run cannot be read further; empty if it can.
    """

    def __init__(self, path: Path):
        """Open a run directory; see `catch_up` for its records."""
        self.path, self.name = Path(path), Path(path).resolve().name
        self._config_file = self._identity()
        *_, self.model, self._config, _ = read_manifest(self.path)
        self.curves = {name: Thinned(MOST_POINTS) for name in ("D", "loss", "accuracy")}
        self.monitors = {seed: Monitor() for seed in self._config["seeds"]}
        self.forecasts: dict[int, list[Prediction]] = {}
        self.problem = ""
        self._for_monitors = Spacing(MOST_MEASUREMENTS)
        self._read: set[str] = set()

    @property
    def _hidden(self):
        names, head = self.model["layer_names"], self.model["head"]
        return [i for i, name in enumerate(names) if name != head]

    @property
    def replaced(self) -> bool:
        """Whether the run was removed, or another one was started in its folder."""
        return self._identity() != self._config_file

    def _identity(self):
        """Return what tells config.json from that of another run; None if there is no run."""
        if not (self.path / "STATUS.json").is_file():
            return None
        with contextlib.suppress(FileNotFoundError):
            found = (self.path / "config.json").stat()
            return found.st_ino, found.st_mtime_ns
        return None

    @property
    def progress(self) -> Progress:
        """Return the status of the run, read anew."""
        status, config = (read_json(self.path / f) for f in ("STATUS.json", "config.json"))
        return Progress(status["status"], int(status["step"]), int(config["steps"]))

    @property
    def warnings(self) -> list[tuple[int, Warned]]:
        """Return pairs (seed, warning) in order of steps."""
        found = [(seed, w) for seed, monitor in self.monitors.items() for w in monitor.warnings]
        return sorted(found, key=lambda pair: pair[1].step)

    @property
    def jumps(self) -> list[tuple[int, int]]:
        """Return pairs (step, seed) of the jumps of D."""
        return sorted((j.step, seed) for seed, m in self.monitors.items() for j in m.jumps)

    def catch_up(self) -> bool:
        """Read the record files that were not read before.

        Returns:
          Whether there were any. A file that cannot be read ends the following, with the reason in
          `problem`.
        """
        new = [p for p in record_steps(self.path / "records").values() if p.name not in self._read]
        for path in [] if self.problem else new:
            if not path.exists():  # moved away by a run that resumes: the next look finds others
                break
            try:
                if not self.model["layer_names"]:  # a Recorder learns them from its first probe
                    self.model = read_json(self.path / "model.json")
                self._add(read_npz(path, self._wanted))
            except (RunError, KeyError, ValueError, IndexError) as error:
                self.problem = f"{path.name}: {error}"
                break
            self._read.add(path.name)
        return bool(new)

    def _wanted(self, name):
        metric = f"probe/{self.model['dimension']}"
        known = ("step", "probe_step", "eval_step", "scalar/loss", "scalar/grad_norm", metric)
        return name in known or name.endswith("/accuracy")

    def _add(self, record):
        steps, recorded = record["step"], self._config.get("recorded", False)
        missing_SxT = np.full((len(self._config["seeds"]), len(steps)), np.nan)
        loss_SxT = record.get("scalar/loss", missing_SxT) if recorded else record["scalar/loss"]
        known_T = np.isfinite(loss_SxT).any(0) if recorded else np.ones(len(steps), bool)
        self.curves["loss"].add(steps[known_T], loss_SxT[:, known_T])
        at, metric = record.get("probe_step", np.array([])), f"probe/{self.model['dimension']}"
        group = "probe" if "probe/accuracy" in record else "eval"
        if f"{group}/accuracy" in record:
            self.curves["accuracy"].add(record[f"{group}_step"], record[f"{group}/accuracy"])
        if metric not in record:
            return
        d_SxT = record[metric][:, :, self._hidden].astype(float).mean(2)
        self.curves["D"].add(at, d_SxT)
        losses = loss_SxT if np.isfinite(loss_SxT).any() or not recorded else None
        norms = record.get("scalar/grad_norm") if recorded else record["scalar/grad_norm"]
        for j in self._for_monitors.chosen(len(at)):
            for i, (seed, monitor) in enumerate(self.monitors.items()):
                if len(monitor.step) and at[j] <= monitor.step[-1]:
                    continue  # the end of a run that was extended is measured twice
                loss, norm = (
                    None if s is None else value_at(at[j], steps, s[i], gaps=recorded)
                    for s in (losses, norms)
                )
                report = monitor.update(int(at[j]), loss, norm, d_SxT[i, j])
                self.forecasts[seed] = list(report.predictions.values())


def value_at(step: int, steps_T, values_T, gaps: bool) -> float:
    """Return a series at a step. If it may have gaps, only its finite values count."""
    known_T = np.isfinite(values_T) if gaps else np.ones(len(values_T), bool)
    return np.interp(step, steps_T[known_T], values_T[known_T]) if known_T.any() else np.nan
