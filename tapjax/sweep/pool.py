"""Engine that trains several runs at the same time, each in a process of this machine."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from multiprocessing.connection import wait

from tapjax.run.preemption import stop_on_signals
from tapjax.sweep.jobs import AGAIN, DEFAULT_POLICY, Job, Policy, Result, train

POLL = 0.5  # seconds between two checks for signals
MOST = 4  # processes that `default_processes` returns at most; each holds its own data


def default_processes() -> int:
    """Return how many runs to train at the same time: one per core up to 4, one with accelerators.

    JAX is not loaded, because it would reserve the memory of an accelerator.
    """
    cpu_only = os.environ.get("JAX_PLATFORMS", "") == "cpu" or not entry_points(group="jax_plugins")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores, MOST) if cpu_only else 1


def processes(count: int, policy: Policy = DEFAULT_POLICY) -> Callable:
    """Return an engine that trains in `count` processes, one run in each.

    A process uses all cores, as a run that is trained alone does, so that the bits are the same.
    If a process dies, its job counts as lost and another process replaces it.

    Args:
      count: number of processes.
      policy: how to resume existing runs.

    Returns:
      The engine, a function from jobs to an iterator of Results.
    """
    context = multiprocessing.get_context("spawn")

    def begin():
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, policy), daemon=True)
        with _holding_ctrl_c():
            process.start()
        theirs.close()  # so that the death of the process ends the connection
        return ours, process

    def engine(jobs: Sequence[Job]) -> Iterator[Result]:
        waiting, busy = deque(jobs), {}  # connection -> (process, job)
        with stop_on_signals() as stop:
            try:
                while (waiting and not stop.is_set()) or busy:
                    while waiting and len(busy) < count and not stop.is_set():
                        connection, process = begin()
                        busy[connection] = process, waiting.popleft()
                        _send(connection, busy[connection][1])
                    if stop.is_set():
                        _stop(busy)
                    for connection in wait(list(busy), POLL):
                        process, job = busy.pop(connection)
                        result = _received(connection, job, stop)
                        if waiting and process.is_alive() and not stop.is_set():
                            busy[connection] = process, waiting.popleft()
                            _send(connection, busy[connection][1])
                        else:
                            connection.close()  # the process ends
                        yield result
                if waiting:
                    yield Result(waiting[0].name, "PREEMPTED", reason=stop.reason)
            except KeyboardInterrupt:  # the second Ctrl-C: stop at once
                for process, _ in busy.values():
                    process.kill()
                raise
            finally:
                _stop(busy)
                for connection, (process, _) in busy.items():
                    connection.close()  # without it, the process would wait for another job
                    process.join()

    return engine


@contextlib.contextmanager
def _holding_ctrl_c():
    """Deliver a Ctrl-C only afterwards, and never to processes that are started meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(connection, job):
    with contextlib.suppress(OSError):  # the process died; receiving will tell
        connection.send(job)


def _received(connection, job, stop):
    try:
        result = connection.recv()
    except (EOFError, OSError):
        result = Result(job.name, "LOST", reason="its process died")
    if stop.is_set() and result.status in (*AGAIN, "PREEMPTED"):
        return Result(job.name, "PREEMPTED", result.step, stop.reason)
    return result


def _stop(busy):
    """Let each process stop at the end of its chunk, as SIGTERM does."""
    for process, _ in busy.values():
        process.terminate()


def _serve(connection, policy):
    """Train the jobs that the connection gives, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process passes a Ctrl-C on as SIGTERM
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(train(connection.recv(), policy))


def _end_with_parent():
    """Stop at the end of the chunk, as after SIGTERM, if the main process dies."""
    wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
