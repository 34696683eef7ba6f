import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.tap import detector_validity
from tapjax.contract import detector, step_tests

SEEDS = 20
FRESH = 1000  # the thresholds were chosen on batteries below 100
TABLE = Path(__file__).parents[3] / "docs" / "results" / "tap" / "detector" / "detector.csv"


def indices(series):
    return [jump.index for jump in detector.detect(series, np.arange(len(series)))]


def find_each(series_NxT):
    found = detector.detect_each(series_NxT, np.arange(series_NxT.shape[1]))
    return [[jump.index for jump in of_one] for of_one in found]


@pytest.fixture(scope="module")
def scores():
    return {row["fixture"]: row for row in detector_validity.validate(find_each, SEEDS, FRESH)}


@pytest.mark.parametrize("name", ["step of 4 sd", "step of 6 sd", "step of 33 sd", "three steps"])
def test_planted_steps_are_found(scores, name):
    assert scores[name]["recall"] >= 0.95


def test_small_and_awkward_steps_are_found(scores):
    assert scores["step of 3 sd"]["recall"] >= 0.9
    assert scores["step in a recovery"]["recall"] >= 0.8
    assert scores["break in a quiet recovery"]["recall"] >= 0.95


def test_no_null_is_mistaken_for_jumps(scores):
    rates = {k: row["false_per_1000"] for k, row in scores.items() if row["recall"] is None}
    assert len(rates) == detector.NULLS
    assert all(rate <= 0.5 for rate in rates.values()), max(rates, key=rates.get)
    assert np.mean(list(rates.values())) <= 0.05
    assert rates["drift"] == 0


def test_the_promised_rate_is_that_of_the_worst_null_in_the_table():
    with TABLE.open(newline="") as file:
        nulls = [
            row
            for row in csv.DictReader(file)
            if row["detector"] == "tapjax" and row["recall"] == ""
        ]
    worst = max(nulls, key=lambda row: float(row["false_per_1000"]))
    assert (len(nulls), worst["fixture"]) == (detector.NULLS, detector.WORST_NULL)
    assert detector.FALSE_PER_1000 == pytest.approx(float(worst["false_per_1000"]), abs=0.005)
    assert detector.WORST_NULL in detector.by_chance(1000)


@pytest.mark.parametrize("noise", [0, 1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize(("before", "after"), [(3, 40), (0, 1), (10, 20), (1, 1.001), (-0.2, 0)])
def test_a_step_between_constant_levels_is_found(before, after, noise):
    t = np.arange(300)
    series = np.where(t < 170, before, after) + noise * np.random.default_rng(0).normal(size=300)
    (jump,) = detector.detect(series, t)
    assert jump.index == 170 and jump.size == pytest.approx(after - before, rel=0.01)


@pytest.mark.parametrize("levels", [(3, 40, 77, 114, 151), (3.3, 40.3, 7.1, 90, 20)])
def test_rare_steps_between_many_constant_levels_are_found(levels):
    places, t = (120, 180, 240, 300), np.arange(400)
    series = np.array(levels, float)[np.digitize(t, places)]
    for noisy in (series, series + 1e-9 * np.sin(t), series.astype(np.float32)):
        assert tuple(indices(noisy)) == places


def test_a_unit_of_a_large_count_is_no_jump():
    lone = 12.0 + (np.arange(400) >= 200)
    assert indices(lone) == [] and indices(lone / 3) != []
    flicker = np.round(0.3 * np.random.default_rng(0).standard_normal(400)) + 12
    assert indices(flicker + (np.arange(400) >= 200)) == []


def test_a_window_tells_a_step_from_smooth_curves():
    place = np.arange(-detector.HALF, detector.HALF)
    found = step_tests.fit(3.0 * (place >= 4) + 0.1 * place, 0.01)
    assert (found.shift, found.smooth) == (4, False) and found.gap == pytest.approx(3)
    for curve in (np.maximum(place, 0), np.maximum(place + 0.5, 0), np.clip(place / 12, 0, 1)):
        found = step_tests.fit(5.0 * curve, 1e-6)
        assert found.smooth or abs(found.gap) < 1e-6


def test_a_jump_is_where_and_how_large_it_was_planted():
    rng = np.random.default_rng(0)
    series = 5 + 0.1 * rng.standard_normal(300) - 2.0 * (np.arange(300) >= 170)
    (jump,) = detector.detect(series, 5 * np.arange(300))
    assert abs(jump.index - 170) <= 1 and jump.step == 5 * jump.index
    assert jump.size == pytest.approx(-2, abs=0.15) and jump.score > 1


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), part=st.integers(1, 130))
def test_a_search_in_parts_finds_what_one_search_finds(seed, part):
    series_NxT = np.stack([series for _, series, _ in detector_validity.fixtures(seed)[:3]])
    steps = 5 * np.arange(series_NxT.shape[1])
    found, start = [[], [], []], np.zeros(3, int)
    for end in [*range(part, len(steps), part), len(steps)]:
        new, start = detector.search(series_NxT[:, :end], steps[:end], start)
        found = [old + more for old, more in zip(found, new, strict=True)]
    for parts, whole in zip(found, detector.detect_each(series_NxT, steps), strict=True):
        assert [j[:2] for j in parts] == [j[:2] for j in whole]
        np.testing.assert_allclose([j[2:] for j in parts], [j[2:] for j in whole])


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    end=st.integers(60, 399),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_what_is_seen_while_training_is_what_is_found_afterwards(seed, end, scale):
    for _, series, _ in detector_validity.fixtures(seed)[:3]:
        whole, part = indices(series), indices(series[:end])
        assert part == whole[: len(part)]
        # A jump is final DELAY measurements after the boundary it was noticed at.
        late = [i for i in whole[len(part) :] if i < end - detector.DELAY - detector.WINDOW]
        assert not late
        assert indices(scale * series) == whole
        assert indices(-series) == whole


