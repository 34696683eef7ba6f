"""Recorder of a training run, for use in any training loop; needs only NumPy.

    with Recorder("runs/mine", config={"lr": 0.1}) as record:
        for step in range(steps):
            if step % 5 == 0:
                record.probe(step, layers={"fc1": h1, "fc2": h2}, accuracy=accuracy)
            loss, grad_norm = train(batch)
            record(step, loss=loss, grad_norm=grad_norm)

The run directory has the format of tapjax's own runs (docs/run-directory.md), so that the analysis
commands, the report and the live page can read it. Records are written in chunks. A process that is
killed loses at most the last chunk.
"""

import atexit
import contextlib
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapjax.contract.files import RunError
from tapjax.contract.layout import STEP_AXES
from tapjax.contract.lease import InUseError, locked
from tapjax.live.arrays import as_array, held
from tapjax.live.dimensions import dimensions, matrix
from tapjax.live.folder import DIMENSION, HEAD, Description, Folder, as_settings
from tapjax.live.rows import LEAST_BAD, OfSeeds, bad_ends, by_seed, stacked
from tapjax.live.snapshots import snapshot_arrays

CHUNK = 1000  # largest number of recorded steps in memory
SECONDS = 60  # longest time that they stay there
UNCHANGED = 4  # probes without any change, after which a warning is given
FEW = 10  # probes without any scalar, after which a loop is taken for one that records none


