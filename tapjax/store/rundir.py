"""Writer of the run directory: identity, lock, records and status of a run."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tapjax.config.schema import diff, flatten, from_json, to_json
from tapjax.config.validate import schedules_of_steps
from tapjax.contract.files import RunError, read_json, read_npz
from tapjax.contract.layout import (
    MANIFEST,
    is_scratch,
    record_name,
    record_steps,
    replace_file,
    write_json,
    write_npz,
)
from tapjax.contract.lease import InUseError, Lease, RunDirError, locked
from tapjax.store.identity import differences

# Files that are written in place, and folders in which a run writes.
WRITTEN = ("lock", "log.txt", "records", "ckpt", "pins", "snapshots", "orphaned", "monitor")
WRITTEN += ("measures", "interventions")
RESERVE = 16_384  # bytes reserved for the final STATUS.json of a run whose disk is full


class CheckpointError(Exception):
    """Error for a checkpoint that cannot be used or could not be written."""


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file.

    Args:
      path: path of the file.
      names: names of the arrays to read; None for all.

    Returns:
      Name -> array.

    Raises:
      RunError: if the file is damaged or lacks one of the arrays.
    """
    found = read_npz(path, lambda name: names is None or name in names)
    missing = set(names or ()) - set(found)
    if missing:
        raise RunDirError(f"{path} is damaged: it has no {min(missing)!r}")
    return found


