import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.contract.layout import DIMENSIONS
from tapjax.measure import probes

STANDARD = 2e-6  # accepted relative error against float64


def one_layer(a, centred):
    """Measure one layer: metric -> scalar."""
    return {name: value[0] for name, value in probes.dimensions([a], centred).items()}


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
    measured = jax.jit(lambda a: one_layer(a, centred=False))(a)
    for metric, value in exact(a).items():
        np.testing.assert_allclose(measured[metric], value, rtol=STANDARD, err_msg=metric)


def affine_outputs():
    """Outputs z = [x, 1] K of affine maps K, which may be singular, zero or nearly dependent."""
    rng = np.random.default_rng(0)
    x = np.hstack([rng.standard_normal((320, 40)) + 2, np.ones((320, 1))])
    weights = rng.standard_normal((41, 200)) / 6
    twice = weights.copy()
    twice[20:40] = twice[:20]
    nearly = twice.copy()
    nearly[20:40] += 1e-4 * rng.standard_normal((20, 200))
    dead = weights * (rng.random(200) < 0.1)
    steep = weights * np.logspace(0, -5, 41)[:, None]
    maps = {"plain": weights, "no bias": np.vstack([weights[:-1], np.zeros(200)]), "rank 21": twice}
    maps |= {"nearly rank 21": nearly, "dead units": dead, "steep": steep, "zero": 0 * weights}
    maps |= {"constant": np.vstack([0 * weights[:-1], weights[-1:]])}
    # The products are rounded to float32, as those of a network are.
    made = {name: ((x @ k).astype(np.float32), k.astype(np.float32)) for name, k in maps.items()}
    # Here rounding errors, which the map does not span, are not small beside what is left.
    for name, mean in {"cancelling bias": 1e2, "bias of 1e6": 0.0}.items():
        bias = (-mean * weights[:-1].sum(0)) if mean else 1e6 + weights[-1]
        k = np.vstack([weights[:-1], bias]).astype(np.float32)
        made[name] = (np.float32(x[:, :-1] + mean) @ k[:-1] + k[-1], k)
    paired = np.vstack([weights[:20], -weights[:20], weights[-1:]]).astype(np.float32)
    alike = np.float32(np.repeat(x[:, :20], 2, 1).reshape(len(x), 20, 2).transpose(0, 2, 1))
    alike = alike.reshape(len(x), 40) * (1 + 1e-4 * rng.standard_normal((len(x), 40)))
    made["rows that cancel"] = (alike.astype(np.float32) @ paired[:-1] + paired[-1], paired)
    return made


@pytest.mark.parametrize("name", affine_outputs())
@pytest.mark.parametrize("centred", [False, True])
def test_outputs_of_affine_maps_are_measured_in_fewer_dimensions(name, centred):
    z, k = affine_outputs()[name]
    found = probes.dimensions([jnp.asarray(z)], True, [jnp.asarray(k)])
    wanted = z - z.mean(0, dtype=np.float64) if centred else z
    expected = exact(wanted) if np.abs(wanted).max() > 0 else dict.fromkeys(DIMENSIONS, 0)
    for metric, value in expected.items():
        measured = found[f"centred_{metric}" if centred else metric]
        np.testing.assert_allclose(measured, [value], rtol=STANDARD, err_msg=metric)


def test_layers_are_measured_alike_alone_and_together(getkey):
    a, b = jax.random.normal(getkey(), (2, 60, 20)), jax.random.normal(getkey(), (60, 33))
    layers = [a[0], b, a[1].at[0, 0].set(jnp.nan)]
    together = jax.vmap(lambda *each: probes.dimensions(each, True))(*(x[None] for x in layers))
    for i, layer in enumerate(layers):
        for metric, value in one_layer(layer, True).items():
            np.testing.assert_allclose(together[metric][0, i], value, rtol=1e-6)


def test_centred_metrics_are_those_of_the_centred_matrix():
    a = matrices()["tall"].astype(np.float32) + 2
    measured = one_layer(jnp.asarray(a), centred=True)
    for metric, value in exact(a - a.astype(np.float64).mean(0)).items():
        np.testing.assert_allclose(measured[f"centred_{metric}"], value, rtol=STANDARD)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_identity_of_size_n_has_dimension_n(n):
    measured = one_layer(jnp.eye(n), centred=False)
    for metric in set(DIMENSIONS) - {"effective_rank_90"}:
        np.testing.assert_allclose(measured[metric], n, rtol=1e-6)
    assert measured["effective_rank_90"] == np.ceil(0.9 * n)


def test_rank_one_has_dimension_one():
    a = jnp.outer(jnp.arange(1.0, 30.0), jnp.ones(12))
    for value in one_layer(a, centred=False).values():
        np.testing.assert_allclose(value, 1, rtol=STANDARD)


def test_stable_rank_is_nuclear_ratio_squared_over_participation_ratio(getkey):
    m = one_layer(jax.random.normal(getkey(), (90, 33)), centred=False)
    expected = m["nuclear_norm_ratio"] ** 2 / m["participation_ratio"]
    np.testing.assert_allclose(m["stable_rank"], expected, rtol=1e-6)
    assert m["stable_rank"] > 2  # it is not the constant 1 of systems that divide by Frobenius


def test_a_dead_layer_has_dimension_zero():
    values = one_layer(jnp.zeros((20, 5)), centred=True).values()
    assert all(value == 0 for value in values)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_what_is_not_finite_is_not_a_number(bad):
    a = jnp.ones((20, 5)).at[3, 2].set(bad)
    values = one_layer(a, centred=True).values()
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
