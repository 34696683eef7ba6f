"""Checkpoints that stay: the states before, at and after jumps, kept while the network trains."""

from pathlib import Path
from typing import NamedTuple

from tapjax.config import schema
from tapjax.contract.detector import DELAY, WINDOW
from tapjax.contract.files import read_json
from tapjax.run import live_jumps
from tapjax.run.replay import Timeline, open_timeline, sources, states_at
from tapjax.store import checkpoint
from tapjax.store.lease import locked
from tapjax.store.rundir import RunDir, check_links

TRAINING, REPLAY = "training", "replay"  # who pinned a step


def search_delay(cfg) -> int:
    """How far back a newly found jump's first pin can lie, in steps; 0 without pins."""
    if not cfg.checkpoint.pin_jumps:
        return 0
    measurements = DELAY + 2 * WINDOW
    return measurements * cfg.probe.every + schema.pin_window(cfg) + schema.chunk_steps(cfg)


class Pins(NamedTuple):
    """What the loop carries along: where pins go and the search for jumps."""

    run_dir: RunDir
    timeline: Timeline
    search: live_jumps.Search


def resume(run_dir: RunDir, timeline: Timeline, first: int) -> Pins:
    """Take up the search where the records end.

    Args:
      run_dir: the run's directory.
      timeline: of the run; its last manager takes the pins.
      first: the step that training goes on from; what is pinned beyond it is made anew.

    Returns:
      Pins.

    Raises:
      RunDirError: a damaged record.
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
    """Look for jumps in a chunk, and keep the states around those that deserve it.

    Args:
      pins: so far.
      arrays: what the chunk recorded.
      last: the step that training has reached.
      hurry: keep no states now; whoever goes on from here will.

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
    """Without the states that training would have to go far back for: a weak old jump that counts
    again because two stronger ones turned out to be one."""
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
    """Make the pinned checkpoints those that are wanted.

    Args:
      run_dir: the run's directory.
      timeline: of the run; its last manager takes the pins.
      wanted: step -> why.

    Raises:
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
    """Keep the states of further steps of a run, by replaying it.

    Args:
      path: the run directory.
      wanted: training step -> why; these pins outlive those that training itself chooses.
      allow_numeric_drift: see `replay.open_timeline`.

    Raises:
      RunDirError, CheckpointError: the run is in use, cannot be replayed or written.
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
    """The pinned steps and why they are."""
    path = run_dir.path / "pinned.json"
    pinned = read_json(path) if path.exists() else {}
    return {int(step): reasons for step, reasons in pinned.items()}
