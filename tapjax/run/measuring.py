"""Files of measures, and measures of any step of a run, computed afterwards by replaying it.

RUN/measures/NAME/000001200.npz holds `step [T]` and the arrays of the measure, each [S, T, ...],
for steps from 1200 on. Steps may be added later. The state of a step is the one before its update.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.contract.layout import MEASURES_FOLDER, measure_files, record_name, write_npz
from tapjax.measure.measures import bound
from tapjax.run.replay import Drift, Timeline, enter, states_at
from tapjax.store.rundir import read_arrays
from tapjax.types import Measure

SECONDS = 60  # longest time for which measurements are kept in memory


class Progress(NamedTuple):
    """A measured step and the seconds that the measures took, without the replay."""

    step: int
    seconds: float


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
    kept: dict[str, list] = {name: [] for name in measures}
    programs = {
        name: _of_pairs(bound(measure, ready.recipe), timeline)
        if measure.pairs
        else _of_seeds(jax.jit(bound(measure, ready.recipe)))
        for name, measure in measures.items()
    }
    written = time.monotonic()
    every = sorted(set().union(*steps.values()))
    for step, states in states_at(timeline, every, drift):
        began = time.monotonic()
        now = enter(ready, states, step)
        for name, program in programs.items():
            if step in steps[name]:
                kept[name].append((step, program(now, ready.data)))
        yield Progress(step, time.monotonic() - began)
        if time.monotonic() - written > SECONDS:
            _write(folder, kept)
            written = time.monotonic()
    _write(folder, kept)


def _of_seeds(program):
    """Return a function that measures one seed after another, which needs the memory of one."""

    def measured(states, data):
        found = [jax.device_get(program(_seed(states, i), data)) for i in range(_seeds(states))]
        return {name: np.stack([each[name] for each in found]) for name in found[0]}

    return measured


def _of_pairs(compare, timeline):
    """Return a function that compares a seed with other seeds, its end and its narrower networks.

    The second axis of the arrays [S, S + 1 + A, ...] holds the other seeds, the end of the run and,
    in runs with clones, the A narrower networks. A seed is not compared with itself.
    """
    cfg, recipe = timeline.assembly.cfg, timeline.assembly.recipe
    reached = max(step for manager in timeline.managers for step in manager.all_steps())
    end, *_ = [
        jax.tree.map(jnp.copy, now) for _, now in states_at(timeline, [min(reached, cfg.steps)])
    ]

    def measured(states, data):
        n, found = _seeds(states), {}
        for i in range(n):
            for j in range(i + 1, n):
                found[i, j] = found[j, i] = compare(_seed(states, i), _seed(states, j), data)
            own = _seed(states, i)
            found[i, n] = compare(own, _seed(end, i), data)
            expanded = recipe.expanded(own)
            for j, (params, stats) in enumerate(expanded, n + 1):
                found[i, j] = compare(own, own._replace(params=params, stats=stats), data)
        like, columns = found[0, n], n + 1 + len(expanded)
        return {
            name: np.array(
                [
                    [
                        found[i, j][name] if (i, j) in found else np.zeros_like(like[name])
                        for j in range(columns)
                    ]
                    for i in range(n)
                ]
            )
            for name in like
        }

    return measured


def _seeds(states):
    return len(jax.tree.leaves(states)[0])


def _seed(states, i):
    return jax.tree.map(lambda leaf: leaf[i], states)


def _write(folder, kept):
    """Write what was kept of each measure to a file of its own."""
    for name, rows in kept.items():
        if rows:
            arrays = {key: np.stack([row[key] for _, row in rows], 1) for key in rows[0][1]}
            write(folder, name, [step for step, _ in rows], arrays)
            rows.clear()


def write(folder: Path, name: str, steps: Sequence[int], arrays: dict[str, np.ndarray]) -> None:
    """Write measurements at some steps to a file that is named by the first of them.

    Args:
      folder: run directory.
      name: name of the measure.
      steps: steps [T] in ascending order.
      arrays: quantity -> values [S, T, ...].
    """
    out = folder / MEASURES_FOLDER / name
    out.mkdir(parents=True, exist_ok=True)
    write_npz(out / record_name(int(steps[0])), arrays | {"step": np.asarray(steps)})
