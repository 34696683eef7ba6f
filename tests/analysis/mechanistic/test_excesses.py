import numpy as np
import pytest

from analysis.mechanistic.excesses import LEAST_OF_SEED, excesses, usable

PAIRS, QUANTITIES = 40, 30


def ordinary(rng, seeds=2):
    """Changes that shrink with the step, of sizes that differ by quantity, some heavy-tailed."""
    seed_N = np.repeat(np.arange(seeds), PAIRS)
    step_N = np.tile(np.linspace(100, 2000, PAIRS), seeds)
    noise = rng.standard_normal((len(seed_N), QUANTITIES))
    noise[:, :5] = rng.standard_t(3, (len(seed_N), 5))
    size = np.logspace(-6, 1, QUANTITIES)
    changes = size * np.exp(0.4 * noise) / step_N[:, None] ** 0.7
    changes[:, -1] = rng.random(len(seed_N)) < 0.03  # a count that rarely moves
    return changes, seed_N, step_N


def judge(changes, seed_N, step_N, observed, step):
    least = np.where(np.arange(QUANTITIES) == QUANTITIES - 1, 0.5, 1e-9)
    return excesses(changes, seed_N, step_N, observed, 1, step, least)


def test_an_ordinary_change_is_not_found():
    hits = []
    for trial in range(200):
        changes, seed_N, step_N = ordinary(np.random.default_rng(trial))
        mine = PAIRS + trial % PAIRS  # one of seed 1's own, taken out and judged
        rest = np.arange(len(changes)) != mine
        _, p = judge(changes[rest], seed_N[rest], step_N[rest], changes[mine], step_N[mine])
        hits.append(p.min() <= 0.05)
    assert np.mean(hits) <= 0.09  # 5 % and two standard errors of 200 trials


def test_a_change_several_times_the_ordinary_is_found_and_leads():
    for trial in range(10):
        changes, seed_N, step_N = ordinary(np.random.default_rng(trial))
        observed = changes[PAIRS + 20].copy()
        observed[12] *= 30
        z, p = judge(changes, seed_N, step_N, observed, step_N[20])
        assert z.argmax() == 12 and p[12] <= 0.05 and (np.delete(p, 12) > 0.02).all()


def test_an_early_change_is_judged_by_the_trend():
    changes, seed_N, step_N = ordinary(np.random.default_rng(0))
    usual_at_20 = np.logspace(-6, 1, QUANTITIES) / 20**0.7
    usual_at_20[-1] = 0
    _, p = judge(changes, seed_N, step_N, usual_at_20, 20)
    assert p.min() > 0.05


def test_too_few_ordinary_pairs_are_refused():
    changes, seed_N, step_N = ordinary(np.random.default_rng(0))
    with pytest.raises(ValueError, match="15 ordinary pairs are too few, at least 19"):
        judge(changes[-15:], seed_N[-15:], step_N[-15:], changes[0], 100)


def test_units_that_now_and_then_move_far_do_not_hide_a_layer():
    """In 10 % of ordinary pairs one unit moves 3 to 30 times as far as it does in others."""
    first, false = [], []
    for trial in range(20):
        rng = np.random.default_rng(trial)
        changes, seed_N, step_N = ordinary(rng)
        changes = changes[:, 5:-1]  # without those of heavy tails
        units_NxU = np.exp(0.2 * rng.standard_normal((len(seed_N) + 1, 30)))
        moved = np.flatnonzero(rng.random(len(seed_N)) < 0.1)
        further = np.exp(rng.uniform(np.log(3), np.log(30), len(moved)))
        units_NxU[moved, rng.integers(30, size=len(moved))] *= further
        observed = changes[PAIRS + 20].copy()
        where = (seed_N, step_N, observed, 1, step_N[20])
        layers = [(units_NxU[-1], units_NxU[:-1])]
        _, p = excesses(changes, *where, of_units=layers)
        false.append(p.min() <= 0.05)
        observed[12] *= 20
        _, p = excesses(changes, *where, of_units=layers)
        first.append(p[12] < 1.5 / len(seed_N))
    assert np.mean(first) >= 0.9 and sum(false) <= 3


def test_the_smallest_p_counts_the_pairs_that_are_compared():
    """A third seed with too few pairs takes part in nothing, nor in the smallest p."""
    changes, seed_N, step_N = ordinary(np.random.default_rng(0), seeds=3)
    few = (seed_N < 2) | (np.arange(len(seed_N)) < 2 * PAIRS + LEAST_OF_SEED - 1)
    rows = usable(seed_N[few])
    assert len(rows) == 2 * PAIRS < few.sum()
    huge = 1e3 * changes[few].max(0)
    _, p = judge(changes[few], seed_N[few], step_N[few], huge, 1000.0)
    assert p.min() == 1 / (1 + len(rows))
