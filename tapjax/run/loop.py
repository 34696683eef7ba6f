"""The training loop: restore a run, then train, record and checkpoint it chunk by chunk.

The order inside a chunk is fixed: the recorded arrays are written first, the state last. A crash in
between therefore only repeats work, and a resumed run is bit-identical to one that was never
interrupted.
"""

import contextlib
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from tapjax.config import schema
from tapjax.contract.files import read_json
from tapjax.contract.text import plural
from tapjax.measure.singular_values import one_lapack_thread
from tapjax.run import disk, measuring, memory, pins, replay
from tapjax.run.assembly import assemble
from tapjax.run.manifest import describe
from tapjax.run.preemption import stop_on_signals
from tapjax.step.blocks import due_blocks
from tapjax.store import checkpoint, records, rundir
from tapjax.store.environment import pinned_settings


class Outcome(NamedTuple):
    """Outcome of a run.

    `status` is DONE, DIVERGED or PREEMPTED, `step` is the last step reached, and `reason` says why
    the run ended; it is empty for DONE.
    """

    status: str
    step: int
    reason: str = ""


def run(
    cfg, workdir, resume="auto", allow_numeric_drift=False, extend=False, progress=None
) -> Outcome:
    """Train and measure one config for all its seeds, or resume an interrupted run.

    Args:
      cfg: a config as `schema.defaults` describes it.
      workdir: run directory.
      resume: `auto`, `must` (the run has to exist) or `never` (it must not exist).
      allow_numeric_drift: whether to resume a run if its bits may differ; see identity.py.
      extend: whether to continue a run for more steps if its schedules depend on that number.
      progress: label of a progress bar on stderr, shown if that is a terminal; None for no bar.

    Returns:
      The Outcome, which is also stored in RUN/STATUS.json.

    Raises:
      ConfigError, DataError, RunDirError, CheckpointError: the run cannot be trained. The message
        is one line that says what to do. A CheckpointError leaves the status FAILED.
    """
    with pinned_settings():
        return _run(cfg, workdir, resume, allow_numeric_drift, extend, progress)


def _run(cfg, workdir, resume, allow_numeric_drift, extend, progress):
    path = Path(workdir).resolve()
    if (path / "config.json").is_file():
        cfg = schema.with_former_steps(cfg, read_json(path / "config.json"), extend)
    ready, record, needed = _assemble_and_size(cfg)
    memory.check(needed, cfg)
    if not (path / "config.json").is_file():
        disk.check(ready, record, path)
    with (
        rundir.open_run_dir(path, ready.contents, resume, allow_numeric_drift) as run_dir,
        stop_on_signals() as stop,
        one_lapack_thread(),
    ):
        status = run_dir.status
        if status.get("status") in ("DONE", "DIVERGED"):
            run_dir.check_records(status["step"], cfg.scalar_bin)
            if status["status"] == "DIVERGED" or status["step"] == cfg.steps:
                return Outcome(*(status[name] for name in Outcome._fields))
        disk.check(ready, record, path)
        _announce(run_dir, _cost(ready, record, needed), progress)
        with _open_managers(cfg, run_dir) as managers:
            _prove(run_dir, ready, managers, allow_numeric_drift)
            with run_dir.failure_noted():
                states, first = _restore_or_init(run_dir, managers[0], ready)
                pinned = pins.resume(run_dir, replay.Timeline(ready, managers), first)
                return _train(run_dir, pinned, states, first, stop, progress)


def preview(cfg) -> list[str]:
    """Describe the size of a run.

    Nothing is compiled, trained or written; see `time_needed` for the time.

    Args:
      cfg: a config as `schema.defaults` describes it.

    Returns:
      Lines of text: remarks on the config, sizes, and memory per device.

    Raises:
      ConfigError, DataError: the run cannot be put together. The message is one line that says what
        to do.
    """
    with pinned_settings():
        return _cost(*_assemble_and_size(cfg))


