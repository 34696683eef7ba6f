"""A run belongs to one process; one that is silent loses it, and never writes again."""

import os
import signal
import subprocess
import threading

import pytest

from tapjax.config.schema import to_json
from tapjax.contract import lease
from tapjax.contract.lease import InUseError, holder, locked, take_over, watch
from tapjax.store import rundir
from tapjax.sweep.jobs import Policy, make_job, train
from tests.tapjax.run.test_faults import DRIVER
from tests.tapjax.same import assert_same_run

pytestmark = [pytest.mark.usefixtures("full_compile"), pytest.mark.fault]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("lease") / "run"
    subprocess.run([*DRIVER, str(path), "none"], check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.fixture
def holding(tmp_path):
    """A process that holds a run, before its third record."""
    command = [*DRIVER, str(tmp_path / "run"), "hold:3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holding\n"
    yield process
    process.kill()
    process.communicate()


def content(path):
    return {p: p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_a_process_that_gives_heartbeats_keeps_its_run(tiny, tmp_path, holding):
    assert watch(tmp_path / "run", 4 * lease.BEAT) is None
    job = make_job("run", tiny, tmp_path)
    result = train(job, Policy(lease=4 * lease.BEAT))
    assert (result.status, result.reason) == ("BUSY", holder(tmp_path / "run"))
    assert f"process {holding.pid} on " in result.reason


@pytest.mark.slow
def test_a_stopped_process_loses_its_run(tiny, tmp_path, holding, undisturbed):
    os.kill(holding.pid, signal.SIGSTOP)
    assert train(make_job("run", tiny, tmp_path), Policy(lease=2)).status == "DONE"
    assert holding.wait(timeout=10) == -signal.SIGKILL
    said = f"taken over from process {holding.pid} on "
    assert said in (tmp_path / "run" / "log.txt").read_text()
    assert_same_run(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_one_on_another_machine_does_not_write_when_it_wakes_up(
    tiny, tmp_path, holding, undisturbed, monkeypatch
):
    monkeypatch.setattr(lease, "_end_if_here", lambda path: None)
    path = tmp_path / "run"
    os.kill(holding.pid, signal.SIGSTOP)
    assert train(make_job("run", tiny, tmp_path), Policy(lease=2)).status == "DONE"
    after = content(path)
    os.kill(holding.pid, signal.SIGCONT)
    _, said = holding.communicate(timeout=60)
    assert holding.returncode == 2 and "was taken over by" in said
    assert content(path) == after
    assert_same_run(undisturbed, path)


def test_a_process_without_heartbeats_is_left_alone(tmp_path):
    with locked(tmp_path):
        (tmp_path / "lock").write_text("process 1 on here\n")
        assert watch(tmp_path, 0.1) is None


def test_only_a_process_that_holds_the_lock_is_ended(tmp_path):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with locked(tmp_path):
            line = f"process {bystander.pid} on {os.uname().nodename}\n{lease.MARK}\n"
            (tmp_path / "lock").write_text(line)
            take_over(tmp_path, lease._heartbeat(tmp_path))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.slow
def test_a_process_that_makes_no_progress_gives_no_heartbeats(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    with locked(tmp_path) as mine:
        assert watch(tmp_path, 2) is None
        monkeypatch.setattr(lease, "STUCK", 0.01)
        assert watch(tmp_path, 2) is not None
        monkeypatch.setattr(lease, "STUCK", 10)
        mine.confirm()
        assert watch(tmp_path, 2) is None


@pytest.mark.parametrize(
    "write",
    [
        lambda run_dir: run_dir.write_record(0, {}),
        lambda run_dir: run_dir.write_json("jumps.json", {}),
        lambda run_dir: run_dir.set_status("RUNNING", 0),
        lambda run_dir: run_dir.discard_from(0),
        lambda run_dir: run_dir.log("a line"),
    ],
)
def test_nothing_is_written_in_a_run_that_was_taken_over(tiny, tmp_path, monkeypatch, write):
    monkeypatch.setattr(lease, "_end_if_here", lambda path: None)
    manifest = {name: {} for name in rundir.MANIFEST} | {"config.json": to_json(tiny)}
    with rundir.open_run_dir(tmp_path / "run", manifest) as first:
        take_over(first.path, lease._heartbeat(first.path))
        with rundir.open_run_dir(tmp_path / "run", manifest) as second:
            second.set_status("RUNNING", 7)
            before = content(first.path)
            with pytest.raises(InUseError, match="was taken over by process"):
                write(first)
            assert content(first.path) == before
            write(second)


def test_a_heartbeat_in_the_last_moment_counts(tmp_path):
    with locked(tmp_path):
        before = lease._heartbeat(tmp_path)
        os.utime(tmp_path / "lock", (1, 1))
        with pytest.raises(InUseError, match="is in use by process"):
            take_over(tmp_path, before)
        assert holder(tmp_path)


def test_a_signal_ends_the_wait(tmp_path, monkeypatch):
    from tapjax.sweep import engines

    job = engines.Job("run", str(tmp_path), {})
    job.path.mkdir()
    policy = Policy(lease=60)
    with locked(job.path):
        timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        (result,) = engines.local(policy)([job])
    assert (result.status, result.reason) == ("PREEMPTED", "SIGTERM")


def test_a_lock_that_was_removed_is_noticed(tmp_path):
    with locked(tmp_path) as mine:
        (tmp_path / "lock").unlink()
        with pytest.raises(InUseError, match="lock was removed: this process stops"):
            mine.confirm()
