"""Runs as jobs: one may be started anywhere and any number of times, and goes on where it was.

Nothing but run directories and a tally of failures carries a sweep's state, so that a worker, the
scheduler or the process that started the sweep may die at any moment.
"""

import contextlib
import fcntl
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tapjax.config.schema import ConfigError, diff, from_json, to_json, with_former_steps
from tapjax.contract.files import RunError, read_json
from tapjax.contract.layout import write_json
from tapjax.data.datasets import DataError
from tapjax.run.compilation_cache import keep_compiled
from tapjax.store.lease import LEASE, InUseError, holder, take_over, watch

FAILURES = 3  # in a row, without a step gained, until a run is given up
OVER = ("DONE", "DIVERGED")
TALLIES = "attempts"  # folder of the tallies, beside the run directories
SWEEP = "sweep.json"  # what is planned


class Job(NamedTuple):
    """A run to be: its folder's name, the sweep's folder, its config as JSON data."""

    name: str
    folder: str
    config: dict

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self.folder) / self.name

    @property
    def tally(self) -> Path:
        """Where it is noted how often the run failed."""
        return tally_of(Path(self.folder), self.name)


class Policy(NamedTuple):
    """How to resume a run that exists.

    `allow_numeric_drift` and `extend` are those of `loop.run`. `lease` is the number of seconds
    without a heartbeat after which a run is taken from the process that trains it.
    """

    allow_numeric_drift: bool = False
    extend: bool = False
    lease: float = LEASE


DEFAULT_POLICY = Policy()


class Result(NamedTuple):
    """How an attempt ended.

    `status` is DONE, DIVERGED or PREEMPTED as in STATUS.json; REFUSED, if trying again is no use;
    FAILED, if it failed once too often; or one of `AGAIN`.
    """

    name: str
    status: str
    step: int = 0
    reason: str = ""


AGAIN = ("BROKEN", "BUSY", "LOST")  # it failed; another process trains it; its worker is gone


def tally_of(folder: Path, name: str) -> Path:
    """The file that counts a run's failures."""
    return folder / TALLIES / f"{name}.json"


def make_job(name: str, config, folder: Path) -> Job:
    """A job from a checked config."""
    return Job(name, str(Path(folder).resolve()), to_json(config))


@contextlib.contextmanager
def alone(folder: Path):
    """Let one process at a time change what is planned in a sweep's folder."""
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def planned(folder: Path) -> dict[str, int]:
    """The steps of every run that was ever planned in a sweep's folder, by name."""
    path = folder / SWEEP
    return dict(read_json(path, {"steps": dict})["steps"]) if path.exists() else {}


def is_done(path: Path) -> bool:
    """Whether a run directory holds a finished run."""
    return _status(path).get("status") == "DONE"


def finished(job: Job) -> Result | None:
    """The result of a run that is over or whose directory is damaged, or None.

    Nothing is loaded to tell.
    """
    try:
        status, path = _status(job.path), job.path / "config.json"
        if status.get("status") not in OVER or not path.is_file():
            return None
        old = read_json(path)
        wanted = with_former_steps(from_json(job.config), old, extend=False)
        if status.get("step") != old["steps"] and status["status"] == "DONE":
            return None  # it was to go on, and has not begun to
        if diff(to_json(from_json(old)), to_json(wanted)):
            return None  # to go on with more steps, or to be refused with the difference
    except (RunError, ConfigError) as error:
        return Result(job.name, "FAILED", reason=str(error))
    return Result(job.name, status["status"], status.get("step", 0), status.get("reason", ""))


def train(
    job: Job,
    policy: Policy = DEFAULT_POLICY,
    progress: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Train a run, or go on with it; whatever happens becomes a Result.

    Args:
      job: a Job.
      policy: how to resume a run that exists.
      progress: label of a progress bar on stderr; None for no bar.
      stopped: whether a signal has asked to stop.

    Returns:
      A Result.
    """
    over = finished(job)
    if over:
        return over
    busy = holder(job.path)
    heartbeat = watch(job.path, policy.lease, stopped) if busy else None
    if busy and heartbeat is None:
        return Result(job.name, "BUSY", reason=busy)
    try:
        if busy:
            silent = take_over(job.path, heartbeat)
            _log(job, f"taken over from {silent}, silent for {policy.lease:g} s\n")
        tally = _next_tally(job)
    except InUseError as error:
        return Result(job.name, "BUSY", reason=str(error))
    except RunError as error:
        return Result(job.name, "FAILED", reason=str(error))
    if tally["failures"] > FAILURES:
        return Result(job.name, "FAILED", tally["step"], tally["reason"])
    result = _attempt(job, policy, progress)
    if result.status == "BROKEN":
        _write_tally(job, tally | {"reason": result.reason})
        return result._replace(status="FAILED") if tally["failures"] == FAILURES else result
    job.tally.unlink(missing_ok=True)
    return result


def forget_failures(jobs) -> None:
    """Give every job all its attempts again."""
    for job in jobs:
        job.tally.unlink(missing_ok=True)


def _attempt(job, policy, progress):
    import jax

    from tapjax.run import loop

    keep_compiled()
    try:
        config = from_json(job.config)
        outcome = loop.run(
            config,
            job.path,
            allow_numeric_drift=policy.allow_numeric_drift,
            extend=policy.extend,
            progress=progress,
        )
        return Result(job.name, *outcome)
    except InUseError as error:
        return Result(job.name, "BUSY", reason=str(error))
    except (ConfigError, DataError, RunError) as error:
        return Result(job.name, "REFUSED", reason=str(error))
    except Exception as error:  # a model of the user's own may raise anything; the rest go on
        _log(job, traceback.format_exc())
        step = _status(job.path).get("step", 0)
        return Result(job.name, "BROKEN", step, f"{type(error).__name__}: {error}")
    finally:
        jax.clear_caches()  # the programs of hundreds of runs would fill the memory


def _next_tally(job):
    """The tally of the attempt that begins; a process that dies leaves it behind."""
    step = _status(job.path).get("step", 0)
    old = read_json(job.tally) if job.tally.exists() else {"failures": 0, "step": step}
    failures = 0 if step > old["step"] else old["failures"]
    reason = old.get("reason") or f"its process died {failures} times at step {step}"
    tally = {"failures": failures + 1, "step": step, "reason": ""}
    if failures == FAILURES:
        return tally | {"reason": reason}
    _write_tally(job, tally)
    return tally


def _write_tally(job, tally):
    job.tally.parent.mkdir(parents=True, exist_ok=True)
    write_json(job.tally, tally)


def _status(path):
    status = path / "STATUS.json"
    return read_json(status) if status.exists() else {}


def _log(job, text):
    if job.path.is_dir():
        with open(job.path / "log.txt", "a") as file:
            file.write(text)
