import os
import shutil
import threading
import time

import numpy as np
import pytest

from analysis import open_run
from analysis.commands.monitor import save_monitor
from analysis.live import run_watcher
from analysis.live.replay import replay_seed
from analysis.live.run_watcher import Watch, follow
from analysis.runs.reader import RunError
from tapjax.live.alarms import AlarmRule
from tests.analysis.made_runs import collapse_and_recovery, set_status, write_run

T = np.arange(0, 1501, 5.0)


def troubled(path, **options):
    d = 5 * collapse_and_recovery(T) * np.exp(0.01 * np.random.default_rng(0).standard_normal(301))
    return write_run(path, np.stack([d, np.where(T > 1000, 0.3 * d, d)]), chunk=100, **options)


def test_watching_piece_by_piece_says_what_a_replay_says(tmp_path):
    path = troubled(tmp_path / "a", status="RUNNING")
    records = sorted((path / "records").iterdir())
    for record in records[1:]:
        record.rename(tmp_path / record.name)
    watched, lines = Watch(path), []
    for record in records:
        if not record.exists():
            os.replace(tmp_path / record.name, record)
        lines += watched.catch_up()
    assert watched.catch_up() == []
    run = open_run(path, partial=True)
    for i, seed in enumerate(run.seeds):
        replayed, _ = replay_seed(run, i, "damped_trend", None)
        assert watched.monitors[seed].state() == replayed.state()
    assert sum("collapse" in line for line in lines) == 1
    assert any(line.startswith("step 1500: D") and "+200" in line for line in lines)


def test_alarms_go_off_once_whatever_the_pieces(tmp_path):
    """D of seed 1 falls at step 1000; the rule takes a move of 4 for an alarm."""
    path = troubled(tmp_path / "a", status="RUNNING")
    rule = AlarmRule("D", "-ln loss", (0, 5, 9000), (28.0,) * 3, 20, 20, 50.0, 0.8, 90.0, 1 / 21)
    rule = rule._replace(steps=(0, 5, 10, 9000), limit=(28.0,) * 4)
    never = rule._replace(signal="scalar/loss", limit=(1e9,) * 4)
    at_once = Watch(path, rules=[rule, never])
    lines = at_once.catch_up()
    records = sorted((path / "records").iterdir())
    for record in records[1:]:
        record.rename(tmp_path / record.name)
    pieces, said = Watch(path, rules=[rule, never]), []
    for record in records:
        if not record.exists():
            os.replace(tmp_path / record.name, record)
        said += pieces.catch_up()
    alarms = [line for line in lines if line.startswith("ALARM")]
    assert alarms == [line for line in said if line.startswith("ALARM")] and len(alarms) == 1
    assert "seed 1: D has moved by" in alarms[0] and "steps before -ln loss" in alarms[0]


def test_alarms_that_cannot_work_are_told_once(tmp_path):
    path = troubled(tmp_path / "a")
    rule = AlarmRule("D", "-ln loss", (0, 5), (1.0, 1.0), 20, 20, 50.0, 0.8, 90.0, 1 / 21)
    rules = [
        rule._replace(signal="heads/entropy"),
        rule._replace(ability="repeated"),
        rule._replace(steps=(0, 50)),
    ]
    lines = Watch(path, rules=rules).catch_up()
    told = [line for line in lines if line.startswith("no alarm")]
    assert told == [
        "no alarm by D: it was measured every 50 steps, and is every 5 in this run",
        "no alarm by D: the run has no ability 'repeated'",
        "no alarm by heads/entropy: the run does not record it",
    ]
    assert not any(line.startswith("ALARM") for line in lines)


@pytest.mark.parametrize("diverged", [{"0": 300}, {"0": 300, "1": 300}])
def test_seeds_that_diverged_leave_the_alarms_of_the_others(tmp_path, diverged):
    path = troubled(tmp_path / "a")
    set_status(path, diverged=diverged)
    rule = AlarmRule("D", "-ln loss", (0, 5, 10, 9000), (28.0,) * 4, 20, 20, 50.0, 0.8, 90.0, 0.05)
    lines = Watch(path, rules=[rule]).catch_up()
    alarms = [line for line in lines if line.startswith("ALARM")]
    assert len(alarms) == (1 if len(diverged) == 1 else 0)
    assert all("seed 1:" in line for line in alarms)


def test_following_ends_with_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(run_watcher, "POLL", 0.01)
    path, said = troubled(tmp_path / "a", status="RUNNING"), []
    watched = Watch(path)
    thread = threading.Thread(
        target=follow, args=(watched, said.append, lambda: watched.status != "RUNNING")
    )
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive()
    set_status(path, status="DONE")
    thread.join(10)
    assert not thread.is_alive() and any("WARNING" in line for line in said)


def test_a_run_that_stands_still_is_mentioned(tmp_path, monkeypatch):
    monkeypatch.setattr(run_watcher, "POLL", 0.01)
    monkeypatch.setattr(run_watcher, "PATIENCE", 0.05)
    said = []
    path = troubled(tmp_path / "a", status="RUNNING")
    follow(Watch(path), said.append, lambda: any("nothing new" in line for line in said))
    assert "has the run stopped?" in said[-1]


def test_a_seed_that_is_not_finite_is_said_and_the_others_go_on(tmp_path):
    d = np.stack([5 * collapse_and_recovery(T), np.full(len(T), np.nan)])
    watched = Watch(write_run(tmp_path / "a", d))
    lines = watched.catch_up()
    assert "not finite in 1" in lines[-1] and "+50" in lines[-1]
    for seed, monitor in watched.monitors.items():
        save_monitor(monitor, watched.model, seed, tmp_path / "out")
    assert not (tmp_path / "out" / "seed_1" / "monitor_visualization.png").exists()
    assert (tmp_path / "out" / "seed_1" / "monitor_state.json").exists()


def test_what_cannot_be_watched_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        Watch(tmp_path)
    path = troubled(tmp_path / "a")
    with pytest.raises(RunError, match="no 'stable_rank'"):
        Watch(path, metric="stable_rank").catch_up()
    shutil.copy(path / "config.json", path / "records" / "000000000.npz")
    with pytest.raises(RunError, match="a JSON file, not an .npz"):
        Watch(path).catch_up()
