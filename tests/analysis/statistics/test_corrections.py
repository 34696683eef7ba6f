"""Tests of few seeds claim nothing that is not there, and say when they cannot claim anything."""

import numpy as np
import pytest

from analysis.statistics import corrections


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_seeds_whose_smallest_p_is_above_5_percent_have_none(seeds):
    assert np.isnan(corrections.sign_flip_p(np.ones(seeds)))


def test_sign_flip_p_is_the_share_of_sign_patterns():
    assert corrections.sign_flip_p(np.ones(6)) == 2 / 2**6  # identical differences
    assert corrections.sign_flip_p([1, 2, 3, 4, 5, -6]) == corrections.sign_flip_p(
        [-1, -2, -3, -4, -5, 6]
    )
    assert corrections.sign_flip_p([1, 1, 1, 1, 1, -1]) == 14 / 2**6  # ties count
    assert corrections.sign_flip_p(np.zeros(8)) == 1
    assert np.isnan(corrections.sign_flip_p([1, 2, 3, 4, 5, np.nan]))
    assert corrections.sign_flip_p(np.full(40, 0.1)) <= 2e-4


def test_q_is_corrected_over_what_was_tested():
    q = corrections.q_values([0.01, np.nan, 0.04])
    assert q == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert corrections.q_values([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.03])
    assert np.isnan(corrections.q_values([np.nan])).all() and not len(corrections.q_values([]))


def table(rng, methods, seeds):
    """Rows of methods that do nothing, held against one reference with the same seeds."""
    reference = rng.standard_t(3, seeds)
    return [
        {"n": seeds, "p": corrections.sign_flip_p(rng.standard_t(3, seeds) - reference)}
        for _ in range(methods)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("methods", "seeds"), [(1, 6), (20, 10)])
def test_methods_without_effect_are_not_claimed(methods, seeds):
    rng, claimed = np.random.default_rng(0), 0
    for _ in range(100):
        rows = table(rng, methods, seeds)
        corrections.correct(rows, "p", "q")
        claimed += any(row["q"] <= 0.05 for row in rows)
    assert claimed <= 10  # 5 %, and two standard errors


def test_what_the_seeds_do_not_allow_is_said():
    rng = np.random.default_rng(0)
    rows = table(rng, 3, 3)
    said = corrections.correct(rows, "p", "q")
    assert said == "q: too few to tell: n = 3 seeds, needs >= 6"
    assert all(np.isnan(row["q"]) and "p" not in row for row in rows)
    said = corrections.correct(table(rng, 20, 6), "p", "q")
    assert said.startswith("q: with 6 seeds, one of 20 rows cannot pass") and "10 seeds" in said
    assert corrections.correct(table(rng, 1, 6), "p", "q") is None
    lone = [{"n": 10, "p": 2 / 2**10}] + [{"n": 10, "p": 1.0}] * 19
    lone = [dict(row) for row in lone] + [{"n": 10}]
    corrections.correct(lone, "p", "q")
    assert lone[0]["q"] <= 0.05 and "q" not in lone[-1]


def test_a_q_value_that_was_not_computed_is_said():
    assert corrections.told_q(0.0312) == "q 0.031"
    assert corrections.told_q(np.nan) == "too few seeds for a test"
