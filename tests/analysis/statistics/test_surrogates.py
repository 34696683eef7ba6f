import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics import surrogates


def wandering(length=300, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.standard_normal(length)) * 0.2 + rng.standard_normal(length)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_iaaft_keeps_the_values_and_nearly_the_spectrum(seed):
    x = wandering(seed=seed)
    made = surrogates.iaaft(x, 5, np.random.default_rng(seed))
    np.testing.assert_allclose(np.sort(made, 1), np.tile(np.sort(x), (5, 1)))
    power = np.abs(np.fft.rfft(x))
    error = np.abs(np.abs(np.fft.rfft(made)) - power).sum(1) / power.sum()
    # Of 4,000 surrogates, 99.9 % are below .042, and the largest is .058.
    assert np.median(error) < 0.04 and error.max() < 0.1
    # Steps, not values: two wanderings resemble each other by chance.
    steps = np.diff(np.vstack([x, made]), axis=1)
    assert np.abs(np.corrcoef(steps)[0, 1:]).max() < 0.4


def test_same_phases_keep_what_rows_of_a_group_share():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal(256)
    x = np.stack([shared, shared + 0.1 * rng.standard_normal(256), rng.standard_normal(256)])
    made = surrogates.same_phases(x, np.array([0, 0, 1]), 20, rng)
    np.testing.assert_allclose(np.abs(np.fft.rfft(made[3]))[:, :-1], np.abs(np.fft.rfft(x))[:, :-1])
    together = [np.corrcoef(m)[0, 1] for m in made]
    assert min(together) > 0.95
    assert max(abs(np.corrcoef(x[0], m[0])[0, 1]) for m in made) < 0.5


def test_shifts_move_by_at_least_so_much_either_way():
    shifts = surrogates.circular_shifts(100, 30, 1000, np.random.default_rng(0))
    assert shifts.min() == 30 and shifts.max() == 70
    with pytest.raises(ValueError, match="60 points"):
        surrogates.circular_shifts(60, 30, 5, np.random.default_rng(0))


def test_p_values_count_the_series_itself():
    assert surrogates.p_value(2.0, np.zeros(19)) == 1 / 20
    assert surrogates.p_value(0.0, np.zeros(19)) == 1.0
