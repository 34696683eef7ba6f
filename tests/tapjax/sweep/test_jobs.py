"""Jobs: how often they are tried, and that nothing but their folders carries a sweep's state."""

import concurrent.futures
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from launch.status import survey
from tapjax.run import loop
from tapjax.run.preemption import stop_on_signals
from tapjax.sweep import engines, jobs
from tapjax.sweep.jobs import FAILURES, Result, finished, make_job, train


@pytest.fixture
def job(tiny, tmp_path, monkeypatch):
    """A job whose training fails."""

    def fails(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(loop, "run", fails)
    return make_job("run", tiny, tmp_path)


def scripted(*rounds):
    """An engine whose rounds give Results of these statuses."""
    script = iter(rounds)

    def engine(waiting):
        statuses = next(script)
        assert [job.name for job in waiting] == list(statuses)
        yield from (Result(name, status) for name, status in statuses.items())

    return engine


def several(tiny, folder, names):
    return [make_job(name, tiny, folder) for name in names]


def test_what_failed_or_was_lost_comes_again_after_the_rest(tiny, tmp_path):
    engine = scripted(
        {"a": "BROKEN", "b": "DONE", "c": "LOST"}, {"a": "FAILED", "c": "LOST"}, {"c": "DONE"}
    )
    results = engines.carry_out(several(tiny, tmp_path, "abc"), engine)
    assert [(r.name, r.status) for r in results] == [("b", "DONE"), ("a", "FAILED"), ("c", "DONE")]


DAMAGE = {
    "no status": ("STATUS.json", ""),
    "status of another kind": ("STATUS.json", "[1]"),
    "no config": ("config.json", "\\x00"),
}


@pytest.mark.fault
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_does_not_stop_its_neighbours(tiny, tmp_path, damage):
    name, text = DAMAGE[damage]
    planned = several(tiny, tmp_path, "abc")
    planned[1].path.mkdir()
    done = {"status": "DONE", "step": 40, "reason": ""}
    (planned[1].path / "STATUS.json").write_text(json.dumps(done))
    (planned[1].path / "config.json").write_text(json.dumps(planned[1].config))
    (planned[1].path / name).write_text(text)
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "c.json").write_text("{")
    results = list(engines.carry_out(planned, scripted({"a": "DONE", "c": "DONE"})))
    assert [(r.name, r.status) for r in results] == [("b", "FAILED"), ("a", "DONE"), ("c", "DONE")]
    (row,) = survey(tmp_path)
    assert (row["run"], row["status"]) == ("b", "FAILED") and str(planned[1].path) in row["note"]


def test_a_tally_that_is_damaged_fails_its_run_alone(job):
    job.tally.parent.mkdir(parents=True)
    job.tally.write_text("{")
    assert train(job).status == "FAILED"


def test_plans_of_two_sweeps_do_not_lose_each_other(tmp_path):
    """Four processes add twenty runs each, at once."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tapjax.contract.layout import write_json\n"
        "from tapjax.sweep.jobs import SWEEP, alone, planned\n"
        "folder = Path(sys.argv[1])\n"
        "for i in range(20):\n"
        "    with alone(folder):\n"
        "        runs = planned(folder) | {f'{sys.argv[2]}-{i}': 1}\n"
        "        write_json(folder / SWEEP, {'steps': runs})\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(4)
    ]
    assert [process.wait(60) for process in started] == [0] * 4
    assert len(jobs.planned(tmp_path)) == 80


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (Result("a", "DONE", 40), "is not here: do the workers share the folder"),
        (ModuleNotFoundError("No module named 'mine'"), "a worker cannot train .ModuleNotFoundE"),
    ],
)
def test_workers_that_are_not_set_up_end_the_sweep(tiny, tmp_path, monkeypatch, outcome, message):
    pytest.importorskip("distributed", reason="needs the extra [cluster]")
    monkeypatch.setattr(engines, "SHOWN", 0)
    (job,) = several(tiny, tmp_path, "a")
    future = concurrent.futures.Future()
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    with pytest.raises(engines.EngineError, match=message):
        engines._result(future, job)


def test_runs_that_others_train_are_waited_for(tiny, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(engines.time, "sleep", waits.append)
    engine = scripted({"a": "BUSY", "b": "DONE"}, {"a": "BUSY"}, {"a": "DONE"})
    assert len(list(engines.carry_out(several(tiny, tmp_path, "ab"), engine))) == 2
    assert waits == [engines.POLL] * 2


def test_a_signal_ends_the_sweep(tiny, tmp_path):
    engine = scripted({"a": "PREEMPTED", "b": "DONE"})
    (result,) = engines.carry_out(several(tiny, tmp_path, "ab"), engine)
    assert result == Result("a", "PREEMPTED")


@pytest.mark.fault
def test_a_signal_too_late_for_one_run_stops_the_next(tiny, tmp_path, monkeypatch):
    def ends_anyway(job, *_):
        with stop_on_signals():  # as the loop does while it trains
            os.kill(os.getpid(), signal.SIGTERM)
        return Result(job.name, "DONE")

    monkeypatch.setattr(engines, "train", ends_anyway)
    results = list(engines.carry_out(several(tiny, tmp_path, "abc"), engines.local()))
    assert [(r.name, r.status) for r in results] == [("a", "DONE"), ("b", "PREEMPTED")]


def test_the_second_ctrl_c_stops_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_on_signals() as outer, stop_on_signals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.reason == outer.reason == "Ctrl-C"
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs behind it
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_is_tried_again_and_then_given_up(job):
    results = [train(job) for _ in range(FAILURES + 1)]
    assert [r.status for r in results] == ["BROKEN"] * (FAILURES - 1) + ["FAILED"] * 2
    assert {r.reason for r in results} == {"ZeroDivisionError: by zero"}
    jobs.forget_failures([job])
    assert train(job).status == "BROKEN"


def test_steps_gained_make_up_for_failures(job):
    for _ in range(FAILURES):
        train(job)
    job.path.mkdir(exist_ok=True)
    (job.path / "STATUS.json").write_text(json.dumps({"status": "RUNNING", "step": 10}))
    assert train(job).status == "BROKEN"
    assert json.loads(job.tally.read_text())["failures"] == 1


def test_trying_again_is_no_use(tiny, tmp_path):
    job = make_job("run", tiny, tmp_path)
    job.path.mkdir()
    (job.path / "stranger").touch()
    refused = train(job._replace(config=job.config | {"model": {"name": "mlp_wid"}}))
    assert refused.status == "REFUSED" and "did you mean 'mlp_wide'" in refused.reason
    assert not job.tally.exists()


def test_a_run_in_use_is_no_failure(job):
    job.path.mkdir()
    with open(job.path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("process 1 on elsewhere")
        lock.flush()
        assert train(job) == Result("run", "BUSY", 0, "process 1 on elsewhere")
    assert not job.tally.exists()


def test_a_finished_run_is_known_without_loading_anything(tiny, tmp_path):
    job = make_job("run", tiny, tmp_path)
    assert finished(job) is None
    job.path.mkdir()
    status = {"status": "DONE", "step": 40, "reason": ""}
    (job.path / "STATUS.json").write_text(json.dumps(status))
    (job.path / "config.json").write_text(json.dumps(job.config))
    assert train(job) == finished(job) == Result("run", "DONE", 40, "")
    other = job._replace(config=job.config | {"steps": 80})
    assert finished(other) is None
