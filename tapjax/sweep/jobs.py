"""Jobs of a sweep: each job is one run.

A job may be started on any machine and any number of times; it resumes its run where the run ended.
The state of a sweep is stored only in its run directories and in the counts of failures (tallies).
A worker, the scheduler or the process that started the sweep may therefore die at any moment.
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
from tapjax.contract.lease import LEASE, InUseError, holder, take_over, watch
from tapjax.data.datasets import DataError
from tapjax.run.compilation_cache import keep_compiled

FAILURES = 3  # consecutive failures without progress after which a run is given up
OVER = ("DONE", "DIVERGED")
TALLIES = "attempts"  # folder of the tallies, next to the run directories
SWEEP = "sweep.json"  # file with the planned runs


class Job(NamedTuple):
    """A planned run.

    `name` is the name of its folder, `folder` the folder of the sweep, and `config` its config as
    JSON data.
    """

    name: str
    folder: str
    config: dict

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self.folder) / self.name

    @property
    def tally(self) -> Path:
        """The file that counts the failures of the run."""
        return tally_of(Path(self.folder), self.name)


class Policy(NamedTuple):
    """Settings for resuming existing runs.

    `allow_numeric_drift` and `extend` are those of `loop.run`. `lease` is the number of seconds
    without a heartbeat after which a run is taken over from the process that trains it.
    """

    allow_numeric_drift: bool = False
    extend: bool = False
    lease: float = LEASE


DEFAULT_POLICY = Policy()


class Result(NamedTuple):
    """Result of an attempt to carry out a job.

    `status` is DONE, DIVERGED or PREEMPTED as in STATUS.json; REFUSED if another attempt would not
    help; FAILED if the run is given up; or one of `AGAIN`, after which the job is tried again.
    """

    name: str
    status: str
    step: int = 0
    reason: str = ""


AGAIN = ("BROKEN", "BUSY", "LOST")  # it failed; another process trains it; its worker died


def tally_of(folder: Path, name: str) -> Path:
    """Return the path of the file that counts the failures of a run.

    Args:
      folder: folder of the sweep.
      name: name of the run.

    Returns:
      The path.
    """
    return folder / TALLIES / f"{name}.json"


def make_job(name: str, config, folder: Path) -> Job:
    """Build a job from a checked config.

    Args:
      name: name of the run.
      config: a valid config.
      folder: folder of the sweep.

    Returns:
      The Job.
    """
    return Job(name, str(Path(folder).resolve()), to_json(config))


@contextlib.contextmanager
def alone(folder: Path):
    """Let only one process at a time change the plan of a sweep.

    Args:
      folder: folder of the sweep.

    Yields:
      None, once this process holds the lock.
    """
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def planned(folder: Path) -> dict[str, int]:
    """Read the number of steps of every run that was ever planned in a sweep.

    Args:
      folder: folder of the sweep.

    Returns:
      Name of the run -> number of training steps; empty if nothing was planned.
    """
    path = folder / SWEEP
    return dict(read_json(path, {"steps": dict})["steps"]) if path.exists() else {}


def is_done(path: Path) -> bool:
    """Decide whether a run directory holds a finished run.

    Args:
      path: run directory.

    Returns:
      True if its status is DONE.
    """
    return _status(path).get("status") == "DONE"


def finished(job: Job) -> Result | None:
    """Return the result of a run that is over or whose directory is damaged.

    Only the status and the config of the run are read.

    Args:
      job: Job of the run.

    Returns:
      The Result; None if the run still has to be trained or refused.
    """
    try:
        status, path = _status(job.path), job.path / "config.json"
        if status.get("status") not in OVER or not path.is_file():
            return None
        old = read_json(path)
        wanted = with_former_steps(from_json(job.config), old, extend=False)
        if status.get("step") != old["steps"] and status["status"] == "DONE":
            return None  # an extension was requested, and has not begun
        if diff(to_json(from_json(old)), to_json(wanted)):
            return None  # the run is to be extended, or refused with a message
    except (RunError, ConfigError) as error:
        return Result(job.name, "FAILED", reason=str(error))
    return Result(job.name, status["status"], status.get("step", 0), status.get("reason", ""))


def train(
    job: Job,
    policy: Policy = DEFAULT_POLICY,
    progress: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Train or resume the run of a job.

    Exceptions are caught and reported in the Result.

    Args:
      job: Job of the run.
      policy: how to resume an existing run.
      progress: label of a progress bar on stderr; None for no bar.
      stopped: function that returns whether a signal requested to stop.

    Returns:
      The Result of this attempt.
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
    """Delete the failure counts of jobs, so that each one has all its attempts again.

    Args:
      jobs: jobs whose counts are deleted.
    """
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
    except Exception as error:  # a user-defined model may raise anything; the others continue
        _log(job, traceback.format_exc())
        step = _status(job.path).get("step", 0)
        return Result(job.name, "BROKEN", step, f"{type(error).__name__}: {error}")
    finally:
        jax.clear_caches()  # else the programs of hundreds of runs would fill the memory


def _next_tally(job):
    """Return the tally of the attempt that begins, and write it unless the run is given up.

    It counts the attempt as a failure in advance, because a process that dies cannot do so.
    """
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
