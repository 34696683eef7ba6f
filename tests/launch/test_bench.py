"""The benchmark's protocol; its numbers are for `docs/results/bench/`, not for a test."""

import pytest

from launch import bench
from launch.benchmarks import soak
from launch.benchmarks.plain_torch import torch_metrics
from launch.benchmarks.tables import markdown, plain_table
from tapjax.run import loop

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("full_compile")]

TASK = {"arch": "mlp:depth=1,width=8", "steps": 5}


@pytest.mark.long
def test_sides_take_turns_and_their_ratio_is_reported():
    taken = bench.take_turns(2, ours=TASK | {"side": "ours"}, unrolled=TASK | {"side": "unrolled"})
    row = {"what": "ours / unrolled", **bench.compare(taken, "ours", "unrolled")}
    assert row["min"] <= row["ratio"] <= row["max"]
    result = {"command": "c", "machine": {}, "peaks": [], "suites": {"measure": [row]}}
    assert f"| ours / unrolled | {row['ratio']:.2f} |" in markdown(result)


@pytest.mark.long
@pytest.mark.parametrize("method", ["forward_gradient", "vector_response"])
def test_a_credit_side_takes_its_steps(method):
    from launch.benchmarks.workers import credit

    sizes = {"experiment": "ladder", "depth": 1, "width": 8, "train": 256}
    credit(method, steps=2, seeds=2, **sizes)()


def test_an_online_side_takes_its_steps():
    from launch.benchmarks.online import online

    online("bits", steps=20, seeds=2)()


@pytest.mark.parametrize("task", ["ccm", "smap", "simplex", "matrix"])
def test_sides_of_dynamic_modelling_run(task):
    from launch.benchmarks import edm

    edm.ours(task, length=120, variables=3)()


def test_a_side_that_fails_is_an_error():
    with pytest.raises(OSError, match="exit code 1"):
        bench.Worker(side="ours", arch="no_such", steps=5)


@pytest.mark.parametrize("competent", [False, True])
def test_the_pytorch_side_measures_the_same_quantities(competent):
    torch = pytest.importorskip("torch", reason="the extra [bench] is not installed")
    measured = torch_metrics(torch.eye(10), competent)
    assert measured == pytest.approx((10, 10, 9, 10), rel=1e-5)


@pytest.mark.long
def test_a_soak_kills_runs_and_compares_their_ends(tmp_path):
    (row,) = soak.soak(0, names=("cnn",), kills=1)
    assert row["SIGKILL"] + row["SIGTERM"] == 1 and row["differences"] == []
    table = plain_table([row])
    assert "| cnn |" in table[-1] and "none" in table[-1]


def test_a_soak_would_notice_a_difference(tiny, tmp_path):
    for name, lr in (("a", 1e-3), ("b", 2e-3)):
        tiny.optimizer.lr = lr
        loop.run(tiny, tmp_path / name)
    found = soak.differences(tmp_path / "a", tmp_path / "b")
    assert "record 0: scalar/loss" in found and "the final state" in found
    assert soak.differences(tmp_path / "a", tmp_path / "a") == []
