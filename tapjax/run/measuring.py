"""Measures of any step of a run, computed afterwards by replaying it.

RUN/measures/NAME/000001200.npz holds `step [T]` and the arrays of the measure, each [S, T, ...],
for steps from 1200 on. Steps may be added later. The state of a step is the one before its update.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.contract.layout import (
    MEASURES_FOLDER,
    STEP_AXES,
    measure_files,
    record_name,
    write_npz,
)
from tapjax.measure.measures import MEASURES
from tapjax.run.replay import Drift, Timeline, enter, states_at
from tapjax.store.rundir import read_arrays
from tapjax.types import Measure

SECONDS = 60  # longest time for which measurements are kept in memory
TAKEN = (*STEP_AXES, "D", "loss", "grad_norm")  # names that mean something else in a run
SALT = 0x3EA5  # separates the random numbers of measures from those of training


class Progress(NamedTuple):
    """A measured step and the seconds that the measures took, without the replay."""

    step: int
    seconds: float


def chosen(names: Sequence[str]) -> dict[str, Measure]:
    """Look measures up by name.

    Args:
      names: keys of `MEASURES`, or import paths `package.module:measure` of a `types.Measure` or of
        a function like `Measure.apply`.

    Returns:
      Name of the folder -> Measure. For an import path it is the name of the object.

    Raises:
      ConfigError: a name is unknown, taken, or that of two measures.
    """
    found = {}
    for name in names:
        made = schema.lookup(name, MEASURES, "measures")
        if not isinstance(made, Measure):
            made = Measure(made, 1, "own measure")
        short = name.rpartition(":")[2]
        if short in TAKEN:
            raise ConfigError(f"--measures: {short} is the name of recorded arrays: rename it")
        if short in found:
            raise ConfigError(f"--measures: {short} is named twice")
        found[short] = made
    return found


def check(timeline: Timeline, measures: dict[str, Measure]) -> None:
    """Check that the measures can be computed for a run.

    Args:
      timeline: Timeline of the run.
      measures: name -> Measure.

    Raises:
      ConfigError: a measure cannot be traced, or the run is a stream of tasks.
    """
    ready = timeline.assembly
    if ready.cfg.family == "plasticity":
        raise ConfigError("runs of the plasticity family cannot be measured: their tasks change")
    single = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), ready.like)
    for name, measure in measures.items():
        try:
            found = jax.eval_shape(_program(measure, ready.recipe), single, ready.data)
        except (TypeError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise ConfigError(
                f"--measures={name} cannot be computed for {ready.cfg.model.name}: {why}"
            ) from None
        if not isinstance(found, dict) or not found:
            raise ConfigError(f"--measures={name} does not return a dict of arrays")


def missing_steps(folder: Path, names: Sequence[str], steps: Sequence[int]) -> dict[str, list[int]]:
    """Find the steps at which a run has not been measured yet.

    Args:
      folder: run directory.
      names: names of measures.
      steps: requested steps.

    Returns:
      Name -> steps, in ascending order.
    """
    found = {}
    for name in names:
        files = measure_files(folder, name)
        done = {int(s) for file in files for s in read_arrays(file, ["step"])["step"]}
        found[name] = sorted(set(steps) - done)
    return found


def measure_steps(
    timeline: Timeline,
    folder: Path,
    measures: dict[str, Measure],
    steps: dict[str, list[int]],
    drift: Drift | None = None,
) -> Iterator[Progress]:
    """Replay a run, measure it and write the measurements.

    Args:
      timeline: Timeline of the run.
      folder: run directory.
      measures: name -> Measure.
      steps: name -> steps at which to measure.
      drift: Drift that compares the replay with the recorded scalars; None for no comparison.

    Yields:
      The Progress after each step.

    Raises:
      RunDirError: see `replay.states_at`.
    """
    ready = timeline.assembly
    programs = {name: _program(measure, ready.recipe) for name, measure in measures.items()}
    kept: dict[str, list] = {name: [] for name in measures}
    written = time.monotonic()
    every = sorted(set().union(*steps.values()))
    for step, states in states_at(timeline, every, drift):
        began = time.monotonic()
        now = enter(ready, states, step)
        for name, program in programs.items():
            if step in steps[name]:
                kept[name].append((step, _of_seeds(program, now, ready.data)))
        yield Progress(step, time.monotonic() - began)
        if time.monotonic() - written > SECONDS:
            _write(folder, kept)
            written = time.monotonic()
    _write(folder, kept)


def _program(measure, recipe):
    """Compile a measure of one seed."""

    def measured(state, data):
        key = jax.random.fold_in(jax.random.fold_in(state.key, SALT), state.step)
        data = recipe.prepare(state, data)
        return measure.apply(recipe.model, recipe.loss, state, data, key)

    return jax.jit(measured)


def _of_seeds(program, states, data):
    """Measure one seed after another, which needs the memory of one."""
    seeds = len(jax.tree.leaves(states)[0])
    found = [
        jax.device_get(program(jax.tree.map(lambda leaf, i=i: leaf[i], states), data))
        for i in range(seeds)
    ]
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


def _write(folder, kept):
    """Write what was kept of each measure to a file of its own."""
    for name, rows in kept.items():
        if rows:
            arrays = {key: np.stack([row[key] for _, row in rows], 1) for key in rows[0][1]}
            out = folder / MEASURES_FOLDER / name
            out.mkdir(parents=True, exist_ok=True)
            at = np.array([step for step, _ in rows])
            write_npz(out / record_name(int(at[0])), arrays | {"step": at})
            rows.clear()
