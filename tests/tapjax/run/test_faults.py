"""Real kills: whatever happens, the resumed run equals the undisturbed one bit for bit."""

import json
import random
import signal
import subprocess
import sys

import pytest

from tapjax.data.datasets import DataError
from tapjax.run import loop
from tapjax.store import rundir
from tests.tapjax.same import assert_same_run

pytestmark = [pytest.mark.usefixtures("full_compile"), pytest.mark.fault]
DRIVER = [sys.executable, "-m", "tests.tapjax.run.crash_driver"]


def drive(path, place):
    return subprocess.run([*DRIVER, str(path), place], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("faults") / "run"
    result = drive(path, "none")
    assert result.returncode == 0, result.stderr
    return path


def kill_then_resume(path, place, undisturbed):
    killed = drive(path, place)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    resumed = drive(path, "none")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(undisturbed, path)


@pytest.mark.long_except("record:2", "checkpoint:3")
@pytest.mark.slow
@pytest.mark.parametrize("place", ["before:1", "record:2", "checkpoint:3", "checkpoint:1"])
def test_sigkill_then_resume_is_bit_identical(place, undisturbed, tmp_path):
    path = tmp_path / "run"
    kill_then_resume(path, place, undisturbed)
    status = json.loads((path / "STATUS.json").read_text())
    assert (status["status"], status["interruptions"]) == ("DONE", 1)


@pytest.mark.slow
def test_a_record_without_its_checkpoint_is_moved_aside(undisturbed, tmp_path):
    path = tmp_path / "run"
    kill_then_resume(path, "record:3", undisturbed)
    assert [file.name for file in (path / "orphaned").iterdir()] == ["000000020.npz"]


@pytest.mark.slow
def test_a_checkpoint_without_its_final_name_is_ignored_and_cleaned(undisturbed, tmp_path):
    path = tmp_path / "run"
    assert drive(path, "commit:3").returncode == -signal.SIGKILL
    assert [p.name for p in (path / "ckpt").glob("*tmp*")] == ["30.orbax-checkpoint-tmp"]
    assert drive(path, "none").returncode == 0
    assert "start at step 20" in (path / "log.txt").read_text()
    assert not list((path / "ckpt").glob("*tmp*"))
    assert_same_run(undisturbed, path)


@pytest.mark.long
@pytest.mark.slow
def test_killed_five_times(undisturbed, tmp_path):
    path, moment = tmp_path / "run", random.Random(5)
    for _ in range(5):
        place = moment.choice(["before:1", "record:1", "checkpoint:1", "commit:1"])
        assert drive(path, place).returncode == -signal.SIGKILL
    assert drive(path, "none").returncode == 0
    assert_same_run(undisturbed, path)
    assert json.loads((path / "STATUS.json").read_text())["interruptions"] == 5


@pytest.mark.long
@pytest.mark.parametrize("trial", range(20))
def test_sigkill_at_a_random_moment(trial, undisturbed, tmp_path):
    moment = random.Random(trial)
    places = [f"{p}:{moment.randint(1, 4)}" for p in ("before", "record", "checkpoint")]
    place = moment.choice([*places, f"time:{moment.uniform(0.0, 0.25):.3f}"])
    path = tmp_path / "run"
    killed = drive(path, place)
    # A timer may fire after the run is over: then there was nothing to kill.
    assert killed.returncode == -signal.SIGKILL or place.startswith("time")
    assert drive(path, "none").returncode == 0
    assert_same_run(undisturbed, path)


@pytest.mark.slow
def test_sigterm_finishes_the_chunk_and_saves(undisturbed, tmp_path):
    path = tmp_path / "run"
    stopped = drive(path, "term:2")
    assert stopped.returncode == 75, stopped.stderr
    status = json.loads((path / "STATUS.json").read_text())
    assert (status["status"], status["step"]) == ("PREEMPTED", 20)
    assert drive(path, "none").returncode == 0
    assert_same_run(undisturbed, path)
    assert not (path / "orphaned").exists()


@pytest.mark.slow
def test_a_second_process_is_turned_away_until_the_first_is_dead(undisturbed, tmp_path):
    path = tmp_path / "run"
    first = subprocess.Popen([*DRIVER, str(path), "hold:2"], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "holding\n"
        second = drive(path, "none")
        assert second.returncode == 2
        assert f"is in use by process {first.pid} on " in second.stderr
    finally:
        first.kill()
        first.communicate()
    assert drive(path, "none").returncode == 0
    assert_same_run(undisturbed, path)


@pytest.mark.slow
def test_changed_data_is_noticed(tiny, tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(200, 6)), "y": rng.integers(0, 3, 200)}
    np.savez(tmp_path / "data.npz", **arrays)
    tiny.data.name, tiny.probe.size = str(tmp_path / "data.npz"), 16
    assert loop.run(tiny, tmp_path / "run").status == "DONE"
    arrays["x"][0, 0] += 1
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(rundir.RunDirError, match="the data changed"):
        loop.run(tiny, tmp_path / "run")
    (tmp_path / "data.npz").unlink()
    with pytest.raises(DataError, match="no file"):
        loop.run(tiny, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("field", ["jaxlib", "device_kind"])
def test_another_jaxlib_or_device_needs_permission(tiny, tmp_path, field):
    path = tmp_path / "run"
    loop.run(tiny, path)
    env = json.loads((path / "env.json").read_text())
    (path / "env.json").write_text(json.dumps(env | {field: "another"}))
    with pytest.raises(rundir.RunDirError, match=f"{field}: 'another'.*allow_numeric_drift"):
        loop.run(tiny, path)
    assert loop.run(tiny, path, allow_numeric_drift=True).status == "DONE"
