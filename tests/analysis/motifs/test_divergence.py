import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from analysis.motifs import divergence


def shares(rows, seed=0, zeros=0.0):
    rng = np.random.default_rng(seed)
    p = rng.gamma(0.5, size=(rows, 20)) * (rng.random((rows, 20)) >= zeros)
    p[:, 0] += 1e-3
    return p / p.sum(1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.5]))
def test_divergences_are_scipys_and_never_negative(seed, zeros):
    p, q = shares(6, seed, zeros), shares(5, seed + 1, zeros)
    found = divergence.divergences(p, q)
    wanted = [[entropy(a, b, base=2) for b in divergence.floored(q)] for a in divergence.floored(p)]
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert np.isfinite(found).all() and (found >= 0).all()
    np.testing.assert_allclose(np.diagonal(divergence.divergences(p, p)), 0, atol=1e-12)


@pytest.mark.parametrize("perplexity", [5.0, 32.0])
def test_neighbourhoods_have_the_perplexity(perplexity):
    distance = divergence.nearest_only(divergence.divergences(shares(200), shares(300, 1)) ** 2)
    p = divergence.conditional(distance, perplexity)
    np.testing.assert_allclose(p.sum(1), 1)
    assert ((p > 0).sum(1) <= divergence.KEPT).all()
    h = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
    np.testing.assert_allclose(np.exp(h), perplexity, rtol=1e-3)


def test_too_few_neighbours_are_refused():
    with pytest.raises(ValueError, match="perplexity 32"):
        divergence.conditional(np.ones((3, 10)))


def test_equally_far_neighbours_count_alike():
    np.testing.assert_allclose(divergence.conditional(np.zeros((2, 100)), 32.0), 0.01)
