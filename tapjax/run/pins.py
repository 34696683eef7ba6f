"""Pinned checkpoints, which are never removed to make room for newer ones.

While the network trains, the states before, at and after jumps are pinned. A replay of the run can
pin further steps.
"""

from pathlib import Path
from typing import NamedTuple

from tapjax.config import schema
from tapjax.contract.detector import DELAY, WINDOW
from tapjax.contract.files import read_json
from tapjax.contract.lease import locked
from tapjax.run import live_jumps
from tapjax.run.replay import Timeline, open_timeline, sources, states_at
from tapjax.store import checkpoint
from tapjax.store.rundir import RunDir, check_links

TRAINING, REPLAY = "training", "replay"  # value of `by` in a reason: what pinned the step


def search_delay(cfg) -> int:
    """Return the largest distance from training back to the first pin of a newly found jump.

    Args:
      cfg: a valid config.

    Returns:
      Training steps; 0 if no jumps are pinned.
    """
    if not cfg.checkpoint.pin_jumps:
        return 0
    measurements = DELAY + 2 * WINDOW
    return measurements * cfg.probe.every + schema.pin_window(cfg) + schema.chunk_steps(cfg)


class Pins(NamedTuple):
    """State of the pinning that the training loop carries: run, replay and search for jumps."""

    run_dir: RunDir
    timeline: Timeline
    search: live_jumps.Search


def resume(run_dir: RunDir, timeline: Timeline, first: int) -> Pins:
    """Resume the search at the end of the records.

    Args:
      run_dir: run directory.
      timeline: Timeline of the run; its last manager stores the pins.
      first: step from which training continues. Later pins are deleted and made again when
        training gets there.

    Returns:
      The Pins.

    Raises:
      RunDirError: a record is damaged.
      CheckpointError: a pin could not be written.
    """
    cfg, names = timeline.assembly.cfg, timeline.assembly.recipe.model.layer_names
    search = live_jumps.start(cfg.seeds, names)
    if cfg.checkpoint.pin_jumps:
        for arrays in run_dir.read_records(f"probe/{cfg.probe.dimension}", "probe_step"):
            search = _observe(cfg, search, arrays)
    keep(run_dir, timeline, {step: why for step, why in read(run_dir).items() if step <= first})
    if first:
        run_dir.write_json("jumps.json", {"jumps": search.found})
    return Pins(run_dir, timeline, search)


def _observe(cfg, search, arrays):
    return live_jumps.observe(search, arrays["probe_step"], arrays[f"probe/{cfg.probe.dimension}"])


def follow(pins: Pins, arrays, last: int, hurry: bool = False) -> Pins:
    """Search a chunk for jumps, and keep the states around the strongest jumps so far.

    Args:
      pins: Pins before the chunk.
      arrays: recorded arrays of the chunk.
      last: step that training has reached.
      hurry: whether to keep no states now. The process that resumes the run keeps them.

    Returns:
      New Pins.

    Raises:
      CheckpointError: a pin could not be written.
    """
    cfg = pins.timeline.assembly.cfg
    if not cfg.checkpoint.pin_jumps:
        return pins
    search = _observe(cfg, pins.search, arrays)
    new = [jump for jump in search.found if jump not in pins.search.found]
    if new:
        pins.run_dir.write_json("jumps.json", {"jumps": search.found})
        for jump in new:
            pins.run_dir.log("jump of {layer}, seed {seed}, at step {step}".format(**jump))
    pins = pins._replace(search=search)
    if not hurry:
        wanted = live_jumps.pins(
            search.found, cfg.checkpoint.pin_jumps, schema.pin_window(cfg), last
        )
        asked = {
            step: [reason for reason in why if reason["by"] == REPLAY]
            for step, why in read(pins.run_dir).items()
        }
        within = _within_reach(pins, _by(TRAINING, wanted))
        keep(pins.run_dir, pins.timeline, _together(within, asked))
    return pins


def _within_reach(pins, wanted):
    """Leave out the states that need a replay from far back.

    They belong to weak old jumps that count again because two stronger ones turned out to be one.
    """
    made = set(pins.timeline.managers[-1].all_steps())
    cfg = pins.timeline.assembly.cfg
    most = search_delay(cfg) + cfg.checkpoint.every
    far = {s for start, s in sources(pins.timeline, wanted) if s not in made and s - start > most}
    return {step: why for step, why in wanted.items() if step not in far}


def _by(who, wanted):
    return {step: [{"by": who} | reason for reason in why] for step, why in wanted.items()}


def _together(*pinned):
    steps = sorted({step for part in pinned for step, why in part.items() if why})
    return {step: [reason for part in pinned for reason in part.get(step, [])] for step in steps}


def keep(run_dir: RunDir, timeline: Timeline, wanted: dict[int, list[dict]]) -> None:
    """Make the missing pinned checkpoints and delete those that are no longer wanted.

    Args:
      run_dir: run directory.
      timeline: Timeline of the run; its last manager stores the pins.
      wanted: training step -> reasons, for all pins of the run.

    Raises:
      RunDirError: see `replay.states_at`.
      CheckpointError: a pin could not be written.
    """
    manager = timeline.managers[-1]
    made = set(manager.all_steps())
    for step, states in states_at(timeline, [step for step in wanted if step not in made]):
        run_dir.lease.confirm()
        checkpoint.save(manager, step, states, force=True)
    if wanted != read(run_dir):
        run_dir.write_json("pinned.json", {str(step): why for step, why in wanted.items()})
    for step in made - set(wanted):
        run_dir.lease.confirm()
        manager.delete(step)


def ask_for(path: Path, wanted: dict[int, list[dict]], allow_numeric_drift: bool = False) -> None:
    """Pin further steps of a run by replaying it.

    Args:
      path: run directory.
      wanted: training step -> reasons. These pins stay when training replaces the pins that it
        chose itself.
      allow_numeric_drift: see `replay.open_timeline`.

    Raises:
      RunDirError, CheckpointError: the run is in use, cannot be replayed or cannot be written.
    """
    path = Path(path).resolve()
    check_links(path)
    with (
        locked(path) as lease,
        open_timeline(path, allow_numeric_drift, pinning=True) as timeline,
    ):
        run_dir = RunDir(path, lease, {})
        old = read(run_dir)
        new = {
            step: [reason for reason in why if reason not in old.get(step, [])]
            for step, why in _by(REPLAY, wanted).items()
        }
        keep(run_dir, timeline, _together(old, new))


def read(run_dir: RunDir) -> dict[int, list[dict]]:
    """Read which steps of a run are pinned.

    Args:
      run_dir: run directory.

    Returns:
      Training step -> reasons; empty if nothing was pinned.
    """
    path = run_dir.path / "pinned.json"
    pinned = read_json(path) if path.exists() else {}
    return {int(step): reasons for step, reasons in pinned.items()}
