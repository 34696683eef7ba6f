"""Measurements of units against closed forms, with hypothesis for what must not change them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tapjax.measure import unit_metrics as units

N, D = 200, 12


def normal(seed=0, n=N, d=D):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def measured(a, g=None):
    g = np.ones_like(a) if g is None else g
    return {k: float(v) for k, v in jax.jit(units.unit_metrics)(jnp.asarray(a), g).items()}


def test_ranks_of_known_matrices():
    identity = measured(np.eye(D, dtype=np.float32))
    assert identity["eff_rank"] == pytest.approx(D, rel=1e-5)
    assert identity["stable_rank"] == pytest.approx(D, rel=1e-5)
    assert identity["centred_participation"] == pytest.approx(D - 1, rel=1e-5)
    assert identity["hard_rank"] == identity["approximate_rank"] == D
    one = measured(np.outer(np.arange(1, 9), np.arange(1, 6)).astype(np.float32))
    for name in ("eff_rank", "stable_rank", "centred_participation", "hard_rank"):
        assert one[name] == pytest.approx(1, rel=1e-3), name
    nothing = measured(np.zeros((8, 5), np.float32))
    assert all(nothing[name] == 0 for name in ("eff_rank", "hard_rank", "stable_rank"))
    assert nothing["dead_fraction"] == nothing["dormant_fraction"] == 1
    assert nothing["dup_fraction"] == 0


@pytest.mark.parametrize(("epsilon", "expected"), [(1e-3, 1.0125), (1e-2, 1.1063), (1e-1, 2.1767)])
def test_the_effective_rank_of_an_equicorrelated_gram(epsilon, expected):
    """T14: eigenvalues n - (n - 1) epsilon and n - 1 times epsilon, as they are."""
    n = 100
    eigenvalues = np.r_[n - (n - 1) * epsilon, np.full(n - 1, epsilon)]
    assert float(units.effective_rank(jnp.asarray(eigenvalues))) == pytest.approx(
        expected, abs=2e-4
    )


def test_dead_is_more_than_the_threshold():
    a = np.abs(normal()) + 0.1
    a[:190, 0] = 0  # exactly 95 %
    a[:191, 1] = 0
    a[:, 2] = 0
    assert measured(a)["dead_fraction"] == pytest.approx(2 / D)


def test_of_equal_units_all_but_one_count_and_signs_matter():
    a = normal()
    assert measured(a)["dup_fraction"] == 0
    a[:, 3:6] = 2 * a[:, [0]]
    a[:, 6] = -a[:, 1]
    a[:, 7] = 0
    found = measured(a)
    assert found["dup_fraction"] == pytest.approx(3 / D)
    assert found["dup_fraction_abs"] == pytest.approx(4 / D)


def test_dormant_units_are_little_active_beside_the_others():
    a = np.abs(normal())
    a[:, 0] *= 0.01
    assert measured(a)["dormant_fraction"] == pytest.approx(1 / D)


def test_saturation_does_not_depend_on_the_number_of_samples():
    a, g = np.abs(normal()) + 1, normal(1)
    g[:, :3] *= 1e-6
    for n in (50, N):
        assert measured(a[:n], g[:n])["saturated_fraction"] == pytest.approx(3 / D)


def test_distance_from_a_normal_distribution():
    a = normal(n=400)
    a[:, 0] = np.random.default_rng(1).uniform(size=400)
    z = (a - a.mean(0)) / a.std(0)
    found = measured(a)
    expected = np.mean([stats.kstest(column, "norm").statistic for column in z.T])
    assert found["ks"] == pytest.approx(expected, abs=1e-4)
    assert found["excess_kurtosis"] == pytest.approx(np.abs(stats.kurtosis(a)).mean(), rel=1e-3)
    assert measured(np.ones((50, 3), np.float32))["ks"] == 1


def test_copies_of_every_unit_change_no_rank():
    """T7: interleaved copies scale all singular values alike."""
    a = np.maximum(normal(), 0)
    once, twice = measured(a), measured(np.repeat(a, 2, 1), np.ones((N, 2 * D)))
    for name in ("eff_rank", "stable_rank", "centred_participation", "hard_rank", "dead_fraction"):
        assert once[name] == pytest.approx(twice[name], rel=1e-4), name
    assert twice["dup_fraction"] >= 0.5


def test_the_order_of_units_and_samples_does_not_matter():
    a, rng = np.maximum(normal(), 0), np.random.default_rng(2)
    shuffled = a[rng.permutation(N)][:, rng.permutation(D)]
    for name, value in measured(a).items():
        assert measured(shuffled)[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_what_is_not_finite_is_not_measured():
    a = normal()
    a[0, 0] = np.inf
    assert all(np.isnan(value) for value in measured(a).values())


def test_the_rank_of_gradients_counts_directions():
    rows = {"a": jnp.eye(4)[:, :2], "b": jnp.eye(4)[:, 2:]}
    assert float(units.gram_rank(rows)) == pytest.approx(4, rel=1e-5)
    assert float(units.gram_rank({"a": jnp.ones((4, 3))})) == pytest.approx(1, rel=1e-3)
