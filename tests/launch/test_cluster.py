"""Sweeps on a real Dask scheduler with real workers, which die in the middle."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.status import survey
from tests.conftest import optimised
from tests.tapjax.same import assert_same_run

pytest.importorskip("distributed", reason="needs the extra [cluster]")
pytestmark = [pytest.mark.slow, pytest.mark.fault]

ROOT = Path(__file__).parents[2]
CONFIG = ["--config=configs/tap/calibration.py", "--fixed=quick,seeds=2"]
# Runs with so many chunks that one can be met in the middle.
GRID = "--grid=arch=mlp:depth=1,width=8;config.steps=3000;seed_block=0:3"


@pytest.fixture(scope="module", autouse=True)
def environment():
    with optimised(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


def start(*command):
    """A process in a group of its own, that can be killed with its children."""
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )


def kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class Cluster:
    """A scheduler and its workers on this machine."""

    def __init__(self, scratch, protocol="tcp", certificates=()):
        self.protocol, self.certificates = protocol, certificates
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.scratch, self.started = scratch, []
        self.scheduler = self._scheduler()
        self.address = f"{protocol}://127.0.0.1:{self.port}"

    def _scheduler(self):
        options = ("--host", "127.0.0.1", "--port", self.port, "--dashboard-address", "127.0.0.1:0")
        options += ("--protocol", self.protocol, *self.certificates)
        return self.start("distributed.cli.dask_scheduler", *options)

    def start(self, *command):
        self.started.append(start(*command))
        return self.started[-1]

    def restart_scheduler(self):
        kill(self.scheduler)
        self.scheduler = self._scheduler()

    def add_worker(self):
        options = ("--nthreads", 1, "--dashboard-address", "127.0.0.1:0")
        options += ("--local-directory", self.scratch, *self.certificates)
        self.start("distributed.cli.dask_worker", self.address, *options)

    def sweep(self, folder, grid=GRID, options=()):
        engine = ("--engine=dask", f"--scheduler={self.address}", *options)
        return self.start("launch.sweep", *CONFIG, grid, f"--workdir={folder}", *engine)

    def worker_of(self, pid):
        """The worker one of whose processes has this number."""
        return next(process for process in self.started if os.getpgid(pid) == process.pid)


@contextlib.contextmanager
def running(*arguments, workers=2):
    cluster = Cluster(*arguments)
    for _ in range(workers):
        cluster.add_worker()
    try:
        yield cluster
    finally:
        for process in cluster.started:
            kill(process)


@pytest.fixture
def cluster(tmp_path):
    with running(tmp_path / "scratch") as cluster:
        yield cluster


def certificate(folder, name):
    """A key and a certificate that it has signed itself, as (certificate, key)."""
    cert, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    request += ["-subj", f"/CN={name}", "-out", cert, "-keyout", key]
    subprocess.run(request, check=True, capture_output=True)
    return cert, key


def of_sweep(cert, key):
    return f"--tls_ca_file={cert}", f"--tls_cert={cert}", f"--tls_key={key}"


def end(process):
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same sweep by one process, here."""
    folder = tmp_path_factory.mktemp("sweep") / "runs"
    code, _, err = end(start("launch.sweep", *CONFIG, GRID, f"--workdir={folder}"))
    assert code == 0, err
    return folder


def in_the_middle(folder, process, least=500):
    """Wait for a run that is under way: (name, number of the process that trains it)."""
    while process.poll() is None:
        rows = survey(folder) if (folder / "sweep.json").exists() else []
        for row in rows:
            if row["status"] == "RUNNING" and least <= row["step"] < 2500:
                return row["run"], int(row["holder"].split()[1])
        time.sleep(0.02)
    raise AssertionError(end(process))


def assert_same_sweep(expected, actual):
    names = sorted(path.parent.name for path in expected.glob("*/config.json"))
    assert len(names) == 3
    for name in names:
        assert_same_run(expected / name, actual / name)


@pytest.mark.long
def test_a_killed_worker_loses_nothing(undisturbed, cluster, tmp_path):
    folder = tmp_path / "runs"
    process = cluster.sweep(folder)
    name, pid = in_the_middle(folder, process)
    kill(cluster.worker_of(pid))
    cluster.add_worker()
    code, out, err = end(process)
    assert code == 0, err
    rows = {row["run"]: row for row in survey(folder)}
    assert rows[name]["interruptions"] == 1
    assert {(row["status"], row["failures"]) for row in rows.values()} == {("DONE", 0)}
    assert "[3/3]" in out and "workers at tcp://" in err and "dashboard http" in err
    assert "start at step" in (folder / name / "log.txt").read_text()
    assert_same_sweep(undisturbed, folder)


