"""Simplex and S-map where the answer is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from analysis import edm
from analysis.edm import forecast, s_map, select
from analysis.edm.coupled_maps import coupled_maps

HALVES = {"library": np.arange(4, 498), "prediction": np.arange(500, 998)}


def autoregression(length, coefficients, seed=0):
    x = np.zeros(length)
    noise = np.random.default_rng(seed).standard_normal(length)
    for t in range(2, length):
        x[t] = coefficients @ x[t - 2 : t][::-1] + noise[t]
    return x


def rho(forecast):
    return edm.skill(forecast.observed, forecast.predicted)["rho"]


def test_a_chaotic_map_is_predicted():
    x, _ = coupled_maps(1000, 0.0, 0.0)
    assert rho(edm.simplex(x, x, **HALVES, dimension=2)) > 0.999


def test_a_linear_process_gains_nothing_by_theta_and_a_chaotic_one_does():
    thetas = (0, 1, 3)
    linear = autoregression(1000, np.array([0.6, -0.5]))
    flat = edm.predict_nonlinear(linear, linear, **HALVES, dimension=2, thetas=thetas)
    assert flat[0] >= flat.max() - 0.01
    x, _ = coupled_maps(1000, 0.0, 0.0)
    curved = edm.predict_nonlinear(x, x, **HALVES, dimension=2, thetas=thetas)
    assert curved[2] > 0.99 > 0.8 > curved[0]


def test_an_smap_finds_the_coefficients_of_an_autoregression():
    true = np.array([0.6, -0.5])
    x = autoregression(1000, true)
    found = edm.smap(x, x, **HALVES, dimension=2, theta=0).coefficients
    assert np.ptp(found, axis=0).max() < 1e-10  # one map everywhere
    np.testing.assert_allclose(found[0, 1:], true, atol=0.1)


@pytest.mark.parametrize("dimension", [1, 3, 6, 10])
@pytest.mark.parametrize("theta", [0, 0.5, 3, 8])
def test_moments_give_what_least_squares_gives(dimension, theta, monkeypatch):
    x, y = coupled_maps(400, 0.02, 0.1, noise=0.01)
    rows = {"library": np.arange(20, 200), "prediction": np.arange(150, 380)}
    fast = edm.smap(x, y, **rows, dimension=dimension, theta=theta, theiler=2)
    monkeypatch.setattr(s_map, "CONDITION", 0.0)
    slow = edm.smap(x, y, **rows, dimension=dimension, theta=theta, theiler=2)
    np.testing.assert_allclose(fast.predicted, slow.predicted, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(fast.coefficients, slow.coefficients, rtol=1e-6, atol=1e-6)


def test_a_smooth_curve_is_solved_although_its_lags_are_nearly_equal():
    t = np.arange(1000)
    x = np.exp(-t / 400) + 1e-3 * np.sin(t / 15)
    found = edm.smap(x, x, **HALVES, dimension=4, theta=2)
    assert np.abs(found.predicted - found.observed).max() < 1e-4


def test_a_sine_has_dimension_two():
    x = np.sin(0.31 * np.arange(1000))
    skill = edm.embed_dimension(x, x, **HALVES, dimensions=range(1, 6))
    assert skill[0] < 0.99 < skill[1]
    assert select.smallest_good(range(1, 6), skill, 0.005) == 2


def test_chaos_is_forgotten_and_a_cycle_is_not():
    x, _ = coupled_maps(1000, 0.0, 0.0)
    near, far = edm.predict_interval(x, x, **HALVES, dimension=2, horizons=(1, 20))
    assert near > 0.99 and far < 0.3
    cycle = np.sin(0.31 * np.arange(1000))
    assert edm.predict_interval(cycle, cycle, **HALVES, dimension=2, horizons=(1, 20))[1] > 0.99


def test_a_row_is_not_its_own_neighbour_and_a_window_excludes_more():
    walk = np.cumsum(np.random.default_rng(0).standard_normal(600))
    everything = {"library": np.arange(600), "prediction": np.arange(600), "dimension": 2}
    x = np.random.default_rng(1).standard_normal(600)
    assert abs(rho(edm.simplex(x, x, **everything))) < 0.2
    near = edm.simplex(walk, walk, **everything, horizon=0)
    far = edm.simplex(walk, walk, **everything, horizon=0, theiler=100)
    assert np.abs(near.predicted - walk[near.rows]).mean() < np.nanmean(
        np.abs(far.predicted - walk[far.rows])
    )


def test_rows_leave_room_for_lags_and_targets():
    found = edm.rows([(0, 10), (20, 30)], dimension=3, tau=-2, horizon=1)
    np.testing.assert_array_equal(found, [*range(4, 9), *range(24, 29)])
    back = edm.rows([(0, 10)], dimension=1, horizon=-3)
    np.testing.assert_array_equal(back, range(3, 10))
    with pytest.raises(ValueError, match="no row of the segments"):
        edm.rows([(0, 4)], dimension=5)


def test_errors_name_what_is_wrong():
    x = np.arange(50.0)
    with pytest.raises(ValueError, match="prediction rows 0 to 50 of 50"):
        edm.simplex(x, x, range(20), range(51), dimension=2)
    with pytest.raises(ValueError, match="3 library rows are too few for 4 neighbours"):
        edm.simplex(x, x, range(2, 5), range(20, 30), dimension=3)
    with pytest.raises(ValueError, match="no library row"):
        edm.simplex(x, x * np.nan, range(20), range(30), dimension=3)
    with pytest.raises(ValueError, match="cannot be predicted at all"):
        constant = np.ones(50)
        select.smallest_good(
            [1], edm.embed_dimension(constant, constant, range(20), range(20, 40), [1])
        )
    with pytest.raises(ValueError, match="too few for 9 values 10 apart"):
        edm.delays(x, 9, -10)


def test_mean_absolute_error_is_that():
    scores = edm.skill([0.0, 1, 2, 3, 4, np.nan], [1.0, 1, 2, 3, 2, 9])
    assert scores["mae"] == pytest.approx(0.6) and scores["n"] == 5
    assert np.isnan(edm.skill(np.ones(6), np.arange(6))["rho"])


def test_views_are_ranked_and_averaged():
    x, y = coupled_maps(600, 0.02, 0.1)
    series = np.stack([x, y, np.random.default_rng(0).standard_normal(600)], 1)
    found = edm.multiview(
        series, x, np.arange(300), np.arange(300, 600), dimension=2, size=2, theiler=5
    )
    assert len(found.columns) == 3 and (np.diff(found.rho) <= 0).all()
    assert (0, 0) in found.columns[0]  # x itself, not the noise
    assert rho(found.forecast) > 0.9


def test_intervals_of_rho_hold_where_points_remember_their_neighbours():
    """Coverage for autoregressions of known correlation; single points would be too sure."""
    rng, held, naive = np.random.default_rng(0), [], []
    for _ in range(60):
        common, own = (lfilter([1], [1, -0.9], rng.standard_normal(600)) for _ in range(2))
        y = 0.6 * common + 0.8 * own  # rho = .6
        for block, found in ((40, held), (1, naive)):
            low, high = forecast.interval(common, y, block)
            found.append(low <= 0.6 <= high)
    assert np.mean(held) > 0.8 > np.mean(naive) + 0.2
    assert np.isnan(forecast.interval(common[:20], y[:20], 10)).all()