class RunDir:
    """Open, locked run directory, made by `open_run_dir`."""

    def __init__(self, path: Path, lease: Lease, manifest: Mapping[str, dict]):
        self.path, self.lease, self._manifest = path, lease, manifest
        (path / "records").mkdir(exist_ok=True)
        for file in (*path.iterdir(), *(path / "records").iterdir()):
            if is_scratch(file):
                file.unlink()

    @contextlib.contextmanager
    def failure_noted(self):
        """Set the status to FAILED if the code in this context fails, even if the disk is full.

        A KeyboardInterrupt sets the status to PREEMPTED. It is raised again with a message that
        says at which step the run stopped. The status of a run that is DONE is kept.
        """
        reserve = self.path / "reserve"
        try:
            replace_file(reserve, lambda file: file.write(os.urandom(RESERVE)))
            yield
        except InUseError:
            raise  # the status now belongs to the other process
        except KeyboardInterrupt as error:
            step = self.status.get("step", 0)
            self.set_status("PREEMPTED", step, "Ctrl-C")
            raise KeyboardInterrupt(f"stopped at step {step}; the same command resumes") from error
        except Exception as error:
            reserve.unlink(missing_ok=True)
            if self.status.get("status") == "DONE":
                raise  # the run could not be extended, and its results stay valid
            with contextlib.suppress(OSError, RunError):  # STATUS.json itself may be damaged
                self.set_status("FAILED", self.status.get("step", 0), str(error))
            raise
        finally:
            reserve.unlink(missing_ok=True)

    @property
    def checkpoints(self) -> Path:
        """Folder of the latest checkpoints."""
        return self.path / "ckpt"

    @property
    def pins(self) -> Path:
        """Folder of the pinned checkpoints."""
        return self.path / "pins"

    def write_json(self, name: str, value) -> None:
        """Write or replace a JSON file of the run directory."""
        self.lease.confirm()
        write_json(self.path / name, value)

    def write_record(self, first_step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of one chunk atomically."""
        self.lease.confirm()
        write_npz(self.path / "records" / record_name(first_step), dict(arrays))

    def begin(self, step: int, interruptions: int) -> None:
        """Record that training starts at a step, and write the manifest if the run is extended.

        Args:
          step: step from which training starts.
          interruptions: number of interruptions so far.
        """
        self.set_status("RUNNING", step, interruptions=interruptions)
        for name in ("model.json", "config.json"):  # they differ if the run is extended
            if read_json(self.path / name) != self._manifest[name]:
                self.write_json(name, self._manifest[name])
        self.log(f"start at step {step}")

    def read_last_record(self) -> tuple[int, dict[str, np.ndarray]]:
        """Read the first step and the arrays of the last record."""
        first, path = list(record_steps(self.path / "records").items())[-1]
        return first, read_arrays(path)

    def read_records(self, *names: str) -> Iterator[dict[str, np.ndarray]]:
        """Read arrays of each record file, in the order of the steps.

        Args:
          *names: names of the arrays.

        Yields:
          Name -> array, one dict per file.

        Raises:
          RunError: if a file is damaged.
        """
        for path in record_steps(self.path / "records").values():
            yield read_arrays(path, names)

    def check_records(self, last: int, width: int) -> None:
        """Check that the records hold every step before a given one, without a gap.

        Args:
          last: the given step.
          width: number of steps per recorded scalar.

        Raises:
          RunError: if records are missing or damaged.
        """
        end = 0
        for arrays in self.read_records("step"):
            if arrays["step"][0] > end:
                break
            end = int(arrays["step"][-1]) + width
        if end < last:
            raise RunDirError(
                f"{self.path}: a record is missing, that of step {end}: put the file back, or "
                "train the run anew in another --workdir"
            )

    def discard_from(self, step: int) -> None:
        """Move the records at or after a step to the folder `orphaned`.

        The run resumes from that step and writes these records again.

        Args:
          step: step from which the run resumes.
        """
        self.lease.confirm()
        for first, path in record_steps(self.path / "records").items():
            if first >= step:
                (self.path / "orphaned").mkdir(exist_ok=True)
                os.replace(path, self.path / "orphaned" / path.name)

    @property
    def status(self) -> dict:
        """Content of STATUS.json; empty if the file does not exist yet."""
        path = self.path / "STATUS.json"
        return read_json(path) if path.exists() else {}

    def set_status(self, name: str, step: int, reason: str = "", **fields) -> None:
        """Replace STATUS.json, and keep the values of fields that are not given.

        Args:
          name: one of `layout.STATUSES`.
          step: number of training steps done.
          reason: reason of the status, for the user.
          **fields: further fields to set.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        update = {"status": name, "step": step, "reason": reason, "time": now}
        self.write_json("STATUS.json", self.status | update | fields)

    def log(self, message: str) -> None:
        """Append a line to log.txt."""
        self.lease.confirm()
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with open(self.path / "log.txt", "a") as file:
            file.write(f"{now} {message}\n")


@contextlib.contextmanager
def open_run_dir(
    path: Path,
    manifest: Mapping[str, dict],
    resume: str = "auto",
    allow_numeric_drift: bool = False,
):
    """Lock a directory for one run and check that it belongs to this run.

    Args:
      path: path of the run directory; the directory is made if it is missing.
      manifest: contents of env.json, data.json, model.json and config.json.
      resume: `auto`, `must` (the run has to exist) or `never` (the run must not exist).
      allow_numeric_drift: whether to resume even if the bits of the run may differ; see
        identity.py.

    Yields:
      A RunDir.

    Raises:
      RunDirError: if the directory is locked, belongs to another config, or cannot be resumed as
        requested.
    """
    path = Path(path).resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirError(f"cannot write in {path}: {error.strerror}") from error
    check_links(path)
    with locked(path) as lease:
        _check_or_create(path, manifest, resume, allow_numeric_drift)
        yield RunDir(path, lease, manifest)


def check_links(path: Path) -> None:
    """Raise an error if a run directory contains links through which a run would write elsewhere.

    Args:
      path: path of the run directory.

    Raises:
      RunDirError: if a file or folder in which a run writes is a symbolic link.
    """
    links = [name for name in WRITTEN if (path / name).is_symlink()]
    if links:
        raise RunDirError(f"{path / links[0]} is a link: a run writes inside its directory only")


def _check_or_create(path, manifest, resume, allow_numeric_drift):
    exists = (path / "config.json").exists()
    if exists and resume == "never":
        raise RunDirError(f"{path} already holds a run: choose another --workdir")
    if not exists and resume == "must":
        raise RunDirError(f"{path} holds no run to resume")
    if not exists:
        # Files left behind by a start that was killed are not unknown files.
        ours = {"lock", *MANIFEST}
        strangers = [p.name for p in path.iterdir() if p.name not in ours and not is_scratch(p)]
        if strangers:
            raise RunDirError(f"{path} is neither empty nor a run: it holds {strangers[0]!r}")
        for name in MANIFEST:
            write_json(path / name, manifest[name])
        return
    old = read_manifest(path)
    before, after = to_json(from_json(old["config.json"])), manifest["config.json"]
    changed = diff(before, after)
    length = {"steps": 0, "former_steps": []}
    longer = before["steps"] < after["steps"] and before | length == after | length
    if longer:
        _check_extension(path, before, after)
    elif changed:
        raise RunDirError(
            f"{path} was started with another config ({'; '.join(changed)}): choose another "
            "--workdir, or the old values"
        )
    check_same(path, old, manifest, allow_numeric_drift)


def _check_extension(path, before, after):
    """Refuse an extension if the steps so far would differ in the longer run."""
    tasks = before.get("tasks", {}).get("steps", 0)
    schedules = schedules_of_steps(flatten(before))
    steps = f"steps: {before['steps']} -> {after['steps']}"
    if tasks:
        raise RunDirError(
            f"{path} has {before['steps'] // tasks} tasks, which are drawn and recorded together "
            f"({steps}): choose another --workdir"
        )
    if schedules and before["former_steps"] == after["former_steps"]:
        raise RunDirError(
            f"{path} would have had other learning rates from its start ({steps}, "
            f"{', '.join(schedules)}): pass --extend to continue with the rates of the longer "
            "schedule, or choose another --workdir"
        )


def read_manifest(path: Path) -> dict[str, dict]:
    """Read the files that describe the run of a run directory.

    Args:
      path: path of the run directory.

    Returns:
      File name -> JSON data of env.json, data.json, model.json and config.json.

    Raises:
      RunError: if the path is not a run directory or a file is damaged.
    """
    if not (path / "config.json").is_file():
        raise RunDirError(f"{path} is not a run directory (no config.json in it)")
    return {name: read_json(path / name) for name in MANIFEST}


def check_same(path: Path, old, new, allow_numeric_drift: bool) -> None:
    """Raise an error if the data of a run has changed or its bits would differ from now on.

    Args:
      path: path of the run directory.
      old: contents of the run's manifest.
      new: contents that this process would write.
      allow_numeric_drift: whether to accept that the bits differ.

    Raises:
      RunDirError: if the run cannot be resumed; the message names the differences.
    """
    changed = diff(old["data.json"], new["data.json"])
    if changed:
        raise RunDirError(f"the data changed since {path} was started ({changed[0]})")
    drift = differences(old["env.json"], new["env.json"])
    if drift and not allow_numeric_drift:
        raise RunDirError(
            f"{path} would not continue bit for bit ({'; '.join(drift)}): go back to the old "
            "environment or pass --allow_numeric_drift"
        )
