"""Who may write in a run directory: one process, for as long as it gives signs of life.

The process holds a lock on RUN/lock, which ends with it. A process that is stopped, or whose
machine has frozen, keeps its lock; but the modification time of the file, its heartbeat, no longer
changes. Another process may then take the run over: it ends the silent one if that is on the same
machine, and puts a new file in place of the lock. A process confirms before it writes that the
file is still its own, so that a silent one that wakes up stops. A write that it was in the middle
of may still end; it is of the same bits, since the run is the same.
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
LEASE = 180  # seconds without one until a run may be taken over; caches of NFS last up to 60
STUCK = 4 * 3600  # seconds without a finished chunk until a process gives no more heartbeats
ATTEMPTS = 5  # to take a lock: `holder` has it for an instant
MARK = "gives a heartbeat"  # processes of older versions do not, and are left alone


class RunDirError(RunError):
    """The directory cannot take this run; the message says why and what to do."""


class InUseError(RunDirError):
    """Another process trains this run."""


class Lease:
    """The permission to write in a directory. Made by `locked`."""

    def __init__(self, path: Path, file):
        self._path, self._file, self._confirmed = path, file, time.monotonic()

    def confirm(self) -> None:
        """Make sure that no other process has taken the run over; call it before writing.

        Raises:
          InUseError: one has.
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
        """Give heartbeats until an event, while the run goes on."""
        while not end.wait(BEAT):
            if time.monotonic() - self._confirmed < STUCK:
                with contextlib.suppress(OSError):
                    os.utime(self._file.fileno())


@contextlib.contextmanager
def locked(path: Path):
    """Hold a directory's lock, and give heartbeats.

    Args:
      path: a run directory.

    Yields:
      A Lease.

    Raises:
      RunDirError: another process holds it, or the directory cannot be written.
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
    """Which process holds a directory's lock, such as `process 7 on here`; empty if none does."""
    try:
        with open(path / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ""
    except BlockingIOError:
        return _content(path)[0] or "another process"
    except OSError:
        return ""  # there is no lock, or it cannot be read: nobody here trains it


def watch(path: Path, seconds: float, stopped: Callable[[], bool] = lambda: False):
    """Wait for a heartbeat of the process that holds a lock.

    Args:
      path: a run directory.
      seconds: to wait at most. Only the clock of this process counts.
      stopped: ends the wait.

    Returns:
      The last heartbeat of a process that gave none for so long; None if there was one, if the
      process gives none at all or has ended, or if the wait was ended.
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
    """Let another process take a run whose holder is silent.

    Args:
      path: a run directory.
      heartbeat: the last one, from `watch`.

    Returns:
      The process that held it.

    Raises:
      InUseError: there has been another heartbeat since.
      RunDirError: the directory cannot be written.
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
    """Kill the holder if it is a process of this machine that has the lock open."""
    words = _content(path)[0].split()
    if len(words) != 4 or words[3] != socket.gethostname():
        return
    lock, files = os.stat(path / "lock"), Path("/proc", words[1], "fd")
    with contextlib.suppress(OSError):  # it is not here, or not this user's
        if any(os.path.samestat(lock, file.stat()) for file in files.iterdir()):
            os.kill(int(words[1]), signal.SIGKILL)


def _heartbeat(path):
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(path / "lock")
        return found.st_ino, found.st_mtime_ns


def _content(path):
    """The process that took the lock last, and whether it gives heartbeats."""
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
