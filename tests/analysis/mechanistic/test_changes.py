from types import SimpleNamespace

import numpy as np
import pytest

from analysis.mechanistic import changes
from analysis.mechanistic.critical_steps import SIDES, CriticalMoment
from analysis.runs.reader import RunError
from analysis.runs.snapshots import Snapshot


def snapshot(step, rng, head=None):
    """A block with attention of four heads and a rectified layer."""
    w = {f"block_0/attention/{name}/kernel": np.ones((8, 8)) for name in ("query", "key", "out")}
    w["block_0/linear_0/kernel"] = np.ones((8, 4))
    w = {name: value + 0.01 * rng.standard_normal(value.shape) for name, value in w.items()}
    if head is not None:
        w["block_0/attention/query/kernel"][:, 2 * head : 2 * head + 2] *= -1
    p = rng.dirichlet(np.ones(5), (6, 4, 5))
    activity = rng.standard_normal((30, 4))
    return Snapshot(
        step,
        np.arange(30) % 3,
        {
            "weights": w,
            "attention": {"block_0_attention": p},
            "activations": {"block_0_linear_0": activity},
            "positive": {"block_0_linear_0": (activity > 0).mean(0)},
        },
    )


def test_changes_of_known_states():
    rng = np.random.default_rng(0)
    same = snapshot(0, rng)
    still = changes.changes(changes.Pair(0, same, same), ["block_0_linear_0"])
    assert all(value == pytest.approx(0, abs=1e-6) for value in still.values())
    names = {quantity for _, quantity in still}
    assert {"entropy", "query weight change", "out weight turn", "1 - CKA", "born or died"} <= names
    turned = changes.Pair(0, same, snapshot(10, rng, head=2))
    units = changes.unit_changes(turned)
    assert units["block_0_attention"].shape == (4,) and units["block_0_linear_0"].shape == (4,)
    assert units["block_0_attention"].argmax() == 2
    moved = changes.changes(turned, [])
    assert moved["block_0_attention", "query weight change"] == pytest.approx(1, abs=0.05)
    assert moved["block_0_attention", "key weight change"] < 0.05
    assert 0 < moved["block_0_attention", "attention moved"] < 1


def test_the_layer_and_the_part_of_a_parameter():
    attention = ["block_0_attention"]
    assert changes.owner("block_0/attention/query/kernel", attention)[1] == "query"
    assert changes.owner("block_0/linear_0/kernel", attention) == ("block_0_linear_0", "")
    assert changes.owner("position", attention) == ("position", "")
    assert changes.owner("gate/w1", attention) == ("gate", "w1")
    assert changes.owner("gate/w2", attention) == ("gate", "w2")


def test_a_layer_that_falls_silent_has_changed_wholly():
    rng = np.random.default_rng(0)
    before, after = snapshot(0, rng), snapshot(10, rng)
    after.groups["activations"]["block_0_linear_0"] = np.zeros((30, 4))
    moved = changes.changes(changes.Pair(0, before, after), [])
    assert moved["block_0_linear_0", "1 - CKA"] == 1
    assert moved["block_0_linear_0", "principal angle"] == pytest.approx(np.pi / 2)
    silent = changes.changes(changes.Pair(0, after, after), [])
    assert (
        silent["block_0_linear_0", "1 - CKA"] == silent["block_0_linear_0", "principal angle"] == 0
    )


def test_snapshots_that_hold_other_things_are_refused():
    rng = np.random.default_rng(0)
    before, after = snapshot(0, rng), snapshot(10, rng)
    del after.groups["attention"]
    with pytest.raises(RunError, match="steps 0 and 10 do not hold the same arrays"):
        changes.ordinary(changes.Pair(0, before, after), [])


def test_a_moment_without_ordinary_pairs_before_it_is_refused():
    rng = np.random.default_rng(0)
    run = SimpleNamespace(
        recorded=False,
        config={},
        path="runs/a",
        name="a",
        model={},
        layer_names=["block_0_attention", "block_0_linear_0"],
    )
    steps = np.arange(10, 1000, 20)
    states = [snapshot(step, rng) for step in (*steps, 1010)]
    null = [
        changes.ordinary(changes.Pair(0, a, b), [])
        for a, b in zip(states, states[1:], strict=False)
    ]
    at = [70, 80, 90]
    triple = [
        CriticalMoment("a", s, f"{side}_asked", {"seed": 0})
        for side, s in zip(SIDES, at, strict=True)
    ]
    sides = [snapshot(step, rng) for step in at]
    with pytest.raises(RunError, match="step 80: .*too early: 3 ordinary pairs .* 5 are needed"):
        changes.compare(run, triple, sides, null, 1)
    later = [side._replace(step=side.step + 500) for side in sides]
    result = changes.compare(run, triple, later, null, 1)
    assert result.measurements["not_measured"] == [] and not changes.findings(result)
    single = [r for r in result.measurements["changes"] if r["quantity"] == changes.ONE_UNIT]
    assert {row["layer"] for row in single} == {"block_0_attention", "block_0_linear_0"}
    later[-1].groups["weights"]["block_0/attention/query/kernel"][:, 2:4] *= 1.3  # of head 1
    found = changes.findings(changes.compare(run, triple, later, null, 1))
    named = [row for row in found if row["quantity"] == changes.ONE_UNIT]
    assert [(row["layer"], row["unit"]) for row in named] == [("block_0_attention", 1)]


@pytest.mark.parametrize(
    ("model", "rectified"),
    [
        ({}, ["hidden_0"]),
        ({"activation": "relu", "norm": "none"}, ["hidden_0"]),
        ({"activation": "tanh"}, []),
        ({"norm": "batch"}, []),
    ],
)
def test_units_can_be_dead_only_where_a_relu_follows_at_once(model, rectified):
    run = SimpleNamespace(
        recorded=False,
        config={"model": model},
        model={"structure": {"family": "mlp"}},
        layer_names=["hidden_0", "head"],
    )
    assert changes.rectified_of(run) == rectified
