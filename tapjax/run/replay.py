"""Replay of a run: the exact state of any step, computed from the nearest checkpoint before it.

The same compiled programs run over the same data. With the same number of seeds, jaxlib and kind of
device the state is therefore bit for bit the one that training had. The scalars of the replay are
compared with those that the run recorded, so that a difference is noticed.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config import schema
from tapjax.contract.layout import record_steps
from tapjax.measure.singular_values import one_lapack_thread
from tapjax.run.assembly import Assembly, assemble
from tapjax.store import checkpoint, rundir
from tapjax.store.environment import pinned_settings
from tapjax.store.rundir import CheckpointError, RunDirError, read_arrays
from tapjax.types import Tree


class Timeline(NamedTuple):
    """A run whose states can be recomputed: how to train it, and its checkpoints."""

    assembly: Assembly
    managers: tuple  # checkpoint managers; that of the pins, if any, is the last


class Drift:
    """The largest relative difference between replayed and recorded scalars, by name.

    Unless drift is allowed, the first difference stops the replay with a RunDirError.
    """

    def __init__(self, records: Path, scalar_bin: int, allowed: bool = False):
        self._files = record_steps(records)
        self._bin, self.allowed = scalar_bin, allowed
        self._open: tuple[int, dict] = (-1, {})
        self.worst: dict[str, float] = {}
        self.compared = 0

    def compare(self, first: int, scalars: dict) -> None:
        """Compare the scalars of some replayed steps with the record.

        Args:
          first: first of the replayed steps.
          scalars: name -> values [S, T], as the programs return them.

        Raises:
          RunDirError: the scalars differ, and drift is not allowed.
        """
        length = self._bin * next(iter(scalars.values())).shape[1]
        for start in [s for s in self._files if s < first + length]:
            recorded = self._read(start, [f"scalar/{name}" for name in scalars])
            low = max(first, int(recorded["step"][0]))
            high = min(first + length, int(recorded["step"][-1]) + self._bin)
            if low < high:
                self._compare(recorded, scalars, first, low, high)

    def describe(self) -> str:
        """Describe in one line what was compared and how well it agreed."""
        if not self.compared:
            return "no replayed step to compare with the record"
        differing = {name: worst for name, worst in self.worst.items() if worst}
        if not differing:
            return f"scalars equal to the record bit for bit over {self.compared} steps"
        shown = ", ".join(f"{name} by {worst:.2g}" for name, worst in differing.items())
        return f"relative drift from the record over {self.compared} steps: {shown}"

    def _compare(self, recorded, scalars, first, low, high):
        here = slice((low - first) // self._bin, (high - first) // self._bin)
        offset = int(recorded["step"][0])
        there = slice((low - offset) // self._bin, (high - offset) // self._bin)
        for name, values in scalars.items():
            a = np.asarray(values, np.float64)[:, here]
            b = recorded[f"scalar/{name}"][:, there].astype(np.float64)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            with np.errstate(invalid="ignore", over="ignore"):
                apart = np.abs(a - b) / np.maximum(np.abs(b), np.finfo(np.float32).tiny)
            worst = float(np.where(same, 0.0, np.nan_to_num(apart, nan=np.inf)).max())
            if worst and not self.allowed:
                raise RunDirError(
                    f"steps {low} to {high}, trained again, differ from the record by "
                    f"{worst:.2g} of {name}: another processor, library or version of tapjax? "
                    "Pass --allow_numeric_drift to continue"
                )
            self.worst[name] = max(self.worst.get(name, 0.0), worst)
        self.compared += high - low

    def _read(self, start, names):
        if self._open[0] != start:
            self._open = (start, read_arrays(self._files[start], ["step", *names]))
        return self._open[1]


@contextlib.contextmanager
def open_timeline(
    path: Path, allow_numeric_drift: bool = False, pinning: bool = False
) -> Iterator[Timeline]:
    """Open the Timeline of a run directory.

    Args:
      path: run directory.
      allow_numeric_drift: whether to open a run if the bits of a replay may differ; see
        identity.py.
      pinning: whether to open the last manager, that of the pins, for writing. All other managers
        are only read.

    Yields:
      The Timeline.

    Raises:
      RunDirError: the directory does not hold a run of this package, the data differ, or the bits
        may differ.
      ConfigError, DataError: the config of the run cannot be put together on this machine.
    """
    path = Path(path).resolve()
    written = rundir.read_manifest(path)
    if {"imported", "recorded"} & set(written["config.json"]):
        raise RunDirError(f"{path} was trained by another loop: it cannot be replayed")
    with contextlib.ExitStack() as stack:
        stack.enter_context(pinned_settings())
        assembly = assemble(schema.from_json(written["config.json"]))
        rundir.check_same(path, written, assembly.contents, allow_numeric_drift)
        stack.enter_context(one_lapack_thread())
        folders = {"ckpt": True, "pins": not pinning}
        managers = [
            checkpoint.open_manager(path / name, read_only=read_only)
            for name, read_only in folders.items()
            if (path / name).is_dir() or not read_only
        ]
        for manager in managers:
            stack.callback(manager.close)
        yield Timeline(assembly, tuple(managers))


def sources(timeline: Timeline, steps: Sequence[int]) -> list[tuple[int, int]]:
    """Find the step from which each requested step is replayed.

    Args:
      timeline: Timeline of the run.
      steps: requested training steps.

    Returns:
      Pairs (start, step) in order of the steps. The start is the step of a checkpoint, 0, or the
      requested step before this one, whichever is the nearest.
    """
    kept = {0, *(step for manager in timeline.managers for step in manager.all_steps())}
    plan, current = [], 0
    for step in sorted(set(steps)):
        start = max(current, *(s for s in kept if s <= step))
        plan.append((start, step))
        current = step
    return plan


def states_at(timeline: Timeline, steps: Sequence[int], drift: Drift | None = None):
    """Compute the states at the requested steps, each before the update of that step.

    Args:
      timeline: Timeline of the run.
      steps: requested training steps.
      drift: Drift that compares the replay with the recorded scalars; None for no comparison.

    Yields:
      (step, states [S, ...]) in order of the steps. The buffers of the states are reused when the
      next step is requested, so copy what is needed before.

    Raises:
      RunDirError: a step lies inside a block, and single steps do not give the same bits as a
        block; or the replay differs from the record, and `drift` does not allow it.
    """
    assembly, states, current, checked = (
        timeline.assembly,
        None,
        None,
        bool(drift and drift.allowed),
    )
    for start, step in sources(timeline, steps):
        if start != current:
            states, start = restore_at_most(timeline, start)
        if step % assembly.cfg.probe.every and not checked:
            check_single_steps(assembly, states)
            checked = True
        states = advance(assembly, states, start, step, drift)
        current = step
        yield step, states


def check_single_steps(assembly: Assembly, states: Tree) -> None:
    """Check that single steps give the same bits as the compiled chunk.

    Args:
      assembly: Assembly of the run.
      states: states of the run at any step.

    Raises:
      RunDirError: the bits differ. The message names the first leaf that differs.
    """
    programs, every = assembly.programs, assembly.cfg.probe.every
    blocks = 1 if every > 1 else 2  # one block of one step would have no loop
    together, _ = programs.train(jax.tree.map(jnp.copy, states), assembly.data, blocks)
    for _ in range(blocks * every):
        states, _ = programs.step(states, assembly.data)
    wanted, found = checkpoint.digests(together), checkpoint.digests(states)
    apart = [name for name in wanted if wanted[name] != found[name]]
    if apart:
        raise RunDirError(
            f"single steps of this model end with other bits than its blocks do ({apart[0]}): ask "
            f"for multiples of probe.every={every}, or pass --allow_numeric_drift"
        )


def restore_at_most(timeline, step):
    """Restore the nearest undamaged checkpoint at or before a step.

    If a checkpoint is damaged, an earlier one is used, which only costs time. If none is left, the
    states are initialised at step 0.

    Args:
      timeline: Timeline of the run.
      step: training step.

    Returns:
      (states [S, ...], the step they belong to).
    """
    kept = [(s, m) for m in timeline.managers for s in m.all_steps() if s <= step]
    for at, manager in sorted(kept, key=lambda pair: -pair[0]):
        try:
            return checkpoint.restore(manager, at, timeline.assembly.like), at
        except CheckpointError as error:
            logging.getLogger(__name__).warning("%s; starting from an earlier one", error)
    return timeline.assembly.programs.init(), 0


def advance(assembly: Assembly, states: Tree, first: int, last: int, drift: Drift | None = None):
    """Train from one step to another, exactly as the run does.

    Args:
      assembly: Assembly of the run.
      states: states [S, ...] at step `first`, before its transitions. Their buffers are donated.
      first: training step at which to start.
      last: training step at which to stop, not before `first`.
      drift: see `states_at`.

    Returns:
      The states at step `last`, before its transitions.

    Raises:
      RunDirError: the replay differs from the record, and `drift` does not allow it.
    """
    cfg, programs = assembly.cfg, assembly.programs
    every, length = cfg.probe.every, schema.chunk_steps(cfg)
    while first < last:
        states = enter(assembly, states, first)
        left = min(last, chunk_end(assembly, first)) - first
        steps = next(n for n in (length, every, 1) if n <= left)
        if first % every:
            steps = 1
        if steps == 1:
            states, scalars = programs.step(states, assembly.data)
            scalars = {name: value[:, None] for name, value in scalars.items()}
        else:
            states, record = programs.train(states, assembly.data, steps // every)
            scalars = record.scalars
        if drift and (steps > 1 or cfg.scalar_bin == 1):
            drift.compare(first, jax.device_get(scalars))
        first += steps
    return states


def chunk_end(assembly: Assembly, first: int) -> int:
    """Return the step at which a chunk ends.

    Args:
      assembly: Assembly of the run.
      first: step at which the chunk starts.

    Returns:
      A training step: the chunk ends after its full length, at the end of the run, or at the next
      transition.
    """
    cfg = assembly.cfg
    changes = [at for at, _ in assembly.recipe.transitions if at > first]
    return min([first + schema.chunk_steps(cfg), cfg.steps, *changes])


def enter(assembly: Assembly, states: Tree, step: int) -> Tree:
    """Apply the transitions that the config schedules at a step.

    Args:
      assembly: Assembly of the run.
      states: states [S, ...] with which training arrived at the step.
      step: training step.

    Returns:
      The states from which the step is trained.
    """
    for at, change in assembly.recipe.transitions:
        if at == step:
            states = change(states)
    return states
