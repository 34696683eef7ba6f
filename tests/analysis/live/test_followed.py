import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import open_run
from analysis.live.followed import MOST_POINTS, Followed, Thinned
from analysis.live.replay import replay_seed
from tapjax.contract.layout import write_npz
from tapjax.live import Recorder
from tests.analysis.command import analysis
from tests.analysis.made_runs import collapse_and_recovery, write_run

T = np.arange(0, 1001, 5.0)


def run_in_parts(folder, status="RUNNING"):
    """A run of ten records, all but the first of which are set aside."""
    d_SxT = np.stack([5 * collapse_and_recovery(T), np.where(T > 600, 9, 4) + 0.01 * np.sin(T)])
    accuracy = np.tile(1 - np.exp(-T / 100), (2, 1))
    path = write_run(
        folder / "run", d_SxT, chunk=100, status=status, **{"probe/accuracy": accuracy}
    )
    records = sorted((path / "records").iterdir())
    for record in records[1:]:
        record.rename(folder / record.name)
    return path, d_SxT, records[1:]


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 50))
def test_a_thinned_series_is_bounded_and_evenly_spaced(lengths, most):
    series, total = Thinned(most), 0
    for length in lengths:
        steps = np.arange(total, total + length)
        series.add(steps, np.stack([steps, -steps]))
        total += length
    step, values = series.arrays()
    assert len(step) <= most and list(step) == list(range(0, total, series.every))
    if total:
        np.testing.assert_array_equal(values, [step, -step])
        assert len(step) > most / 2 or series.every == 1


def test_records_are_followed_as_they_appear(tmp_path):
    path, d_SxT, later = run_in_parts(tmp_path)
    followed = Followed(path)
    assert followed.catch_up() and not followed.catch_up()
    np.testing.assert_allclose(followed.curves["D"].arrays()[1], d_SxT[:, :20])
    for record in later:
        os.replace(tmp_path / record.name, record)
        assert followed.catch_up()
    step, values = followed.curves["D"].arrays()
    np.testing.assert_array_equal(step, T)
    np.testing.assert_allclose(values, d_SxT)
    assert len(followed.curves["loss"].arrays()[0]) == 1000
    assert followed.curves["accuracy"].arrays()[1].shape == d_SxT.shape
    run = open_run(path, partial=True)
    for i, seed in enumerate(run.seeds):
        replayed, _ = replay_seed(run, i, "damped_trend", None)
        assert followed.monitors[seed].state() == replayed.state()
    assert [(at, seed) for at, seed in followed.jumps if abs(at - 600) <= 10] == [(605, 1)]
    assert [p.step for p in followed.forecasts[0]] == [1050, 1100, 1200]


def test_a_run_that_was_replaced_is_noticed(tmp_path):
    path, d_SxT, _ = run_in_parts(tmp_path)
    followed = Followed(path)
    assert not followed.replaced
    path.rename(tmp_path / "old")
    assert followed.replaced
    write_run(path, d_SxT)
    assert followed.replaced and not Followed(path).replaced


@pytest.mark.fault
def test_a_damaged_record_ends_the_following_with_its_reason(tmp_path):
    path, _, later = run_in_parts(tmp_path)
    later[0].write_bytes(b"nothing")
    followed = Followed(path)
    followed.catch_up()
    assert later[0].name in followed.problem
    assert len(followed.curves["D"].arrays()[0]) == 20


def test_a_run_that_is_extended_is_followed_on(tmp_path):
    path, d_SxT, later = run_in_parts(tmp_path)
    followed = Followed(path)
    followed.catch_up()
    with np.load(tmp_path / later[0].name) as record:
        arrays = dict(record)
    arrays["probe_step"] = arrays["probe_step"] - 5  # begins with the measurement that ended it
    arrays = arrays | {"probe/participation_ratio": arrays["probe/participation_ratio"]}
    write_npz(path / "records" / later[0].name, arrays)
    assert followed.catch_up() and not followed.problem


@pytest.mark.long
def test_a_million_steps_need_megabytes(tmp_path):
    """A thousand records of a thousand steps: curves are thinned, and so is what monitors get."""
    followed, held = Followed(write_run(tmp_path / "run", np.ones((1, len(T))))), {}
    rng = np.random.default_rng(0)
    tracemalloc.start()
    for first in range(0, 10**6, 1000):
        steps, at = np.arange(first, first + 1000), np.arange(first, first + 1000, 50)
        record = {"step": steps, "probe_step": at, "probe/accuracy": rng.random((1, 20))}
        record["probe/participation_ratio"] = 5 + 0.1 * rng.random((1, 20, 3))
        record |= {f"scalar/{name}": rng.random((1, 1000)) for name in ("loss", "grad_norm")}
        followed._add(record)
        del record
        held[first + 1000] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert all(len(curve.arrays()[0]) <= MOST_POINTS for curve in followed.curves.values())
    assert held[10**6] < 5e6 and held[10**6] - held[500_000] < 1e6  # bytes


@pytest.mark.parametrize("grad_norm", [True, False])
def test_a_loop_of_somebody_else_is_followed(tmp_path, grad_norm):
    """Its layers appear after its first record, its loss at every tenth step."""
    rng = np.random.default_rng(0)
    followed = None
    with Recorder(tmp_path / "run", chunk=50, quiet=True) as record:
        for step in range(1000):
            values = {"lr": 0.1} | ({"loss": 1.0} if step % 10 == 0 else {})
            record(step, **values | ({"grad_norm": 2.0} if grad_norm else {}))
            if step % 5 == 0 and step >= 100:
                record.probe(step, layers={"a": 5 + 0.01 * rng.random(), "head": 99.0})
            if step == 60:
                followed = Followed(tmp_path / "run")
                followed.catch_up()
            if step % 200 == 199:
                followed.catch_up()
    assert followed.catch_up() and not followed.problem
    steps, loss = followed.curves["loss"].arrays()
    assert steps.tolist() == list(range(0, 1000, 10)) and (loss == 1).all()
    steps, d = followed.curves["D"].arrays()
    assert steps.tolist() == list(range(100, 1000, 5)) and (np.abs(d - 5) < 0.1).all()
    assert not [w for _, w in followed.warnings if w.kind == "not_finite"]


def test_a_loop_that_records_probes_only_is_followed_and_summarised(tmp_path):
    with Recorder(tmp_path / "run", quiet=True) as record:
        for step in range(0, 800, 5):
            record.probe(step, layers={"a": 5 + 0.01 * np.sin(step), "head": 99.0})
    followed = Followed(tmp_path / "run")
    assert followed.catch_up() and not followed.problem and not followed.warnings
    for command in ("summary", "curves", "jumps"):
        result = analysis(command, tmp_path / "run", f"--out={tmp_path / command}")
        assert result.returncode == 0, (command, result.stderr)