def time_needed(cfg) -> str:
    """Measure how long a run takes, by training as many steps as lie between two measurements.

    Nothing is written.

    Args:
      cfg: a config as `schema.defaults` describes it.

    Returns:
      One line of text with the time to compile, the time per step and the time of the whole run,
      without evaluations on the test split and checkpoints.

    Raises:
      ConfigError, DataError: the run cannot be put together, or does not fit in memory.
    """
    with pinned_settings(), one_lapack_thread():
        ready, _, needed = _assemble_and_size(cfg)
        memory.check(needed, cfg)
        times = [time.monotonic()]
        states = replay.enter(ready, ready.programs.init(), 0)
        # A call computes each measure as often as the run does on average, if it is long enough.
        blocks = min(max([1, *ready.programs.periods.values()]), ready.programs.most)
        for _ in range(3):  # the first call compiles
            states, _ = ready.programs.train(states, ready.data, blocks, block=0)
            jax.block_until_ready(states)
            times.append(time.monotonic())
    compiling, step = times[1] - times[0], (times[3] - times[1]) / (2 * blocks * cfg.probe.every)
    return (
        f"{compiling:.1f} s to compile and start, {1e3 * step:.3g} ms per step with measurements: "
        f"about {told_time(compiling + step * cfg.steps)} for {plural(cfg.steps, 'step')} here, "
        "without evaluations and checkpoints"
    )


def _assemble_and_size(cfg):
    """Return the Assembly, the shapes of the Record of one block, and the memory needed."""
    ready = assemble(cfg)
    record = jax.eval_shape(ready.programs.block, ready.like, ready.data)[1]
    return ready, record, memory.estimate(ready, record)


def _cost(ready, record, needed):
    probe_size = len(ready.contents["data.json"]["probe_index"])
    model = ready.contents["model.json"]
    blocks = ready.cfg.steps // ready.cfg.probe.every
    size = records.size(record, ready.programs.periods, blocks)
    line = describe(ready.cfg, model, ready.over_seeds, probe_size, size)
    return [*ready.remarks, line, memory.describe(needed)]


def _announce(run_dir, lines, progress):
    """Log the cost of the run before anything is compiled; also print it if there is a label."""
    for line in lines:
        run_dir.log(line)
        if progress is not None:
            print(line, file=sys.stderr)


@contextlib.contextmanager
def _open_managers(cfg, run_dir):
    """Open the managers of the latest checkpoints and of the pinned ones."""
    keep, period = cfg.checkpoint.keep, cfg.checkpoint.keep_period
    delay = pins.search_delay(cfg)
    with (
        checkpoint.open_manager(run_dir.checkpoints, keep, period, delay) as latest,
        checkpoint.open_manager(run_dir.pins) as pinned,
    ):
        yield latest, pinned