@pytest.mark.long
def test_a_scheduler_that_dies_twice_and_comes_back_loses_nothing(undisturbed, cluster, tmp_path):
    folder = tmp_path / "runs"
    process = cluster.sweep(folder)
    for _ in range(2):
        in_the_middle(folder, process)
        cluster.restart_scheduler()
        cluster.add_worker()  # workers end with their scheduler, as under a batch system
        cluster.add_worker()
    code, _, err = end(process)
    assert code == 0, err
    assert_same_sweep(undisturbed, folder)


def test_a_run_that_fails_three_times_is_reported_and_the_rest_go_on(cluster, tmp_path):
    folder, mine = tmp_path / "runs", "tests.launch.deadly"
    archs = f"{mine}:kills,{mine}:raises,mlp:depth=1,width=8"
    code, out, err = end(cluster.sweep(folder, grid=f"--grid=arch={archs}"))
    assert code == 1, err
    assert "arch=mlp-depth=1,width=8: DONE" in out
    assert f"failed: arch={mine}-kills: its process died 3 times at step 0" in err
    assert f"failed: arch={mine}-raises: model.name='{mine}:raises': ZeroDivisionError" in err
    assert '"failures": 3' in (folder / "attempts" / f"arch={mine}-kills.json").read_text()
    # What a user's code raises while it is traced would be raised again: it is tried once. Dask may
    # be trying it anew, if its result was still on the worker that died beside it.
    tally = folder / "attempts" / f"arch={mine}-raises.json"
    assert not tally.exists() or '"failures": 1' in tally.read_text()


def test_without_a_scheduler_that_is_said(tmp_path, monkeypatch):
    from tapjax.sweep import engines

    monkeypatch.setattr(engines, "PATIENCE", 0.5)
    with pytest.raises(engines.EngineError, match="no scheduler answers at tcp://127.0.0.1:1 "):
        list(engines.dask("tcp://127.0.0.1:1")([]))


def test_a_sweep_over_tls(tmp_path):
    cert, key = certificate(tmp_path, "ours")
    of_dask = ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    grid = "--grid=arch=mlp:depth=1,width=8"
    with running(tmp_path / "scratch", "tls", of_dask, workers=1) as cluster:
        code, out, err = end(cluster.sweep(tmp_path / "runs", grid, of_sweep(cert, key)))
        assert code == 0, err
        assert "[1/1]" in out and f"workers at {cluster.address}" in err
        strangers = of_sweep(*certificate(tmp_path, "theirs"))
        code, _, err = end(cluster.sweep(tmp_path / "others", grid, strangers))
        assert code == 1 and f"no scheduler answers at {cluster.address}" in err
        code, _, err = end(cluster.sweep(tmp_path / "others", grid))
        assert code == 1 and "needs --tls_ca_file, --tls_cert and --tls_key" in err


def test_certificates_are_looked_for_first(tmp_path):
    command = ("launch.sweep", *CONFIG, GRID, f"--workdir={tmp_path}")
    tls = ("--engine=dask", "--scheduler=tls://127.0.0.1:1", "--tls_ca_file=/no/ca.pem")
    code, _, err = end(start(*command, *tls))
    assert (code, err) == (
        2, "error: --tls_ca_file=/no/ca.pem: there is no such file; all three are needed\n"
    )  # fmt: skip
    code, _, err = end(start(*command, "--tls_key=key.pem"))
    assert code == 2 and "need --scheduler=tls://HOST:PORT" in err


def test_without_encryption_that_is_said(capsys):
    from tapjax.sweep import engines

    engines.dask("tcp://10.1.2.3:8786")
    assert "10.1.2.3:8786 is not encrypted" in capsys.readouterr().err
    engines.dask("tcp://127.0.0.1:8786")
    assert not capsys.readouterr().err


@pytest.mark.long
@pytest.mark.long
def test_a_worker_that_is_stopped_loses_its_run(undisturbed, cluster, tmp_path):
    folder = tmp_path / "runs"
    process = cluster.sweep(folder, options=("--lease=15",))
    name, pid = in_the_middle(folder, process)
    stopped = cluster.worker_of(pid)
    os.killpg(stopped.pid, signal.SIGSTOP)  # the worker, and what would start it again
    second = start("launch.sweep", *CONFIG, GRID, f"--workdir={folder}", "--lease=15")
    code, _, err = end(second)
    assert code == 0, err
    assert "taken over from process" in (folder / name / "log.txt").read_text()
    kill(process)
    assert_same_sweep(undisturbed, folder)
