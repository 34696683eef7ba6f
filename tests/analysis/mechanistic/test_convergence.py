import numpy as np
import pytest

from analysis.commands.mechanistic import _families
from analysis.mechanistic import convergence

T = np.arange(500)


def settling_at(times, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([np.exp(-T / t) + noise * rng.standard_normal(len(T)) for t in times], 1)


def test_an_exponential_settles_when_a_tenth_is_left():
    found = convergence.settling_index(np.exp(-T / 50))
    assert found == pytest.approx(50 * np.log(10), abs=6)
    assert convergence.settling_index(np.ones(500)) == 0
    assert convergence.settling_index(T / 500) > 400
    never = np.where(T < 499, 0.0, 99.0)
    assert convergence.settling_index(never) == 499


@pytest.mark.parametrize(
    ("times", "pattern"),
    [((5, 10, 20, 40, 80), "bottom-up"), ((80, 40, 20, 10, 5), "top-down")],
)
def test_a_planted_order_is_found(times, pattern):
    settled = [
        [convergence.settling_index(x) for x in settling_at(times, 0.01, s).T] for s in range(3)
    ]
    order = convergence.settling_order(settled, np.random.default_rng(0))
    assert order["pattern"] == pattern and order["p"] <= 0.05 and abs(order["rho"]) > 0.9


def test_no_order_is_not_found():
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        order = convergence.settling_order(rng.permuted(np.tile(np.arange(6), (3, 1)), axis=1), rng)
        found.append(order["pattern"] != "no order")
    assert np.mean(found) <= 0.125
    assert convergence.settling_order(np.zeros((3, 5)), rng)["pattern"] == "no order"
    assert convergence.settling_order(np.zeros((3, 2)), rng)["rho"] is None


def test_an_order_of_their_own_on_which_seeds_agree_is_not_an_order_by_depth():
    rng, found = np.random.default_rng(0), []
    for _ in range(100):
        own = rng.permutation(6)
        settled = own + 0.5 * rng.standard_normal((3, 6))
        found.append(convergence.settling_order(settled, rng)["p"] <= 0.05)
    assert np.mean(found) <= 0.095  # 5 % and two standard errors
    nothing = convergence.settling_order(np.zeros((0, 6)), rng)
    assert nothing["rho"] is None and nothing["pattern"] == convergence.UNSETTLED


def jump_rows(kinds, rng):
    """Jumps of well separated kinds."""
    return [
        {
            "relative_size": np.exp(3 * kind + 0.1 * rng.standard_normal()),
            "speed": np.exp(-3 * kind + 0.1 * rng.standard_normal()),
            "phase": 0.3 * kind + 0.02 * rng.standard_normal(),
        }
        for kind in kinds
    ]


@pytest.mark.slow
def test_kinds_of_jumps_are_found_again_and_noise_is_less_stable():
    rng, kinds = np.random.default_rng(0), np.repeat([0, 1, 2], 12)
    found = convergence.cluster(jump_rows(kinds, rng))
    assert found["kinds"] == 3 and found["stability"] > 0.95 and found["p"] <= 0.05
    assert len({(a, b) for a, b in zip(kinds, found["labels"], strict=True)}) == 3
    noise = convergence.cluster(jump_rows(np.zeros(36), rng))
    assert noise["stability"] < 0.8 and noise["silhouette"] < found["silhouette"]
    assert convergence.cluster(jump_rows(kinds[:5], rng))["kinds"] is None


@pytest.mark.slow
def test_structureless_jumps_have_no_stable_kinds():
    rng = np.random.default_rng(1)
    trials = [convergence.cluster(jump_rows(np.zeros(24), rng), seed)["p"] for seed in range(3)]
    assert (np.array(trials) <= 0.05).sum() <= 1  # 2 of 3: p .007


def test_size_speed_phase_and_depth_of_a_planted_jump():
    layers = np.full((1, 200, 3), 10.0)
    layers[0, 120:, 1] = 8.0
    jump = {"seed": 4, "layer": "b", "step": 600, "size": -2.0}
    d = layers.mean(2)
    (row,) = convergence.characterise([jump], layers, d, [4], ["a", "b", "c"], 5 * np.arange(200))
    assert row["relative_size"] == pytest.approx(-0.2) and row["phase"] == pytest.approx(600 / 995)
    assert row["speed"] == pytest.approx(0.2 / 5) and row["depth"] == 0.5


def rows_of(seed, rng, jumps=8, slope=0.0):
    """Jumps of one seed in clusters, as of layers that move together."""
    phase = np.repeat(np.sort(rng.random(jumps // 2)), 2)
    size = np.repeat(rng.standard_normal(jumps // 2), 2) + 0.1 * rng.standard_normal(jumps)
    size = np.exp(size - slope * phase)
    return [
        {"seed": seed, "relative_size": s, "speed": 1.0, "phase": p + 1e-3 * i}
        for i, (p, s) in enumerate(zip(phase, size, strict=True))
    ]


def test_early_against_late_counts_seeds_not_jumps():
    rng = np.random.default_rng(0)
    rows = [row for seed in range(8) for row in rows_of(seed, rng, slope=20)]
    found = convergence.early_against_late(rows)
    assert found["relative_size"]["rho"] < -0.6 and found["relative_size"]["p"] == 2 / 2**8
    assert found["relative_size"]["n"] == 8 and "speed" not in found
    few = convergence.early_against_late(rows_of(0, rng, slope=20))["relative_size"]
    assert np.isnan(few["p"]) and few["too_few"].startswith("too few to tell: n = 1 seeds")
    assert convergence.early_against_late(rows[:2]) == {}


@pytest.mark.parametrize("seeds", [3, 6])
def test_jumps_that_cluster_in_time_are_no_trend(seeds):
    rng, found = np.random.default_rng(0), []
    for _ in range(100):
        rows = [row for seed in range(seeds) for row in rows_of(seed, rng)]
        found.append(convergence.early_against_late(rows)["relative_size"]["p"] <= 0.05)
    assert np.mean(found) <= 0.1  # 5 % and two standard errors


def test_four_layers_are_too_few_for_an_order():
    order = convergence.settling_order(np.tile(np.arange(4), (9, 1)), np.random.default_rng(0))
    assert order["rho"] is None and order["p"] is None and order["pattern"] == "too few layers"


def test_orders_of_many_runs_are_corrected_together():
    """Of 12 runs whose layers settle in any order, some have p <= .05; none is called an order."""
    rng = np.random.default_rng(8)
    orders = [convergence.settling_order(rng.random((1, 6)), rng) for _ in range(12)]
    assert min(order["p"] for order in orders) <= 0.05
    table = _families({str(i): course_of(order) for i, order in enumerate(orders)})
    assert set(table["settling"]) == {"no order"} and table["q"].min() > 0.05
    planted = convergence.settling_order(np.tile(np.arange(7), (3, 1)), rng)
    table = _families({str(i): course_of(o) for i, o in enumerate([planted, *orders])})
    assert table["settling"].iloc[0] == "bottom-up"


def course_of(order):
    about = {"architecture": "a", "data": "b", "seeds": [0], "measurements": 9, "settled": {"x": 0}}
    return about | {"jumps": [], "coordination": [], "convergence": order}