class Recorder:
    """Recorder of one run; the docstring of the module shows how to use it.

    It is a context manager. Without `with`, call `close` at the end.
    """

    def __init__(
        self,
        path,
        seeds: int | Sequence[int] = 1,
        config=None,
        *,
        model: str = "own",
        data: str = "own",
        head: str = HEAD,
        channels: str | None = None,
        steps: int = 0,
        changing: Sequence[str] = (),
        chunk: int = CHUNK,
        quiet: bool = False,
    ):
        """Open a run directory, or reopen that of a run that was interrupted.

        A reopened run continues from the step of the first call. Records from that step on, which
        the interrupted process made after its last checkpoint, move to the folder `orphaned`.

        Args:
          path: run directory; it must be missing, empty, or hold an unfinished run.
          seeds: number of seeds that are trained together, or their numbers, such as [3]. If there
            is more than one, all recorded values have the leading axis [S].
          config: settings of the experiment, which are saved as JSON: a dict, a dataclass, or the
            result of argparse.
          model: name of the network, for tables and figures.
          data: name of the data set, for tables and figures.
          head: name of the layer with the outputs, which is left out of D. If no layer is named
            `head`, D is the mean over all layers.
          channels: position of the channels in activations of images: `last`, or `first` as in
            PyTorch. The adapters average over space by themselves.
          steps: planned number of steps; 0 if it is not known.
          changing: names of settings that may differ when the run is reopened, such as `resume`.
          chunk: largest number of recorded steps that are kept in memory, and lost by a kill.
          quiet: whether to print nothing at the end.

        Raises:
          RunError: another process writes in the directory, or it holds a finished run or one with
            other seeds or settings.
          ValueError: the seeds are not different integers, or the config is of another type.
        """
        if channels not in (None, "first", "last"):
            raise ValueError(f"channels={channels!r} is not 'first' or 'last'")
        count = isinstance(seeds, (int, np.integer))
        self.seeds = tuple(range(seeds)) if count else tuple(map(int, seeds))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={seeds!r}: give a number above 0, or different integers")
        settings = as_settings(config)
        about = Description(self.seeds, settings, model, data, head, tuple(changing))
        self._stack = contextlib.ExitStack()
        self._folder = _opened(Path(path).resolve(), about, self._stack)
        self._head, self._channels = head, channels
        self._steps, self._chunk, self._quiet = steps, chunk, quiet
        # Group -> [(step, name -> value)], in the order of the steps, not yet written.
        self._new: dict[str, list[tuple[int, dict]]] = {group: [] for group in STEP_AXES}
        self._shapes: dict[str, tuple] = {}
        self._rows: dict[str, int] = {}  # layer -> number of examples or tokens of its first probe
        self._told_rows = False
        self._unchanged = 0  # successive probes with exactly the values of the probe before
        self._measured: dict[str, np.ndarray] = {}  # values of the last probe
        self._firsts: dict[str, Any] = {}  # name -> its first array, then whether that was donated
        self._layers = self._folder.layers
        self._reopened = max(self._folder.last.values()) >= 0
        self._began = self._written = time.perf_counter()
        self._seconds = {"recording": 0.0, "measuring": 0.0}
        self._counts = dict.fromkeys(self._new, 0)
        self._bad = self._known_bad()
        self._unwritten = ""  # why the last attempt to write has failed
        self._process = os.getpid()
        atexit.register(self._end_of_process)

    def __enter__(self):
        """Return the recorder."""
        return self

    def __exit__(self, kind, error, trace):
        """Write the rest, and note how the run ended."""
        if error is None:
            self.close()
        elif issubclass(kind, KeyboardInterrupt):
            self._close("PREEMPTED", "Ctrl-C")
        else:
            self._close("FAILED", f"{kind.__name__}: {error}")

    def __call__(self, step: int, **scalars) -> None:
        """Record scalars of a training step.

        Values on a device are fetched when a chunk is written, so that the loop does not wait.

        Args:
          step: number of the step. Steps may have gaps but must not go back. A second call for the
            same step adds its scalars.
          **scalars: name -> number, or array [S] if there are several seeds. Further axes are
            allowed. Names like `train/loss` are passed as `**{"train/loss": loss}`. The analyses
            know `loss` and `grad_norm`, the norm of the gradient.

        Raises:
          ValueError: the step goes back, or a scalar has another shape than before.
        """
        with self._timed("recording"):
            self._add("scalar", step, _each(self._held, scalars))

    def probe(self, step: int, layers: Mapping | None = None, **measured) -> None:
        """Record measurements on a fixed batch of examples, the probe.

        Measure before the update of the step, on the same examples and layers every time.

        Args:
          step: number of the step that follows.
          layers: name -> activations: [N, D], tokens [N, Q, D], or images, which are averaged over
            space (see `channels`). Instead of activations, a dict of numbers that were measured
            elsewhere, such as {"participation_ratio": 3.2}, or this number alone. If there are
            several seeds, everything has the leading axis [S].
          **measured: further results on the probe, such as `accuracy` and `loss`.

        Raises:
          ValueError: the step goes back, the layers differ from those before, or a shape is wrong.
        """
        with self._timed("measuring"):
            found = self._measure({str(n): a for n, a in layers.items()}) if layers else {}
        with self._timed("recording"):
            self._add("probe", step, found | _each(_array, measured))

    def evaluate(self, step: int, **scores) -> None:
        """Record scores on a whole split, such as the test split.

        Args:
          step: number of training steps done.
          **scores: name -> number, or array [S] if there are several seeds; `accuracy` and `loss`
            are those of the test split.

        Raises:
          ValueError: the step goes back, or a score has another shape than before.
        """
        with self._timed("recording"):
            self._add("eval", step, _each(_array, scores))

    def snapshot(self, step: int, weights, activations=None, labels=None) -> None:
        """Write the contents of the network before the update of a step, for `mechanistic`.

        With snapshots that are evenly spaced in steps, 45 with one seed and 13 with eight, the
        command compares what changes around a jump, or another step of interest, with what changes
        at other times. Each is a file in the folder `snapshots`.

        Args:
          step: number of the step that follows.
          weights: nested dict of arrays, such as the parameters of Flax, or the result of
            `weights` of an adapter. Matrices named `kernel` are [inputs, units] and kernels of
            convolutions [h, w, inputs, channels].
          activations: name of a layer -> activations of the probe as in `probe`; None for none.
          labels: class of each example of the probe; needed with activations.

        Raises:
          ValueError: activations have a wrong shape or no labels, or weights are not arrays.
          OSError: the file cannot be written.
        """
        step = self._checked("snapshot", step)
        with self._timed("recording"):
            arrays = snapshot_arrays(self.seeds, weights, activations, labels, self._channels)
            self._folder.write_snapshot(step, arrays)

    def flush(self) -> None:
        """Write what was recorded since the last chunk.

        Raises:
          OSError: it cannot be written, for example because the disk is full. It stays in memory.
        """
        if self._new["scalar"] or self._folder.has_scalars:
            self._write(self._new)

    def _write(self, rows):
        """Write rows by group as one record file, and keep the others in memory."""
        arrays = {}
        for group, found in rows.items():
            if found:
                arrays[STEP_AXES[group]] = np.array([step for step, _ in found])
                arrays |= stacked(group, found, len(self.seeds))
        if arrays:
            self._bad = bad_ends(rows["scalar"], arrays, self._bad)
            self._folder.diverged = {
                str(seed): since for seed, (since, n) in self._bad.items() if n >= LEAST_BAD
            }
            self._folder.write(arrays, self._layers, self._steps)
        self._new = {group: new[len(rows[group]) :] for group, new in self._new.items()}
        self._written = time.perf_counter()

    def close(self) -> None:
        """Write the rest, mark the run as done, and print how long recording has taken.

        Raises:
          OSError: it cannot be written.
        """
        self._close("DONE", "")

    def _close(self, status, reason):
        if self._folder is None:
            return
        try:
            self._write(self._new)
            every = len(self._folder.diverged) == len(self.seeds)
            status = "DIVERGED" if every and status == "DONE" else status
            self._folder.finish(status, reason, self._steps)
        finally:
            path, self._folder = self._folder.path, None
            self._stack.close()
            atexit.unregister(self._end_of_process)
        if not self._quiet:
            print(f"recorded in {path}: {self._cost()}", file=sys.stderr)

    def _end_of_process(self):
        """Write what a loop without `with` or `close` has recorded."""
        if os.getpid() == self._process:
            self._close("PREEMPTED", "the process ended without Recorder.close()")

    def _cost(self):
        whole = max(time.perf_counter() - self._began, 1e-9)
        shares = [f"{n} {t:.2f} s ({t / whole:.1%})" for n, t in self._seconds.items()]
        counts = f"{self._counts['scalar']:,} steps and {self._counts['probe']:,} probes"
        return f"{counts}; of {whole:.1f} s, {' and '.join(shares)}"

    @contextlib.contextmanager
    def _timed(self, what):
        began = time.perf_counter()
        yield
        self._seconds[what] += time.perf_counter() - began

    def _held(self, name, value):
        """Return a scalar that can be fetched later.

        Its first array is copied. If the original was donated by the second call, all are.
        """
        if not hasattr(value, "is_deleted"):
            return held(value)
        first = self._firsts.setdefault(name, value)
        if first is value:
            return held(value)
        if not isinstance(first, bool):
            first = self._firsts[name] = first.is_deleted()
        return held(value, donated=first)

    def _add(self, group, step, values):
        """Add values of one step to a group, and write a chunk if one is due."""
        step = self._checked(group, step)
        if group == "eval" and not self._new[group] and step == self._folder.last["eval_step"]:
            return  # it was evaluated before the run was interrupted
        for name, value in values.items():
            shape = value.value.shape if isinstance(value, OfSeeds) else np.shape(value)
            self._check_shape(f"{group}/{name}", shape)
        rows = self._new[group]
        if rows and rows[-1][0] == step:
            rows[-1][1].update(values)
            return
        self._write_if_due()
        self._new[group].append((step, values))
        self._counts[group] += 1

    def _checked(self, group, step):
        """Return a step as an integer that does not come before the last one of its group."""
        if self._folder is None:
            raise RunError("the recorder is closed")
        if type(step) is not int or step < 0:
            number = as_array(step)
            if number.ndim or number != np.round(number) or number < 0:
                raise ValueError(f"step={step!r} is not an integer, 0 or above")
            step = int(number)
        if self._reopened:  # the loop repeats the steps after its last checkpoint
            last, self._reopened = self._folder.last["step"], False
            moved = self._folder.cut(step)
            self._bad = self._known_bad()
            if moved and not self._quiet:
                said = f"reopened at step {step}: the records of steps {step} to {last} moved to"
                print(f"{said} {self._folder.path / 'orphaned'}", file=sys.stderr)
        if group == "snapshot":
            return step
        rows = self._new[group]
        last = rows[-1][0] if rows else self._folder.last[STEP_AXES[group]]
        if step < last or (step == last and not rows and group != "eval"):
            raise ValueError(f"step {step} does not come after step {last}, which is recorded")
        return step

    def _known_bad(self):
        """Return seed -> (step from which it is not finite, or None; number of such steps)."""
        since = self._folder.diverged
        return {s: (since.get(str(s)), LEAST_BAD * (str(s) in since)) for s in self.seeds}

    def _check_shape(self, name, shape):
        before = self._shapes.get(name)
        if before is None:
            alone = math.prod(shape) == 1
            if len(self.seeds) > 1 and shape[:1] != (len(self.seeds),) and not alone:
                raise ValueError(
                    f"{name} has the shape {shape}: its first axis must be the "
                    f"{len(self.seeds)} seeds"
                )
            self._shapes[name] = shape
        elif shape != before and not math.prod(shape) == math.prod(before) == 1:
            raise ValueError(f"{name} has the shape {shape}, and had {before} before")

    def _write_if_due(self):
        """Write a chunk. If that fails, say so once, keep it, and try again after a while."""
        late = time.perf_counter() - self._written > SECONDS
        full = max(map(len, self._new.values())) > self._chunk and not self._unwritten
        if not (full or late):
            return
        # The last row of each group stays, because another call may add to its step.
        rows = {group: new[:-1] for group, new in self._new.items()}
        never = not self._folder.has_scalars and not self._new["scalar"]
        few = len(rows["probe"]) < FEW and self._folder.last["step"] < 0
        if not (rows["scalar"] or (never and rows["probe"] and not few)):
            return  # probes are written with the scalars of the same steps, if there are any
        try:
            self._write(rows)
            self._unwritten = ""
        except OSError as error:
            self._written = time.perf_counter()
            if not self._unwritten:
                said = f"warning: {error}: records stay in memory until they can be written"
                print(said, file=sys.stderr)
            self._unwritten = str(error)

    def _measure(self, layers):
        """Return the measured dimensionalities, each [S, L]."""
        names = list(layers)
        if self._layers is None:
            if self._head not in (HEAD, *names):
                raise ValueError(f"head={self._head!r} is none of the layers {', '.join(names)}")
            self._layers = names
        elif set(names) != set(self._layers):
            missing = [n for n in self._layers if n not in names]
            new = [n for n in names if n not in self._layers]
            what = f"{new[0]!r} is new" if new else f"{missing[0]!r} is missing"
            raise ValueError(f"layers: {what}; the same layers must be measured every time")
        names = self._layers
        each_L = [self._of_layer(name, layers[name]) for name in names]
        lacking = [
            n for n, found in zip(names, each_L, strict=True) if set(found) != set(each_L[0])
        ]
        if lacking:
            raise ValueError(f"layers[{lacking[0]!r}] has other measurements than the first layer")
        found = {name: np.stack([f[name] for f in each_L], -1) for name in each_L[0]}
        self._compare_values(found)
        return {name: OfSeeds(values) for name, values in found.items()}

    def _of_layer(self, name, given):
        """Return the dimensionalities of one layer by name, each [S]."""
        if isinstance(given, Mapping):
            return {key: by_seed(value, len(self.seeds)) for key, value in given.items()}
        value = as_array(given)
        if value.ndim <= 1 and value.size == len(self.seeds):
            return {DIMENSION: by_seed(value, len(self.seeds))}
        if len(self.seeds) > 1:
            self._check_shape(f"layers[{name!r}]", value.shape)
        try:
            matrices = [
                matrix(a, self._channels) for a in (value if len(self.seeds) > 1 else value[None])
            ]
        except ValueError as error:
            raise ValueError(f"layers[{name!r}]: {error}") from error
        self._compare_examples(name, len(matrices[0]))
        found_S = [dimensions(a_NxD) for a_NxD in matrices]
        return {key: np.array([found[key] for found in found_S]) for key in found_S[0]}

    def _compare_values(self, found):
        """Warn if no layer has changed at all for several probes."""
        same = self._measured.keys() == found.keys() and all(
            np.array_equal(self._measured[name], values) for name, values in found.items()
        )
        self._unchanged, self._measured = self._unchanged + 1 if same else 0, found
        if self._unchanged == UNCHANGED:
            print(
                f"warning: {UNCHANGED + 1} probes have exactly the same values: does the measured "
                "network hold the parameters that are trained?",
                file=sys.stderr,
            )

    def _compare_examples(self, name, rows):
        """Warn once if a layer is measured on another number of examples than before."""
        before = self._rows.setdefault(name, rows)
        if rows != before and not self._told_rows:
            self._told_rows = True
            print(
                f"warning: layers[{name!r}] has {rows} rows, and had {before} before: D depends on "
                "their number, so measure the same examples every time",
                file=sys.stderr,
            )


def _each(convert, values):
    """Convert values by name; an error names the value."""
    found = {}
    for name, value in values.items():
        try:
            found[name] = convert(name, value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return found


def _array(name, value):
    return as_array(value)


def _opened(path, about, stack):
    """Lock a run directory until the stack is closed, and return it as a Folder."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lease = stack.enter_context(locked(path))
    except InUseError as error:
        raise RunError(
            f"{error}; in distributed training, record in the first process only"
        ) from error
    except OSError as error:
        raise RunError(f"cannot write in {path}: {error.strerror}") from error
    try:
        return Folder(path, lease, about)
    except BaseException:
        stack.close()
        raise
