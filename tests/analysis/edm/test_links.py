"""The procedure as a whole: planted links are found, nulls are not."""

import numpy as np
import pytest

from analysis.edm import links, nulls
from analysis.edm.coupled_maps import coupled_maps
from launch.benchmarks.validity import edm as validity


def judged(x, y, seed=0, **settings):
    """Verdicts for both directions."""
    x, y = np.atleast_2d(x), np.atleast_2d(y)
    settings = {"surrogates": 79, "samples": 5} | settings
    settings |= {"make_null": nulls.phase_randomised, "seed": seed}
    found = {
        ("x", "y"): links.evidence(y, x, **settings),
        ("y", "x"): links.evidence(x, y, **settings),
    }
    return {(row["cause"], row["effect"]): row for row in links.verdicts(found, runs=len(x) > 1)}


def test_a_one_way_link_is_found_one_way():
    x, y = coupled_maps(800, 0.0, 0.1, noise=0.002)
    rows = judged(x, y)
    assert rows["x", "y"]["verdict"] == "drives" and rows["x", "y"]["lag"] <= 0
    assert rows["x", "y"]["tendency"] > 0.8
    assert rows["y", "x"]["verdict"] == "no evidence"


def test_synchrony_is_told_from_a_cause_by_its_lag():
    x, y = coupled_maps(800, 0.0, 0.32)
    rows = judged(x, y)
    assert rows["x", "y"]["verdict"] == "drives"
    # The states of x know y far better than chance, y being a function of x, and y's future best.
    assert rows["y", "x"]["rho"] > 0.4 and rows["y", "x"]["lag"] > 0
    assert rows["y", "x"]["verdict"] != "drives"


@pytest.mark.parametrize("persistence", [0.9, 0.99])
def test_independent_series_are_not_linked(persistence):
    false = 0
    for seed in range(20):
        rng = np.random.default_rng([seed, 1])
        noise = rng.standard_normal((2, 900))
        x = np.zeros_like(noise)
        for t in range(1, 900):
            x[:, t] = persistence * x[:, t - 1] + noise[:, t]
        x, y = x[:, 500:]
        found = links.evidence(
            x[None], y[None], nulls.phase_randomised, 19, lags=[0], samples=3, seed=seed
        )
        false += found.p(runs=False) <= 0.05
    assert false <= 4  # binomial(20, .05): more with probability .003


def test_runs_of_several_seeds_are_their_own_null():
    """A trend that all runs share is no link; one within each run is."""
    seeds = [coupled_maps(500, 0.0, 0.1, noise=0.005, seed=s) for s in range(5)]
    x, y = (np.stack([pair[i] for pair in seeds]) for i in (0, 1))
    rows = judged(x, y)
    assert rows["x", "y"]["verdict"] == "drives" and rows["x", "y"]["p_runs"] < 0.05
    shared = 5 * np.sin(np.arange(500) / 30)
    noise = np.random.default_rng(0).standard_normal((2, 5, 500))
    rows = judged(shared + noise[0], shared + noise[1])
    assert min(row["p_runs"] for row in rows.values()) > 0.05
    assert {row["verdict"] for row in rows.values()} == {"no evidence"}
    with pytest.raises(ValueError, match="4 seeds can be exchanged in 24 ways.*take 5 seeds"):
        judged(x[:4], y[:4])


def test_a_lone_link_among_three_variables_is_claimed_and_nothing_else():
    """p can be 1/120 with five seeds, which is just enough for six links."""
    series = validity.three_variables(np.random.default_rng(0), 5)
    found = validity.judged(series, runs=True, seed=0)
    assert found.pop(("x", "y")) == "drives"
    assert set(found.values()) == {"no evidence"}


@pytest.mark.parametrize("tests", [2, 6, 12, 30, 90])
def test_a_lone_link_passes_its_correction_with_the_surrogates_of_the_default(tests):
    count = links.surrogates_for(tests)
    links.check_attainable(tests, count, None)
    assert 2 / (1 + count) * tests <= 0.05  # even if a surrogate reaches it
    with pytest.raises(ValueError, match="surrogates are needed"):
        links.check_attainable(tests, 20 * tests - 2, None)
    links.check_attainable(tests, 20 * tests - 1, None)


def test_refusals_say_how_many_would_do():
    with pytest.raises(ValueError, match="99 surrogates.*1/100.*at least 119"):
        links.check_attainable(6, 99, 8)
    with pytest.raises(ValueError, match="take 6 seeds or a single run and 3 variables"):
        links.check_attainable(12, 999, 5)
    with pytest.raises(ValueError, match="1 seed can be exchanged in 1 way,.*take 5 seeds$"):
        links.check_attainable(2, 999, 1)
    links.check_attainable(6, 999, 5)  # 6/120 is .05


def test_a_planted_link_is_found_the_more_the_stronger():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 5, 400))
    found = [
        links.evidence(links.planted(y, x, strength), x, nulls.phase_randomised, 39, samples=5)
        for strength in (0.0, 0.5, 2.0)
    ]
    assert found[0].p() > 0.05 >= found[2].p() and found[2].best_lag in (-1, -2)
    assert found[0].rho[-1] < found[1].rho[-1] < found[2].rho[-1]


def test_the_embedding_is_chosen_on_rows_that_are_not_used_again():
    x, _ = coupled_maps(1000, 0.0, 0.0)
    embedding, used = links.choose(x)
    assert embedding.dimension == 2 and used[0] == 300
    again, _ = links.choose(np.concatenate([x[:300], np.zeros(700)]))
    assert again == embedding


def test_a_constant_beginning_is_refused():
    with pytest.raises(ValueError, match="cannot be predicted at all"):
        links.choose(np.concatenate([np.ones(300), np.arange(700.0)]))
