"""Signals that move before an ability emerges, planted and absent."""

import numpy as np
import pytest

from analysis.tap import precursors
from analysis.tap.signals import Signal

STEPS = np.arange(0, 1000, 10)
SEEDS = 20


def rise(at, width=20.0):
    return 1 / (1 + np.exp(-(STEPS[None] - np.asarray(at)[:, None]) / width))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def made(rng, lead=None, share=1.0, noise=0.05):
    """(ability, signal): the signal rises `lead` steps before the ability, or at steps of its own.

    `share` is the part of its timing that it shares with the ability.
    """
    able = rng.uniform(500, 800, SEEDS)
    own = rng.uniform(400, 700, SEEDS)
    at = own if lead is None else share * able + (1 - share) * own.mean() - lead
    ability = rise(able) + 0.02 * rng.standard_normal((SEEDS, len(STEPS)))
    values = rise(at, 40) + noise * rng.standard_normal((SEEDS, len(STEPS)))
    control = noise * rng.standard_normal((SEEDS, len(STEPS)))
    return able, ability, Signal("x", STEPS, values, control)


def test_an_ability_emerges_where_it_rises(rng):
    able, ability, _ = made(rng)
    found = precursors.emergence(STEPS, ability)
    np.testing.assert_allclose(found.half, able, atol=25)
    assert (found.onset < found.half).all() and (found.half < found.end).all()
    flat = precursors.emergence(STEPS, 0.02 * rng.standard_normal((3, len(STEPS))))
    assert np.isnan(flat.onset).all()


def test_noise_is_no_emergence_and_an_early_rise_is_one(rng):
    steps = np.arange(400)
    chance = rng.binomial(32, 0.5, (200, 400)) / 32
    assert np.isfinite(precursors.emergence(steps, chance).half).mean() <= 0.01
    early = 1 / (1 + np.exp(-(STEPS[None] - rng.uniform(30, 60, 12)[:, None]) / 5))
    found = precursors.emergence(STEPS, early)
    assert np.isfinite(found.half).all() and found.half.max() <= 70


def test_the_speed_is_that_of_the_loss_before_the_ability(rng):
    able, ability, _ = made(rng)
    onset = precursors.emergence(STEPS, ability).onset
    pace = rng.uniform(50, 150, SEEDS)
    noise = 0.01 * rng.standard_normal(ability.shape)
    loss = 1 + np.exp(-STEPS[None] / pace[:, None]) - rise(able) + noise
    speed = precursors.speed_of_seeds(Signal("probe/loss", STEPS, loss), onset)
    assert np.corrcoef(speed, pace)[0, 1] > 0.95
    late_only = Signal("probe/loss", STEPS, 1 - rise(able) + noise)
    assert precursors.speed_of_seeds(late_only, onset) is None


def test_a_signal_moves_where_it_was_made_to(rng):
    able, _, signal = made(rng, lead=100)
    np.testing.assert_allclose(precursors.moving_steps(signal), able - 100, atol=45)
    falling = signal._replace(values=-signal.values)
    np.testing.assert_allclose(precursors.moving_steps(falling), able - 100, atol=45)
    still = signal._replace(values=signal.control)
    assert np.isnan(precursors.moving_steps(still)).mean() > 0.7


def test_a_planted_order_is_found_and_one_that_speed_explains_is_not(rng):
    able, _, signal = made(rng, lead=100)
    moved = precursors.moving_steps(signal)
    value, p = precursors.order_over_seeds(moved, able, None, rng)
    assert value > 0.8 and p < 0.01
    # Both follow the speed of the seed, and nothing else.
    below = {"alone": [], "given speed": []}
    for seed in range(60):
        draw = np.random.default_rng(seed)
        speed = draw.uniform(0, 1, SEEDS)
        a, b = (speed + 0.2 * draw.standard_normal(SEEDS) for _ in range(2))
        for name, given in (("alone", None), ("given speed", speed)):
            below[name].append(precursors.order_over_seeds(a, b, given, draw)[1] <= 0.05)
    assert np.mean(below["alone"]) > 0.6 and np.mean(below["given speed"]) <= 0.15, below


def test_the_order_of_unrelated_steps_is_found_as_often_as_p_says():
    below = []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        a, b, speed = draw.standard_normal((3, 12))
        below.append(precursors.order_over_seeds(a, b, speed, draw)[1] <= 0.1)
    assert np.mean(below) <= 0.18


def test_the_forecast_does_not_look_ahead():
    """A signal that knows everything after the time of the forecast, and nothing before."""
    scores = []
    for seed in range(12):
        draw = np.random.default_rng(seed)
        able, ability, signal = made(draw)
        told = 0.05 * draw.standard_normal(ability.shape) + able[:, None] * (STEPS[None] > 300)
        scores.append(precursors.forecast([signal._replace(values=told)], able, 300))
    assert np.mean(scores) < 0.1, scores


def test_the_interval_of_the_half_holds_the_true_step_and_grows_with_the_noise():
    held, widths = [], []
    for noise in (0.02, 0.15):
        draw = np.random.default_rng(1)
        able = draw.uniform(500, 800, SEEDS)
        ability = rise(able, 60) + noise * draw.standard_normal((SEEDS, len(STEPS)))
        low, high = precursors.half_intervals(STEPS, ability, draw).T
        half = precursors.emergence(STEPS, ability).half
        assert ((low <= half) & (half <= high)).mean() > 0.8
        widths.append(np.median(high - low))
        held.append(np.mean((low - 10 <= able) & (able <= high + 10)))
    assert widths[1] > widths[0] and min(held) > 0.7, (widths, held)


def test_the_forecast_is_held_out(rng):
    able, _, signal = made(rng)
    early = signal._replace(values=np.outer(able, STEPS) / 1e5)
    noise = signal._replace(values=rng.standard_normal(signal.values.shape))
    assert precursors.forecast([early], able, 300) > 0.8
    assert precursors.forecast([noise], able, 300) < 0.2
    assert np.isnan(precursors.forecast([early], able, 900))
    late = Signal("late", STEPS[50:], np.outer(able, STEPS)[:, 50:])
    assert np.isnan(precursors.forecast([late], able, 300))
    assert np.isnan(precursors.forecast([noise], np.full(SEEDS, 500.0), 300))


def test_few_seeds_have_no_p(rng):
    few = np.arange(5.0)
    assert np.isnan(precursors.order_over_seeds(few, few, None, rng)).all()
    signal = Signal("x", STEPS, np.zeros((5, len(STEPS))))
    assert np.isnan(precursors.forecast([signal], np.full(5, 500.0), 100))