def test_rounding_noise_is_not_a_jump():
    step = 1e-7 * (np.arange(400) >= 200)
    assert indices(1.0 + step) == []
    assert indices(np.ones(400)) == []
    jitter = 2e-7 * np.random.default_rng(0).standard_normal(400)
    assert len(indices(1.0 + 1e4 * step + jitter)) == 1


def test_one_unit_of_a_count_is_no_jump_but_many_are():
    count = np.round(5 + 0.6 * np.random.default_rng(0).standard_normal(400))
    later = np.arange(400) >= 200
    assert indices(count + later) == [] and len(indices(count + 6 * later)) == 1


def test_a_series_is_searched_up_to_its_first_value_that_is_not_finite():
    series = 0.1 * np.random.default_rng(0).standard_normal((2, 400)) + (np.arange(400) >= 170)
    series[1, 300:] = np.nan
    whole, broken = detector.search_finite(series, np.arange(400), np.zeros(2, int))[0]
    assert [j.index for j in whole] == indices(series[0])
    assert [j.index for j in broken] == indices(series[1, :300]) != []


def test_many_series_at_once_are_each_alone():
    series = np.stack([f.series for f in detector_validity.fixtures(3)[:3]])
    steps = 5 * np.arange(series.shape[1])
    assert detector.detect_each(series, steps) == [detector.detect(s, steps) for s in series]


def test_degenerate_series():
    assert detector.detect(np.arange(30.0), np.arange(30)) == []
    with pytest.raises(ValueError, match="not finite"):
        detector.detect(np.full(200, np.nan), np.arange(200))
    with pytest.raises(ValueError, match="measurements and 3 steps"):
        detector.detect(np.ones(200), np.arange(3))


def test_the_battery_notices_bad_detectors():
    always = detector_validity.validate(lambda x_NxT: [range(0, x_NxT.shape[1], 5)] * len(x_NxT), 2)
    assert all(row["recall"] in (None, 1.0) for row in always)
    assert all(row["false_per_1000"] > 100 for row in always)
    never = detector_validity.validate(lambda x_NxT: [[]] * len(x_NxT), 2)
    assert all(row["recall"] in (None, 0.0) and row["false_per_1000"] == 0 for row in never)
    twice = detector_validity.validate(lambda x_NxT: [[200, 200]] * len(x_NxT), 2)
    assert all(row["false_per_1000"] > 0 for row in twice)
