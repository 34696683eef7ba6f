"""Checkpoints that stay: the states before, at and after jumps, kept while the network trains."""

import json
from typing import NamedTuple

import numpy as np

from analysis.jumps import DELAY, WINDOW
from analysis.layout import record_steps
from tapjax import checkpoint, config, jumps
from tapjax.replay import Timeline, states_at
from tapjax.rundir import RunDir

ASKED = "asked for"  # the side of a pin that no jump made


def search_delay(cfg) -> int:
    """How far back a newly found jump's first pin can lie, in steps; 0 without pins."""
    if not cfg.checkpoint.pin_jumps:
        return 0
    measurements = DELAY + 2 * WINDOW
    return measurements * cfg.probe.every + cfg.checkpoint.pin_window + config.chunk_steps(cfg)


class Pins(NamedTuple):
    """What the loop carries along: where pins go and the search for jumps."""

    run_dir: RunDir
    timeline: Timeline
    search: jumps.Search


def resume(run_dir: RunDir, timeline: Timeline) -> Pins:
    """Take up the search where the records end.

    Args:
      run_dir: the run's directory.
      timeline: of the run; its last manager takes the pins.

    Returns:
      Pins.
    """
    cfg, names = timeline.assembly.cfg, timeline.assembly.recipe.model.layer_names
    search = jumps.start(cfg.seeds, names)
    if cfg.checkpoint.pin_jumps:
        for path in record_steps(run_dir.path / "records").values():
            with np.load(path, allow_pickle=False) as arrays:
                search = _observe(cfg, search, arrays)
    return Pins(run_dir, timeline, search)


def _observe(cfg, search, arrays):
    return jumps.observe(search, arrays["probe_step"], arrays[f"probe/{cfg.probe.dimension}"])


def follow(pins: Pins, arrays, last: int) -> Pins:
    """Look for jumps in a chunk, and keep the states around those that deserve it.

    Args:
      pins: so far.
      arrays: what the chunk recorded.
      last: the step that training has reached.

    Returns:
      New Pins.

    Raises:
      CheckpointError: a pin could not be written.
    """
    cfg = pins.timeline.assembly.cfg
    if not cfg.checkpoint.pin_jumps:
        return pins
    before = len(pins.search.found)
    search = _observe(cfg, pins.search, arrays)
    if len(search.found) > before:
        pins.run_dir.write_json("jumps.json", {"jumps": search.found})
        for jump in search.found[before:]:
            pins.run_dir.log("jump of {layer}, seed {seed}, at step {step}".format(**jump))
    most, window = cfg.checkpoint.pin_jumps, cfg.checkpoint.pin_window
    keep(pins.run_dir, pins.timeline, jumps.pins(search.found, most, window, last))
    return pins._replace(search=search)


def keep(run_dir: RunDir, timeline: Timeline, wanted: dict[int, list[dict]]) -> None:
    """Make the pinned checkpoints those that are wanted, besides those that were asked for.

    Args:
      run_dir: the run's directory.
      timeline: of the run; its last manager takes the pins.
      wanted: step -> why.

    Raises:
      CheckpointError: a pin could not be written.
    """
    old = read(run_dir)
    asked = {
        step: [reason for reason in reasons if reason["side"] == ASKED]
        for step, reasons in old.items()
    }
    steps = sorted({*wanted, *(step for step, reasons in asked.items() if reasons)})
    new = {step: wanted.get(step, []) + asked.get(step, []) for step in steps}
    manager = timeline.managers[-1]
    made = set(manager.all_steps())
    for step, states in states_at(timeline, [step for step in new if step not in made]):
        checkpoint.save(manager, step, states, force=True)
    if new != old:
        run_dir.write_json("pinned.json", {str(step): reasons for step, reasons in new.items()})
    for step in made - set(new):
        manager.delete(step)


def read(run_dir: RunDir) -> dict[int, list[dict]]:
    """The pinned steps and why they are."""
    path = run_dir.path / "pinned.json"
    pinned = json.loads(path.read_text()) if path.exists() else {}
    return {int(step): reasons for step, reasons in pinned.items()}
