"""Lease of a run directory: the permission of one process to write in it.

The process holds a lock on RUN/lock, which is released when the process ends. A process that is
stopped, or whose machine has frozen, keeps its lock. However, the modification time of the file,
which is its heartbeat, no longer changes. Another process may then take the run over. It kills the
silent process if that runs on the same machine, and replaces the lock by a new file. Before every
write, a process confirms that the file is still its own, so that a silent process that wakes up
stops. A write that had already begun may still complete. It writes the same bits, because the run
is the same.
"""

import contextlib
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tapjax.contract.files import RunError
from tapjax.contract.layout import replace_file

BEAT = 5  # seconds between heartbeats
LEASE = 180  # seconds without a heartbeat until a run may be taken over; NFS caches last up to 60
STUCK = 4 * 3600  # seconds without a finished chunk after which a process stops its heartbeats
ATTEMPTS = 5  # number of attempts to take a lock, because `holder` has it for an instant
MARK = "gives a heartbeat"  # older versions give no heartbeat; their runs are not taken over


class RunDirError(RunError):
    """Error for a directory that cannot take a run; the message says why and what to do."""


class InUseError(RunDirError):
    """Error for a run that another process trains."""


class Lease:
    """Permission to write in a run directory, made by `locked`."""

    def __init__(self, path: Path, file):
        self._path, self._file, self._confirmed = path, file, time.monotonic()

    def confirm(self) -> None:
        """Check that no other process has taken the run over; must be called before every write.

        Raises:
          InUseError: if another process has taken the run over, or the lock was removed.
        """
        try:
            ours = os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path / "lock"))
        except FileNotFoundError as error:
            raise InUseError(f"{self._path / 'lock'} was removed: this process stops") from error
        if not ours:
            other = holder(self._path) or "another process, which has ended"
            raise InUseError(f"{self._path} was taken over by {other}: this process stops")
        self._confirmed = time.monotonic()

    def beat_until(self, end: threading.Event) -> None:
        """Give heartbeats until an event is set, as long as the run makes progress.

        Args:
          end: event that ends the heartbeats.
        """
        while not end.wait(BEAT):
            if time.monotonic() - self._confirmed < STUCK:
                with contextlib.suppress(OSError):
                    os.utime(self._file.fileno())


@contextlib.contextmanager
def locked(path: Path):
    """Hold the lock of a run directory and give heartbeats.

    Args:
      path: path of the run directory.

    Yields:
      A Lease.

    Raises:
      RunDirError: if another process holds the lock, or the directory cannot be written.
    """
    try:
        file = open(path / "lock", "a+")
    except OSError as error:
        raise RunDirError(f"cannot write in {path}: {error.strerror}") from error
    with file:
        _take(file, path)
        lease, end = Lease(path, file), threading.Event()
        lease.confirm()
        thread = threading.Thread(target=lease.beat_until, args=(end,), daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            end.set()
            thread.join()


def holder(path: Path) -> str:
    """Return the process that holds the lock of a run directory.

    Args:
      path: path of the run directory.

    Returns:
      Description such as `process 7 on here`; empty if no process holds the lock.
    """
    try:
        with open(path / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ""
    except BlockingIOError:
        return _content(path)[0] or "another process"
    except OSError:
        return ""  # there is no lock or it cannot be read: no process here trains the run


def watch(path: Path, seconds: float, stopped: Callable[[], bool] = lambda: False):
    """Wait for a heartbeat of the process that holds a lock.

    Args:
      path: path of the run directory.
      seconds: maximum time to wait, measured with the clock of this process only.
      stopped: function that returns True to end the wait.

    Returns:
      The last heartbeat if the process gave no new one during this time. None if it gave one, if it
      gives no heartbeats at all, if it has ended, or if `stopped` ended the wait.
    """
    until, seen = time.monotonic() + seconds, _heartbeat(path)
    if _content(path)[1] != MARK:
        return None
    while time.monotonic() < until:
        time.sleep(min(1, seconds))
        if stopped() or not holder(path) or _heartbeat(path) != seen:
            return None
    return seen


def take_over(path: Path, heartbeat) -> str:
    """Replace the lock of a process that gives no heartbeat, so that another can take the run.

    Args:
      path: path of the run directory.
      heartbeat: last heartbeat, from `watch`.

    Returns:
      Description of the process that held the lock, as from `holder`.

    Raises:
      InUseError: if there has been another heartbeat since.
      RunDirError: if the directory cannot be written.
    """
    silent = holder(path)
    if _heartbeat(path) != heartbeat:
        raise InUseError(f"{path} is in use by {silent or 'another process'}")
    try:
        _end_if_here(path)
        replace_file(path / "lock", lambda file: None)
    except OSError as error:
        raise RunDirError(f"cannot write in {path}: {error.strerror}") from error
    return silent


def _end_if_here(path):
    """Kill the holder of the lock if it is a process of this machine that has the lock open."""
    words = _content(path)[0].split()
    if len(words) != 4 or words[3] != socket.gethostname():
        return
    lock, files = os.stat(path / "lock"), Path("/proc", words[1], "fd")
    with contextlib.suppress(OSError):  # no such process here, or it belongs to another user
        if any(os.path.samestat(lock, file.stat()) for file in files.iterdir()):
            os.kill(int(words[1]), signal.SIGKILL)


def _heartbeat(path):
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(path / "lock")
        return found.st_ino, found.st_mtime_ns


def _content(path):
    """Read which process took the lock last, and the mark that it gives heartbeats."""
    try:
        lines = (path / "lock").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return [*lines, "", ""][:2]


def _take(lock, path):
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == ATTEMPTS - 1:
                raise InUseError(f"{path} is in use by {holder(path)}") from None
            time.sleep(0.05)
        except OSError as error:
            raise RunDirError(f"{path}: files cannot be locked here: {error.strerror}") from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n{MARK}\n")
    lock.flush()
