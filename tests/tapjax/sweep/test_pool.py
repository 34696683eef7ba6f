"""Runs that are trained at the same time, each in a process of this machine."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from launch.training import here
from tapjax.contract.files import read_json
from tapjax.contract.layout import record_steps
from tapjax.run import loop
from tapjax.sweep import pool
from tapjax.sweep.engines import carry_out
from tapjax.sweep.jobs import make_job
from tapjax.sweep.pool import default_processes, processes

pytestmark = pytest.mark.slow


def jobs_of(tiny, folder, names, steps=40):
    tiny.steps = steps
    return [make_job(name, tiny, folder) for name in names]


def records(path):
    return [dict(np.load(file)) for file in record_steps(path / "records").values()]


def test_runs_have_the_bits_of_a_run_that_is_alone(tiny, tmp_path):
    jobs = jobs_of(tiny, tmp_path, "abc")
    results = list(carry_out(jobs, processes(2)))
    assert sorted((r.name, r.status, r.step) for r in results) == [(n, "DONE", 40) for n in "abc"]
    loop.run(tiny, tmp_path / "alone")
    for job in jobs:
        np.testing.assert_equal(records(job.path), records(tmp_path / "alone"))


def while_it_runs(path, act):
    """Call a function of the process that trains a run, once the run has a checkpoint."""

    def watch():
        until = time.monotonic() + 120
        while not list(path.glob("ckpt/[1-9]*")) and time.monotonic() < until:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.long
@pytest.mark.fault
def test_a_process_that_dies_is_replaced(tiny, tmp_path):
    jobs = jobs_of(tiny, tmp_path, "ab", steps=4000)
    started, spawn = [], pool.multiprocessing.get_context("spawn").Process.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pool.multiprocessing.context.SpawnProcess, "start",
            lambda process: (spawn(process), started.append(process)),
        )  # fmt: skip
        killer = while_it_runs(jobs[0].path, lambda: os.kill(started[0].pid, signal.SIGKILL))
        results = list(carry_out(jobs, processes(2)))
        killer.join()
    assert {r.name: r.status for r in results} == {"a": "DONE", "b": "DONE"}
    assert len(started) >= 3 and read_json(jobs[0].path / "STATUS.json")["interruptions"] == 1


@pytest.mark.long
@pytest.mark.fault
def test_a_signal_stops_all_runs_at_the_ends_of_chunks(tiny, tmp_path):
    jobs = jobs_of(tiny, tmp_path, "abc", steps=1_000_000)
    stop = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    stopper = while_it_runs(jobs[0].path, stop)
    (result,) = carry_out(jobs, processes(2))
    stopper.join()
    assert (result.status, result.reason) == ("PREEMPTED", "SIGTERM")
    for job in jobs[:2]:
        status = read_json(job.path / "STATUS.json") if job.path.exists() else {"status": "none"}
        assert status["status"] in ("PREEMPTED", "none", "RUNNING")
    assert not jobs[2].path.exists()


def test_one_run_needs_no_process_and_accelerators_have_one(tiny, tmp_path, monkeypatch):
    (job,) = jobs_of(tiny, tmp_path, "a")
    assert "local" in here([job], 0).__qualname__
    assert "processes" in here([job, job], 2).__qualname__
    assert 1 <= default_processes() <= pool.MOST
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.setattr(pool, "entry_points", lambda group: ["a plugin"])
    assert default_processes() == 1


def test_a_process_that_dies_before_its_job_arrives_is_replaced(tiny, tmp_path):
    jobs, started = jobs_of(tiny, tmp_path, "ab"), []
    spawn = pool.multiprocessing.context.SpawnProcess.start

    def start(process):
        spawn(process)
        if not started:
            os.kill(process.pid, signal.SIGKILL)
        started.append(process)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool.multiprocessing.context.SpawnProcess, "start", start)
        results = list(carry_out(jobs, processes(2)))
    assert {r.name: r.status for r in results} == {"a": "DONE", "b": "DONE"}


@pytest.fixture
def sweep_in_a_process(tiny, tmp_path):
    """A process group that trains runs for as long as it is let."""
    jobs = [job._asdict() for job in jobs_of(tiny, tmp_path, "abc", steps=1_000_000)]
    code = (
        "import json, signal, sys\n"
        "from tapjax.sweep.engines import carry_out\n"
        "from tapjax.sweep.jobs import Job\n"
        "from tapjax.sweep.pool import processes\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    jobs = [Job(**job) for job in json.loads(sys.argv[1])]\n"
        "    print([result.reason for result in carry_out(jobs, processes(2))])\n"
    )
    script = tmp_path / "sweep.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, script, json.dumps(jobs)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.fault
@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_ends_all_processes(sweep_in_a_process, tmp_path, signals):
    process = sweep_in_a_process

    def interrupt():
        for _ in range(signals):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            time.sleep(0.05)

    while_it_runs(tmp_path / "a", interrupt).join()
    out, err = process.communicate(timeout=60)  # the pipes close when all processes have ended
    if signals == 1:
        assert process.returncode == 0 and out == "['Ctrl-C']\n" and "Traceback" not in err
    else:
        assert "KeyboardInterrupt" in err


@pytest.mark.fault
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_while_processes_start(sweep_in_a_process):
    process = sweep_in_a_process
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 60
    while len(children.read_text().split()) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "['Ctrl-C']\n" and "Traceback" not in err


@pytest.mark.fault
def test_no_process_outlives_the_main_one(sweep_in_a_process, tmp_path):
    process = sweep_in_a_process
    while_it_runs(tmp_path / "a", process.kill).join()
    process.communicate(timeout=60)
    assert read_json(tmp_path / "a/STATUS.json")["reason"] == "SIGTERM"
