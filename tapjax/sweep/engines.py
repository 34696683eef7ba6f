"""Engines that carry out jobs: in this process one after another, or on Dask workers.

An engine is a function that takes jobs and returns an iterator of their Results, in any order.
"""

import functools
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tapjax.run.preemption import stop_on_signals
from tapjax.sweep.jobs import (
    AGAIN,
    DEFAULT_POLICY,
    OVER,
    Job,
    Policy,
    Result,
    finished,
    forget_failures,
    train,
)

PATIENCE = 600  # seconds to wait for a scheduler that does not answer
SHOWN = 60  # seconds until a shared folder has to show files of another machine
LOOPBACK = ("127.", "localhost", "[::1]")
POLL = 5  # seconds between checks of runs that other processes train


class EngineError(Exception):
    """An error that keeps an engine from working, such as no scheduler; says what to do."""


def carry_out(jobs: Sequence[Job], engine: Callable) -> Iterator[Result]:
    """Carry out every job to its end, even if workers or schedulers die.

    Args:
      jobs: jobs to carry out.
      engine: engine from `local` or `dask`.

    Yields:
      The final Result of each job, as it comes in. A Result with status PREEMPTED is the last one.

    Raises:
      EngineError: the engine cannot work.
    """
    over = {result.name: result for result in map(finished, jobs) if result}
    yield from over.values()
    waiting = [job for job in jobs if job.name not in over]
    forget_failures(waiting)
    while waiting:
        again = {}
        for result in engine(waiting):
            if result.status in AGAIN:
                again[result.name] = result.status
                continue
            yield result
            if result.status == "PREEMPTED":
                return
        waiting = [job for job in waiting if job.name in again]
        if waiting and set(again.values()) == {"BUSY"}:
            time.sleep(POLL)


def local(policy: Policy = DEFAULT_POLICY) -> Callable:
    """Return an engine that trains in this process, one job after another.

    Args:
      policy: how to resume existing runs.

    Returns:
      The engine, a function from jobs to an iterator of Results.
    """

    def engine(jobs: Sequence[Job]) -> Iterator[Result]:
        with stop_on_signals() as stop:
            for i, job in enumerate(jobs, 1):
                if stop.is_set():  # the signal came after the previous run had ended
                    yield Result(job.name, "PREEMPTED", reason=stop.reason)
                    return
                progress = f"[{i}/{len(jobs)}] {job.name}"
                result = train(job, policy, progress, stop.is_set)
                if result.status in AGAIN and stop.is_set():
                    result = Result(job.name, "PREEMPTED", result.step, stop.reason)
                yield result

    return engine


class Certificates(NamedTuple):
    """Paths of the PEM files with which a scheduler, its workers and this process authenticate."""

    ca: str
    certificate: str
    key: str


def dask(
    address: str, policy: Policy = DEFAULT_POLICY, certificates: Certificates | None = None
) -> Callable:
    """Return an engine that hands jobs to the workers of a Dask scheduler (extra `[cluster]`).

    If a worker dies, another one resumes its run. If the scheduler dies, the jobs that it was
    running count as lost, and the next round waits until the scheduler is back.

    Args:
      address: address of the scheduler, such as `tcp://127.0.0.1:8786`, or `tls://...` if it uses
        certificates.
      policy: how to resume existing runs.
      certificates: certificates for TLS; None for those that Dask's own configuration names.

    Returns:
      The engine, a function from jobs to an iterator of Results.

    Raises:
      EngineError: Dask is not installed, or `tls://` lacks certificates.
    """
    try:
        from distributed import Client, Security, as_completed
    except ImportError as error:
        raise EngineError("this engine needs Dask: pip install 'tapjax[cluster]'") from error
    connect = functools.partial(
        Client, address, security=_security(Security, address, certificates)
    )
    start = functools.partial(train, policy=policy)

    def engine(jobs: Sequence[Job]) -> Iterator[Result]:
        with _connected(connect, address) as client:
            futures = {client.submit(start, job, pure=False): job for job in jobs}
            for future in as_completed(futures, loop=client.loop):
                yield _result(future, futures.pop(future))

    return engine


def _security(make_security, address, certificates):
    """Return Dask's security settings; print a warning if a remote connection is not encrypted."""
    if not address.startswith("tls://"):
        if not address.removeprefix("tcp://").startswith(LOOPBACK):
            print(
                f"{address} is not encrypted: whoever reaches it can run code on the workers. Use "
                "it on a network you trust only, or tls:// (docs/security.md)",
                file=sys.stderr,
            )
        return None
    if certificates:
        ca, certificate, key = certificates
        return make_security(
            require_encryption=True,
            tls_ca_file=ca,
            tls_client_cert=certificate,
            tls_client_key=key,
        )
    security = make_security(require_encryption=True)
    if not (security.tls_ca_file and security.tls_client_cert):
        raise EngineError(f"{address} needs --tls_ca_file, --tls_cert and --tls_key")
    return security


def _connected(connect, address):
    """Connect to a scheduler; wait up to `PATIENCE` seconds if it does not answer at first."""
    try:
        client = connect(timeout=PATIENCE, set_as_default=False)
    except ssl.SSLError as error:
        raise EngineError(f"the certificates for {address} cannot be used: {error}") from error
    except (OSError, TimeoutError) as error:
        raise EngineError(
            f"no scheduler answers at {address} ({error}): start it and repeat the command"
        ) from error
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    crowded = [worker["name"] for worker in workers if worker["nthreads"] > 1]
    if crowded:
        client.close()
        raise EngineError(
            f"worker {crowded[0]} would train several runs at once: dask worker --nthreads 1"
        )
    message = f"{len(workers)} workers at {address}, dashboard {client.dashboard_link}"
    print(message, file=sys.stderr)
    return client


def _result(future, job):
    """Return the Result of a job, with status LOST if its worker or the scheduler died."""
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        result = future.result()
    except (CancelledError, KilledWorker, OSError) as error:
        return Result(job.name, "LOST", reason=str(error))
    except Exception as error:  # `train` itself raises no exceptions
        raise EngineError(
            f"a worker cannot train ({type(error).__name__}: {error}): it needs tapjax, and "
            "packages that the config names, in the same versions"
        ) from error
    if result.status in OVER and not _appears(job):
        raise EngineError(
            f"{job.path} was trained and is not here: do the workers share the folder?"
        )
    return result


def _appears(job):
    """Decide whether a finished run is visible here; wait for shared folders that lag behind."""
    until = time.monotonic() + SHOWN
    while not finished(job):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