def _prove(run_dir, ready, managers, allow_numeric_drift):
    """Train a recorded chunk once more and compare the bits before training continues."""
    cfg, programs, latest = ready.cfg, ready.programs, max(managers[0].all_steps(), default=0)
    if not latest:
        return
    run_dir.check_records(latest, cfg.scalar_bin)
    drift = replay.Drift(run_dir.path / "records", cfg.scalar_bin, allow_numeric_drift)
    # Pinned states are not used. Checkpoints lie at the ends of chunks, so that the same compiled
    # program runs here as when the record was written.
    states, start = replay.restore_at_most(replay.Timeline(ready, managers[:1]), latest - 1)
    last = replay.chunk_end(ready, start)
    states = replay.enter(ready, states, start)
    _, record = programs.train(states, ready.data, (last - start) // cfg.probe.every)
    drift.compare(start, record.scalars)
    run_dir.log(f"trained from step {start} once more: {drift.describe()}")


def _restore_or_init(run_dir, manager, ready):
    interruptions = run_dir.status.get("interruptions", -1) + 1
    restored = checkpoint.restore_latest_good(manager, ready.like)
    for problem in restored.skipped if restored else ():
        run_dir.log(f"{problem}; falling back to the one before")
    first = restored.step if restored else 0
    states = restored.states if restored else ready.programs.init()
    run_dir.begin(first, interruptions)
    run_dir.discard_from(first)
    if 0 < first < ready.cfg.steps:
        _reopen(run_dir, ready.cfg, first)
    return states, first


def _reopen(run_dir, cfg, end):
    """Drop the measurements that were made only because the run ended at this step before."""
    first, arrays = run_dir.read_last_record()
    if arrays["probe_step"][-1] == end:
        evaluated = _passes(cfg.eval_every, first, end)
        run_dir.write_record(first, records.without_end(arrays, evaluated))
        run_dir.log(f"continues from its end to step {cfg.steps}")


def _train(run_dir, pinned, states, first, stop, progress):
    ready, (manager, _) = pinned.timeline
    cfg, programs, data = ready.cfg, ready.programs, ready.data
    diverged = {}
    for arrays in run_dir.read_records(*records.DIVERGENCE):  # STATUS.json may be older than these
        diverged = records.diverged_seeds(cfg.seeds, arrays) | diverged
    hidden = True if progress is None else None  # None: hidden unless stderr is a terminal
    bar = tqdm(total=cfg.steps, initial=first, desc=progress, unit="step", disable=hidden)
    ended = []  # times at which chunks ended; the first chunk compiles and is not counted
    with bar:
        while first < cfg.steps:
            last = replay.chunk_end(ready, first)
            states = replay.enter(ready, states, first)
            blocks, ends = (last - first) // cfg.probe.every, int(last == cfg.steps)
            number = first // cfg.probe.every
            states, record = programs.train(states, data, blocks, ends, number)
            for name, measured in record.measures.items():
                due = due_blocks(number, blocks + ends, programs.periods[name])
                if due:
                    run_dir.lease.confirm()
                    steps = [cfg.probe.every * n for n in due]
                    measuring.write(run_dir.path, name, steps, measured)
            arrays = records.chunk_arrays(cfg, first, last, record)
            if last == cfg.steps or _passes(cfg.eval_every, first, last):
                arrays |= records.evaluation_arrays(last, programs.evaluate(states, data))
            run_dir.write_record(first, arrays)
            diverged = records.diverged_seeds(cfg.seeds, arrays) | diverged
            if len(diverged) == len(cfg.seeds):
                # The last good checkpoint stays the latest: a diverged state is not saved.
                return _finish(run_dir, "DIVERGED", last, diverged, "the loss is not finite")
            preempted = stop.is_set() and last < cfg.steps
            pinned = pins.follow(pinned, arrays, last, hurry=preempted)
            if last == cfg.steps or preempted or _checkpoint_due(cfg.checkpoint, first, last):
                run_dir.lease.confirm()
                checkpoint.save(manager, last, states)
            if preempted:
                return _finish(run_dir, "PREEMPTED", last, diverged, stop.reason)
            run_dir.set_status("RUNNING", last, diverged=diverged)
            bar.update(last - first)
            bar.set_postfix(loss=f"{np.nanmean(arrays['scalar/loss'][:, -1]):.3f}")
            ended.append(time.monotonic())
            if len(ended) == 2:
                left = (ended[1] - ended[0]) / (last - first) * (cfg.steps - last)
                _announce(run_dir, time_left(left), progress)
            first = last
    return _finish(run_dir, "DONE", cfg.steps, diverged)


def time_left(seconds: float) -> list[str]:
    """Say how long a run will still take.

    Args:
      seconds: expected time.

    Returns:
      One line of text, or none if it is less than a minute.
    """
    if seconds < 60:
        return []
    return [f"about {told_time(seconds)} left, judged by the second chunk"]


def told_time(seconds: float) -> str:
    """Return a time in whole seconds, whole minutes or hours, whichever suits its length."""
    minutes = seconds / 60
    if minutes >= 90:
        return f"{minutes / 60:.1f} hours"
    if minutes >= 1:
        return plural(round(minutes), "minute")
    return plural(max(round(seconds), 1), "second")


def _checkpoint_due(cfg, first, last):
    return _passes(cfg.every, first, last) or _passes(cfg.keep_period, first, last)


def _passes(every, first, last):
    """Decide whether a multiple of `every` lies in (first, last]; never if `every` is 0."""
    return bool(every) and last // every > first // every


def _finish(run_dir, status, step, diverged, reason=""):
    run_dir.set_status(status, step, reason, diverged=diverged)
    run_dir.log(f"{status} at step {step} {reason}".rstrip())
    return Outcome(status, step, reason)
