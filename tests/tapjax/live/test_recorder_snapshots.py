"""Snapshots of a loop of somebody else, and what `mechanistic` makes of them."""

import json

import numpy as np
import pytest

from analysis.runs.snapshots import read_snapshots
from tapjax.contract.files import RunError
from tapjax.live import Recorder
from tests.analysis.command import analysis

RNG = np.random.default_rng(0)
Y = np.arange(30) % 3
JUMP = 1000


def network(step, seed=0, planted=True):
    """Weights that drift, and those of the layer `b` that are replaced at step `JUMP`."""
    rng = np.random.default_rng(seed)
    drift = np.random.default_rng([seed, step]).standard_normal((3, 8, 8)) * 0.01
    w = rng.standard_normal((3, 8, 8)) + drift
    if planted and step >= JUMP:
        w[1] = np.random.default_rng([9, seed]).standard_normal((8, 8)) * 2
    return {name: {"kernel": w[i], "bias": np.zeros(8)} for i, name in enumerate("abc")}


def activations(weights, x):
    h = {}
    for name in "abc":
        x = np.maximum(x @ weights[name]["kernel"], 0)
        h[name] = x
    return h


def record(path, planted=True):
    x = np.random.default_rng(5).standard_normal((30, 8))
    with Recorder(path, quiet=True) as run:
        for step in range(0, 2001, 5):
            level = 5 + 4 * (planted and step >= JUMP) + 0.02 * RNG.standard_normal()
            run.probe(step, layers={"a": 5.0, "b": level, "c": 5.0 + 0.01 * RNG.random()})
            run(step, loss=1.0 + 0.01 * RNG.random())
            if step % 25 == 0:
                w = network(step, planted=planted)
                run.snapshot(step, w, activations(w, x), Y)
    return path


def test_a_snapshot_holds_what_it_was_given(tmp_path):
    w = network(0)
    images = RNG.standard_normal((30, 4, 4, 8))
    with Recorder(tmp_path, quiet=True, channels="last") as run:
        run(0, loss=1.0)
        run.snapshot(1, w, {"a": images}, Y)
    (snapshot,) = read_snapshots(tmp_path / "snapshots", 1).values()
    np.testing.assert_allclose(snapshot.group("weights")["b/kernel"], w["b"]["kernel"], rtol=1e-6)
    mean = images.mean((1, 2))
    np.testing.assert_allclose(snapshot.group("activations")["a"], mean, rtol=1e-6)
    np.testing.assert_allclose(
        snapshot.group("class_mean")["a"][2], mean[Y == 2].mean(0), rtol=1e-5
    )
    np.testing.assert_allclose(snapshot.group("positive")["a"], (images > 0).mean((0, 1, 2)))


def test_seeds_and_bad_snapshots(tmp_path):
    both = {"w": {"kernel": np.ones((2, 4, 3))}}
    with Recorder(tmp_path, seeds=[4, 7], quiet=True) as run:
        run(0, loss=np.ones(2))
        run.snapshot(0, both, {"a": np.ones((2, 30, 5))}, Y)
        with pytest.raises(ValueError, match=r"weights/w/kernel has the shape \(4, 3\): its first"):
            run.snapshot(1, {"w": {"kernel": np.ones((4, 3))}})
        with pytest.raises(ValueError, match="labels: the classes"):
            run.snapshot(1, both, {"a": np.ones((2, 30, 5))})
        with pytest.raises(ValueError, match="is not an array of real numbers"):
            run.snapshot(1, {"w": "text"})
    found = read_snapshots(tmp_path / "snapshots", 0)
    assert list(found) == [4, 7] and found[7].group("weights")["w/kernel"].shape == (4, 3)
    with pytest.raises(RunError, match="is missing"):
        read_snapshots(tmp_path / "snapshots", 1)


@pytest.mark.parametrize("planted", [True, False])
def test_mechanistic_finds_the_layer_that_was_replaced(tmp_path, planted):
    record(tmp_path / "run", planted)
    result = analysis("mechanistic", tmp_path / "run", f"--out={tmp_path}/out", "--json")
    assert result.returncode == 0, result.stderr
    (run,) = json.loads(result.stdout)["runs"].values()
    moments = run["moments"]
    if not planted:
        assert not any(row["beyond"] for m in moments for row in m["measurements"]["changes"])
        return
    (moment,) = moments
    measured = moment["measurements"]
    assert (
        measured["steps"] == [JUMP - 25, JUMP, JUMP + 25] or abs(measured["steps"][1] - JUMP) <= 25
    )
    strongest = measured["changes"][0]
    assert strongest["layer"] == "b"


def test_snapshots_that_cannot_be_compared_are_told(tmp_path):
    with Recorder(tmp_path / "run", quiet=True) as run:
        for step in range(0, 1000, 5):
            run.probe(step, layers={"a": 5.0 + 4 * (step > 500), "b": 5.0})
            run(step, loss=1.0)
        run.snapshot(500, network(0))
    result = analysis("mechanistic", tmp_path / "run", f"--out={tmp_path}/out")
    assert result.returncode == 0 and "1 snapshots are too few" in result.stderr
