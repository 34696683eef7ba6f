"""Warnings that were planted at a known distance before an ability, and none."""

import numpy as np
import pytest
from scipy.stats import norm

from analysis.tap import early_warning, precursors
from analysis.tap.precursors import emergence, order_over_seeds
from analysis.tap.signals import Signal
from tests.analysis.tap.test_precursors import SEEDS, STEPS, made, rise


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_planted_warning_is_found_at_its_distance(rng):
    _, ability, signal = made(rng, lead=150)
    onset = emergence(STEPS, ability).onset
    area, p = early_warning.warning(signal, onset, 50, rng)
    assert area > 0.95 and p < 0.01
    assert early_warning.area(signal, onset, 50) == area
    rule = early_warning.alarm_rule(signal, onset, 50, "parity")
    assert rule.hits > 0.8 and 50 < rule.lead < 250 and rule.false_alarms == 1 / (SEEDS + 1)
    late, _ = early_warning.warning(signal, onset, 400, rng)
    assert late < 0.75


@pytest.mark.parametrize("faster", [0, 100])
def test_a_signal_that_moves_in_its_controls_gives_no_warning(faster):
    """Whether it moves there at the same steps, or earlier and more."""
    below, areas = [], []
    for seed in range(40):
        draw = np.random.default_rng(seed)
        _, ability, signal = made(draw)
        both = rise(draw.uniform(400, 700, 2 * SEEDS) - faster * (np.arange(40) >= SEEDS), 40)
        both = both * np.where(np.arange(40) >= SEEDS, 1 + faster / 100, 1)[:, None]
        both += 0.05 * draw.standard_normal(both.shape)
        signal = signal._replace(values=both[:SEEDS], control=both[SEEDS:])
        onset = emergence(STEPS, ability).onset
        area, p = early_warning.warning(signal, onset, 20, draw)
        areas.append(area)
        below.append(p <= 0.1)
    if faster:
        assert np.mean(areas) < 0.3 and not any(below)
    else:
        assert abs(np.mean(areas) - 0.5) < 0.06 and np.mean(below) <= 0.2


@pytest.mark.parametrize("by", [-1, 1])
def test_a_signal_that_differs_before_training_is_not_tested(rng, by):
    """As if the controls were measured on other examples."""
    _, ability, signal = made(rng, lead=150)
    apart = signal._replace(values=signal.values + by)
    onset = emergence(STEPS, ability).onset
    assert np.isnan(early_warning.warning(apart, onset, 20, rng)).all()
    assert np.isnan(early_warning.area(apart, onset, 20))
    assert early_warning.alarm_rule(apart, onset, 20, "parity") is None


@pytest.mark.parametrize("every", [1, 5])
def test_warnings_do_not_look_ahead(every):
    """A signal that knows everything at the onset, and nothing before."""
    areas, nexts, hits = [], [], []
    for seed in range(12):
        draw = np.random.default_rng(seed)
        _, ability, _ = made(draw)
        onset = emergence(STEPS, ability).onset
        noise = 0.05 * draw.standard_normal((2, SEEDS, len(STEPS)))
        late = noise[0] + 10 * (STEPS[None] >= onset[:, None])
        late = Signal("late", STEPS[::every], late[:, ::every], noise[1][:, ::every])
        areas.append(early_warning.warning(late, onset, 1, draw)[0])
        hits.append(early_warning.alarm_rule(late, onset, 1, "x").hits)
        nexts.append(early_warning.next_seed(late, onset, 1, draw)[0])
    assert abs(np.mean(areas) - 0.5) < 0.1 and abs(np.mean(nexts) - 0.5) < 0.1, (areas, nexts)
    assert np.mean(hits) < 0.1, hits


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_signal_that_tells_the_next_seed_is_found_in_both_directions(rng, sign):
    _, ability, signal = made(rng, lead=150)
    onset = emergence(STEPS, ability).onset
    value, p = early_warning.next_seed(signal._replace(values=sign * signal.values), onset, 50, rng)
    assert sign * (value - 0.5) > 0.35 and p < 0.01
    # A signal that only tells the time is the same in all seeds.
    clock = signal._replace(values=np.tile(STEPS / 1000.0, (SEEDS, 1)))
    assert early_warning.next_seed(clock, onset, 50, rng) == (0.5, 1.0)


def test_signals_without_knowledge_tell_the_next_seed_as_often_as_p_says():
    below = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        _, ability, signal = made(draw)
        onset = emergence(STEPS, ability).onset
        below.append(early_warning.next_seed(signal, onset, 50, draw)[1] <= 0.1)
    assert np.mean(below) <= 0.18


def test_seeds_that_never_become_able_are_later_seeds(rng):
    onset = np.where(np.arange(SEEDS) < 8, 500.0, np.nan)
    level = np.where(np.arange(SEEDS) < 8, 1.0, 0.0)[:, None] + 0 * STEPS
    value, p = early_warning.next_seed(Signal("x", STEPS, level), onset, 50, rng)
    assert value == 1 and p < 0.01


def test_few_seeds_are_not_tested(rng):
    signal = Signal("x", STEPS, np.zeros((5, len(STEPS))), np.zeros((20, len(STEPS))))
    assert np.isnan(early_warning.warning(signal, np.full(5, 500.0), 20, rng)).all()
    assert np.isnan(early_warning.next_seed(signal, np.full(5, 500.0), 20, rng)).all()


def test_the_stated_power_is_that_of_planted_effects(monkeypatch):
    """Moves of seeds and controls are normal, apart by as much as gives the stated area."""
    found = {"area": [], "rho": []}
    least = early_warning.least_effects(SEEDS, SEEDS, 1)
    many = early_warning.least_effects(SEEDS, SEEDS, 30)
    for module in (early_warning, precursors):
        monkeypatch.setattr(module, "PERMUTATIONS", 499)
    draw = np.random.default_rng(0)
    shift = norm.ppf(least["area"]) * 2**0.5
    r = 2 * np.sin(np.pi / 6 * least["rho"])  # of normal values with this rank correlation
    for _ in range(120):
        rows = (
            draw.standard_normal((2 * SEEDS, 1)) + shift * (np.arange(2 * SEEDS) < SEEDS)[:, None]
        )
        rows = np.concatenate([np.zeros((2 * SEEDS, 3)), np.repeat(rows + 9, 4, 1)], 1)
        signal = Signal("x", np.arange(7), rows[:SEEDS], rows[SEEDS:])
        p = early_warning.warning(signal, np.full(SEEDS, 6.0), 0, draw)[1]
        found["area"].append(p <= 0.05)
        a, noise = draw.standard_normal((2, SEEDS))
        b = r * a + np.sqrt(1 - r**2) * noise
        found["rho"].append(order_over_seeds(a, b, None, draw)[1] <= 0.05)
    power = {name: np.mean(each) for name, each in found.items()}
    assert all(0.68 < each < 0.92 for each in power.values()), power
    assert least["area"] < many["area"] < 1 and least["rho"] < many["rho"] < 1
    assert np.isnan(early_warning.least_effects(SEEDS, 0, 10)["area"])
    assert np.isnan([*early_warning.least_effects(6, 6, 30).values()]).any()
    assert np.isnan([*early_warning.least_effects(SEEDS, SEEDS, 50).values()]).all()


def test_slow_seeds_without_the_ability_are_not_left_out_in_silence(rng):
    _, ability, signal = made(rng, lead=150)
    onset = emergence(STEPS, ability).onset
    onset[:4] = np.nan
    assert np.isnan(early_warning.warning(signal, onset, 50, rng)).all()
