"""Where jobs are carried out: here, one after another, or by the workers of a Dask scheduler.

An engine is a function from jobs to an iterator of their Results, in any order.
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

PATIENCE = 600  # seconds that a scheduler may be away
SHOWN = 60  # seconds that a shared folder may take to show what another machine wrote
LOOPBACK = ("127.", "localhost", "[::1]")
POLL = 5  # seconds between looks at runs that other processes train


class EngineError(Exception):
    """No worker can be reached; the message says what to do."""


def carry_out(jobs: Sequence[Job], engine: Callable) -> Iterator[Result]:
    """Bring every job to its end, whatever happens to workers and schedulers on the way.

    Args:
      jobs: to be done.
      engine: from `local` or `dask`.

    Yields:
      The final Result of each, as it comes in; PREEMPTED is the last one.

    Raises:
      EngineError: the engine cannot work at all.
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
    """An engine that trains in this process, one job after another."""

    def engine(jobs: Sequence[Job]) -> Iterator[Result]:
        with stop_on_signals() as stop:
            for i, job in enumerate(jobs, 1):
                if stop.is_set():  # it came too late for the run before
                    yield Result(job.name, "PREEMPTED", reason=stop.reason)
                    return
                progress = f"[{i}/{len(jobs)}] {job.name}"
                result = train(job, policy, progress, stop.is_set)
                if result.status in AGAIN and stop.is_set():
                    result = Result(job.name, "PREEMPTED", result.step, stop.reason)
                yield result

    return engine


class Certificates(NamedTuple):
    """Paths of PEM files by which a scheduler, its workers and this process know each other."""

    ca: str
    certificate: str
    key: str


def dask(
    address: str, policy: Policy = DEFAULT_POLICY, certificates: Certificates | None = None
) -> Callable:
    """An engine that hands jobs to the workers of a Dask scheduler (extra `[cluster]`).

    A worker that dies has its run resumed by another. If the scheduler dies, the jobs under way
    count as lost, and the next round waits for it to come back.

    Args:
      address: such as `tcp://127.0.0.1:8786`, or `tls://...` of a scheduler with certificates.
      policy: how to resume runs that exist.
      certificates: for TLS; by default those that Dask's own configuration names.

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
    """What Dask needs to encrypt; a warning where nothing is encrypted."""
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
    """A client of a scheduler that may have to come back first."""
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
    """What a job returned, or LOST with its worker or the scheduler."""
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        result = future.result()
    except (CancelledError, KilledWorker, OSError) as error:
        return Result(job.name, "LOST", reason=str(error))
    except Exception as error:  # `train` itself raises nothing
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
    """Whether a finished run is seen here; shared folders may take a while to show it."""
    until = time.monotonic() + SHOWN
    while not finished(job):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
