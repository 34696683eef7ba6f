import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.edm import baselines, nulls, skill
from analysis.edm.coupled_maps import coupled_maps
from analysis.edm.select import autocorrelation, decorrelation


def process(length, coefficients=(0.7,), seed=0):
    rng = np.random.default_rng(seed)
    order = len(coefficients)
    x = np.zeros(length + 200)
    for t in range(order, len(x)):
        x[t] = np.dot(coefficients, x[t - order : t][::-1]) + rng.standard_normal()
    return x[200:]


@settings(max_examples=20, deadline=None)
@given(st.integers(50, 301), st.integers(0, 99))
def test_random_phases_keep_points_mean_spread_and_periodogram(length, seed):
    x = 3 + process(length, seed=seed)
    made = nulls.phase_randomised(x, 4, np.random.default_rng(seed))
    assert made.shape == (4, length)
    np.testing.assert_allclose(made.mean(1), x.mean(), atol=1e-10)
    np.testing.assert_allclose(made.std(1), x.std(), rtol=1e-10)
    power = np.abs(np.fft.rfft(x - x.mean()))
    theirs = np.abs(np.fft.rfft(made - x.mean()))
    last = -1 if length % 2 == 0 else None  # the Nyquist frequency has a random amplitude
    ratio = theirs[:, 1:last] / power[1:last]
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(ratio.shape[1], 1), rtol=1e-8)
    if length % 2:
        np.testing.assert_allclose(theirs, np.tile(power, (4, 1)), atol=1e-9)


@pytest.mark.parametrize("name", nulls.NULLS)
def test_nulls_resemble_a_series_and_are_independent_of_it(name):
    x = process(1500)
    made = nulls.NULLS[name](x, 20, np.random.default_rng(1))
    assert made.shape == (20, 1500)
    own, theirs = autocorrelation(x, 1)[1], np.mean([autocorrelation(m, 1)[1] for m in made])
    assert theirs == pytest.approx(0.0 if name == "shuffled" else own, abs=0.05)
    assert np.abs(np.corrcoef(np.vstack([x, made]))[0, 1:]).max() < 0.25
    assert np.std(made) == pytest.approx(np.std(x), rel=0.1)


def test_seasons_stay_and_the_rest_is_shuffled():
    cycle = np.tile(np.arange(10.0), 60)
    x = cycle + 0.1 * np.random.default_rng(0).standard_normal(600)
    made = nulls.seasonal(x, 3, np.random.default_rng(1), period=10)
    np.testing.assert_allclose(made, np.tile(cycle, (3, 1)), atol=1.0)
    assert np.corrcoef(x - cycle, made[0] - cycle)[0, 1] < 0.2


def test_the_order_of_an_autoregression_is_found():
    fit = baselines.autoregression(process(2000, (0.6, -0.5)))
    np.testing.assert_allclose(fit.coefficients, [0.6, -0.5], atol=0.06)
    assert len(baselines.autoregression(process(2000, ())).coefficients) == 0


def test_decorrelation_of_a_process_is_that_of_its_coefficient():
    assert decorrelation(process(20_000, (0.9,))) == pytest.approx(-1 / np.log(0.9), abs=2)


def test_a_linear_process_is_forecast_best_by_what_is_linear():
    x = process(1000, (0.6, -0.5))
    halves = np.arange(500), np.arange(500, 999)
    ours = baselines.ar_forecast(x, *halves)
    same = baselines.persistence(x, halves[1])
    scores = [skill(f.observed, f.predicted) for f in (ours, same)]
    assert scores[0]["rmse"] == pytest.approx(1, abs=0.06) and scores[1]["rmse"] > 1.2
    far = baselines.ar_forecast(x, *halves, horizon=30)
    np.testing.assert_allclose(far.predicted, x[:500].mean(), atol=0.1)


def test_arima_steps_forward_with_fixed_parameters():
    pytest.importorskip("statsmodels", reason="statsmodels is not installed (extra `edm`)")
    x = process(400, (0.7,))
    forecast = baselines.arima_forecast(x, 200, orders=((1, 0, 0),))
    assert len(forecast.rows) == 200 and forecast.rows[0] == 199
    # One step ahead, not a curve that runs into the mean.
    assert skill(forecast.observed, forecast.predicted)["rho"] > 0.5


def test_granger_sees_a_strong_cause_and_misses_a_weak_one():
    pytest.importorskip("statsmodels", reason="statsmodels is not installed (extra `edm`)")
    x, y = coupled_maps(1000, 0.02, 0.1)
    assert baselines.granger(x, y, most=2)["p"] < 1e-15
    assert baselines.granger(y, x, most=2)["p"] > 0.01
