import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.config.families.common import DIMENSIONS
from tapjax.measure import probes

STANDARD = 2e-6  # accepted relative error against float64


def exact(a):
    """All metrics in float64 from NumPy's SVD."""
    s = np.linalg.svd(np.asarray(a, np.float64), compute_uv=False)
    energy = np.square(s).sum()
    return {
        "stable_rank": energy / s[0] ** 2,
        "participation_ratio": s.sum() ** 2 / energy,
        "effective_rank_90": np.sum(np.cumsum(s**2) / energy < 0.9) + 1,
        "nuclear_norm_ratio": s.sum() / s[0],
        "covariance_participation_ratio": energy**2 / np.sum(s**4),
    }


def matrices():
    rng = np.random.default_rng(0)
    normal = rng.standard_normal
    u, _ = np.linalg.qr(normal((200, 60)))
    v, _ = np.linalg.qr(normal((60, 60)))
    relu = np.maximum(normal((320, 40)) @ normal((40, 96)) - 3, 0)
    return {
        "tall": normal((320, 64)),
        "wide": normal((64, 320)),
        "square": normal((128, 128)),
        "rank 8": normal((320, 8)) @ normal((8, 512)),
        "condition 1e7": (u * np.logspace(0, -7, 60)) @ v.T,
        "dead units": relu * (rng.random(96) < 0.3),
        "large mean": normal((320, 64)) + 300,
        "tiny": 1e-22 * normal((100, 30)),
        "huge": 1e18 * normal((100, 30)),
        "one column": normal((50, 1)),
        "constant": np.ones((300, 300)),
    }


@pytest.mark.parametrize("name", matrices())
def test_metrics_match_float64_svd(name):
    a = matrices()[name].astype(np.float32)
    measured = jax.jit(lambda a: probes.layer_dimensions(a, centred=False))(a)
    for metric, value in exact(a).items():
        np.testing.assert_allclose(measured[metric], value, rtol=STANDARD, err_msg=metric)


def test_centred_metrics_are_those_of_the_centred_matrix():
    a = matrices()["tall"].astype(np.float32) + 2
    measured = probes.layer_dimensions(jnp.asarray(a), centred=True)
    for metric, value in exact(a - a.astype(np.float64).mean(0)).items():
        np.testing.assert_allclose(measured[f"centred_{metric}"], value, rtol=STANDARD)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_identity_of_size_n_has_dimension_n(n):
    measured = probes.layer_dimensions(jnp.eye(n), centred=False)
    for metric in set(DIMENSIONS) - {"effective_rank_90"}:
        np.testing.assert_allclose(measured[metric], n, rtol=1e-6)
    assert measured["effective_rank_90"] == np.ceil(0.9 * n)


def test_rank_one_has_dimension_one():
    a = jnp.outer(jnp.arange(1.0, 30.0), jnp.ones(12))
    for value in probes.layer_dimensions(a, centred=False).values():
        np.testing.assert_allclose(value, 1, rtol=STANDARD)


def test_stable_rank_is_nuclear_ratio_squared_over_participation_ratio(getkey):
    m = probes.layer_dimensions(jax.random.normal(getkey(), (90, 33)), centred=False)
    expected = m["nuclear_norm_ratio"] ** 2 / m["participation_ratio"]
    np.testing.assert_allclose(m["stable_rank"], expected, rtol=1e-6)
    assert m["stable_rank"] > 2  # it is not the constant 1 of systems that divide by Frobenius


def test_a_dead_layer_has_dimension_zero():
    values = probes.layer_dimensions(jnp.zeros((20, 5)), centred=True).values()
    assert all(value == 0 for value in values)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_what_is_not_finite_is_not_a_number(bad):
    a = jnp.ones((20, 5)).at[3, 2].set(bad)
    values = probes.layer_dimensions(a, centred=True).values()
    assert all(jnp.isnan(value) for value in values)


def test_confidence_and_calibration_error_by_hand():
    p = np.array([[1.0, 0.0], [0.8, 0.2], [0.7, 0.3], [0.3, 0.7]])
    correct = jnp.array([1.0, 0.0, 1.0, 1.0])
    logits = jnp.log(jnp.asarray(p) + 1e-30)
    found = probes.calibration(logits, correct)
    assert found["confidence"] == pytest.approx(np.mean([1.0, 0.8, 0.7, 0.7]), rel=1e-5)
    # Bins: {1.0} off by 0, {0.8} by .8, both of 0.7 together by .6.
    assert found["ece"] == pytest.approx((0.0 + 0.8 + 0.6) / 4, rel=1e-5)


def test_certainty_counts_in_the_last_bin():
    wrong = probes.calibration(jnp.array([[100.0, 0.0]] * 3), jnp.zeros(3))
    assert wrong["ece"] == pytest.approx(1.0)


def test_layers_become_matrices(getkey):
    tokens = jax.random.normal(getkey(), (6, 16, 5))
    assert probes.as_matrix(probes.pooled(tokens, "rows"), 1000).shape == (96, 5)
    chosen = probes.as_matrix(tokens, 10)
    rows = {tuple(row) for row in np.asarray(tokens).reshape(-1, 5).tolist()}
    assert chosen.shape == (10, 5) and {tuple(r) for r in np.asarray(chosen).tolist()} <= rows
    np.testing.assert_array_equal(probes.pooled(tokens, "mean"), tokens.mean(1))
    assert probes.pooled(tokens, "legacy").shape == (6, 16)
    maps = jax.random.normal(getkey(), (6, 4, 4, 3))
    np.testing.assert_array_equal(probes.pooled(maps, "rows"), maps.mean((1, 2)))
