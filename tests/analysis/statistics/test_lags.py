import numpy as np
import pytest

from analysis.statistics import lags

LENGTH = 400


def coupled_levels(seed, rho=0.0, lag=0, seeds=4, length=LENGTH):
    """D and accuracy with the usual courses, shared by all seeds, and noise that fades together."""
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    fading = 0.01 * (1 + 3 * np.exp(-t / 60))
    noise = rng.standard_normal((2, seeds, length + 50))
    for i in range(1, noise.shape[2]):
        noise[..., i] += 0.3 * noise[..., i - 1]
    x, y = noise[0, :, 25:-25], noise[1, :, 25:-25]
    y = rho * noise[0, :, 25 - lag : 25 - lag + length] + np.sqrt(1 - rho**2) * y
    log_d = 1 - 1.5 * (1 - np.exp(-t / 8)) + 0.8 * (1 - np.exp(-t / 60)) + fading * x
    accuracy = 0.85 * (1 - np.exp(-t / 15)) + fading * y
    return log_d, accuracy


def coupled(*args, **options):
    log_d, accuracy = coupled_levels(*args, **options)
    return lags.increments(log_d, 1), lags.increments(accuracy, 2)


def result_of(x, y, seed=0):
    rng = np.random.default_rng(seed)
    return lags.lag_test(x, y, lags.same_spectrum(x, rng), rng)


def verdict(test):
    return lags.verdict(test.p["any"], test)


def test_a_shared_course_is_no_evidence():
    tests = [result_of(*coupled(seed)) for seed in range(20)]
    assert [verdict(test) for test in tests].count("no evidence") >= 19
    for side in lags.SIDES:
        assert np.mean([test.p[side] <= 0.05 for test in tests]) <= 0.15


@pytest.mark.parametrize("lag,expected", [(5, "leads"), (-5, "lags"), (0, "simultaneous")])
def test_a_planted_coupling_is_found_where_it_is(lag, expected):
    tests = [result_of(*coupled(seed, 0.5, lag)) for seed in range(5)]
    assert [verdict(test) for test in tests].count(expected) >= 4
    assert all(abs(test.best_lag - lag) <= 1 for test in tests)
    assert all(low <= lag <= high for low, high in (test.interval for test in tests))


def test_levels_with_a_common_trend_would_have_been_significant():
    """The trap: the very same series, as levels, correlate almost perfectly."""
    rng = np.random.default_rng(0)
    t = np.arange(LENGTH)
    a, b = (np.exp(-t / 100) + 0.02 * rng.standard_normal(LENGTH) for _ in range(2))
    assert np.corrcoef(a[:-20], b[20:])[0, 1] > 0.9
    x, y = (lags.increments(v[None], 1) for v in (a, b))
    assert verdict(result_of(x, y)) == "no evidence"


def test_correlations_are_circular_ones():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1, 64))
    whole = lags.correlate(x, y)[0]
    for j in (0, 3, -5):
        expected = np.corrcoef(x[0], np.roll(y[0], -j))[0, 1]
        assert whole[j] == pytest.approx(expected)


def test_what_all_seeds_share_leaves_hardly_a_trace():
    rng = np.random.default_rng(0)
    own, shared = rng.standard_normal((4, 200)), 10 * rng.standard_normal(200)
    both, alone = lags.increments(own + shared, 1), lags.increments(own, 1)
    assert np.corrcoef(both.ravel(), alone.ravel())[0, 1] > 0.9
    assert both.shape == (4, 199) and lags.increments(own[:1], 1).shape == (1, 199)


def test_the_noise_of_each_seed_is_told_from_what_seeds_share():
    """Against a closed form: variances 1, 4 and 25 beneath a shared series of variance 100."""
    rng = np.random.default_rng(0)
    x = np.array([1.0, 2.0, 5.0])[:, None] * rng.standard_normal((3, 20_000))
    found = lags.seed_variances(x + 10 * rng.standard_normal(20_000))
    np.testing.assert_allclose(found, [1, 4, 25], rtol=0.1, atol=0.5)
    two = lags.seed_variances(x[:2])
    assert two[0] == two[1] == pytest.approx(2.5, rel=0.1)


def test_a_stretch_that_stands_still_stays_still():
    rng = np.random.default_rng(0)
    level = rng.standard_normal((1, 300))
    level[:, 150:] = 1.0
    assert np.abs(lags.increments(level, 1)[0, 220:]).max() < 0.1
    with pytest.raises(ValueError, match="never changes"):
        lags.increments(np.ones((3, 200)), 1)
    with pytest.raises(ValueError, match="too few"):
        lags.increments(level[:, :50], 1)
    with pytest.raises(ValueError, match="not finite"):
        lags.increments(np.full((3, 200), np.nan), 1)


@pytest.mark.parametrize(
    "q,p_guard,interval,expected",
    [
        (0.01, 0.01, (2, 8), "leads"),
        (0.01, 0.01, (-8, -1), "lags"),
        (0.01, 0.01, (-2, 3), "simultaneous"),
        (0.01, 0.01, (-15, 3), "order undetermined"),
        (0.2, 0.01, (2, 3), "no evidence"),
        (0.01, 0.2, (2, 3), "no evidence"),
    ],
)
def test_verdicts(q, p_guard, interval, expected):
    best = round(sum(interval) / 2)
    p, peak = dict.fromkeys(lags.SIDES, 0.2), dict.fromkeys(lags.SIDES, 0.1)
    test = result_of(*coupled(0))
    test = test._replace(p_guard=p_guard, interval=interval, best_lag=best, p=p, peak=peak)
    assert lags.verdict(q, test) == expected


def test_a_coupling_far_from_lag_zero_is_never_simultaneous():
    """As strong on both sides of 0: the order is open, and the word says so."""
    test = result_of(*coupled(0))._replace(
        p_guard=0.01,
        interval=(-16, 16),
        best_lag=16,
        p=dict.fromkeys(lags.SIDES, 0.01),
        peak=dict.fromkeys(lags.SIDES, 0.3),
    )
    assert lags.verdict(0.01, test) == "order undetermined"
    assert lags.verdict(0.01, test._replace(interval=(-2, 2))) == "order undetermined"
    assert lags.verdict(0.01, test._replace(interval=(-2, 2), best_lag=1)) == "simultaneous"


def test_planted_power_grows_with_strength_and_starts_at_the_nominal_rate():
    x, y = coupled(0, seeds=8)
    rng = np.random.default_rng(0)
    surrogates = lags.same_spectrum(x, rng)
    power = [lags.planted_power(x, y, surrogates, rho, 4, rng) for rho in (0.0, 0.1, 0.3)]
    assert power[0] <= 0.15 and power[0] < power[1] < power[2] and power[2] > 0.9


def test_large_changes_and_what_follows():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 2, 400))
    for i in range(40, 380, 40):
        x[:, i], y[:, i + 5 : i + 8] = 6.0, 3.0
    assert [len(at) for at in lags.events(x)] == [9, 9]
    found = lags.event_average(x, y, rng)
    assert found["events"] == 18 and found["p"] <= 0.01 and found["change"] > 0.5
    peak = lags.LAGS[int(np.argmax(found["mean"]))]
    assert 5 <= peak <= 7
    quiet = lags.event_average(0 * x + rng.uniform(-1, 1, x.shape), y, rng)
    assert quiet["events"] == 0 and quiet["p"] is None


def test_rows_do_not_count_as_independent():
    """Twenty copies of one pair are one pair: neither p-values nor intervals may shrink."""
    x, y = coupled(1, seeds=2)
    copies = [np.tile(v, (20, 1)) for v in (x, y)]
    pooled, alone = result_of(*copies), result_of(x, y)
    assert pooled.p == alone.p and pooled.interval == alone.interval


def test_a_power_is_that_of_the_verdict_after_the_correction():
    x, y = coupled(0, seeds=4)
    rng = np.random.default_rng(0)
    surrogates = lags.same_spectrum(x, rng)
    alone, among = (
        lags.planted_power(x, y, surrogates, 0.15, 4, np.random.default_rng(1), tests)
        for tests in (1, 100)
    )
    assert among < alone


@pytest.mark.slow
def test_p_values_are_calibrated_for_two_seeds_and_few_blocks():
    """A single row of 100 measurements: the sign that flips nothing has to count as a tie."""
    tests = [result_of(*coupled(seed, seeds=2, length=101), seed) for seed in range(150)]
    p = np.array([test.p["any"] for test in tests])
    assert np.mean(p <= 0.05) <= 0.09 and np.mean(p <= 0.002) <= 0.01
    assert [verdict(test) for test in tests].count("leads") <= 3


@pytest.mark.parametrize("length", [90, 101, 200, 400, 2000])
@pytest.mark.parametrize("tests", [1, 10, 130, 1000])
def test_the_smallest_p_is_known_before_anything_is_tested(length, tests):
    blocks = length // lags.block_length(length)
    least = lags.least_p(length, tests)
    assert least >= 2.0 ** (1 - blocks) and least >= 1 / (lags.surrogates_for(tests) + 1)
    assert (least * tests <= lags.LEVEL) == (2.0 ** (1 - blocks) * tests <= lags.LEVEL)
