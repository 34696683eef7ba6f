"""The measurements in loops of other people, under the transformations of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax import measure
from tapjax.live.dimensions import dimensions as by_numpy
from tapjax.measure.unit_metrics import unit_metrics

A = np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)
LAYERS = {"fc1": A, "fc2": A[:, :5] ** 2, "same": 2 * A}


def test_dimensions_of_a_layer_and_of_several():
    found = measure.dimensions(LAYERS)
    assert list(found) == list(LAYERS)
    for name, a in LAYERS.items():
        wanted = by_numpy(a)
        assert set(found[name]) == set(wanted)
        for metric, value in wanted.items():
            assert found[name][metric] == pytest.approx(value, rel=3e-6), metric
        alone = measure.dimensions(jnp.asarray(a))
        assert all(alone[metric] == value for metric, value in found[name].items())
    assert not any(name.startswith("centred") for name in measure.dimensions(A, centred=False))


def step(carry, a):
    """A user's step, whose loss is differentiated while it is measured."""

    def loss(w):
        h = jnp.tanh(a @ w)
        return jnp.square(h).mean(), (measure.dimensions({"h": h}), measure.units(h))

    (value, measured), grad = jax.value_and_grad(loss, has_aux=True)(carry)
    norms = measure.gradients({"w": grad}) | measure.weights({"w": carry})
    return carry - 0.1 * grad, (value, measured, norms)


def plain_step(w, a):
    grad = jax.grad(lambda w: jnp.square(jnp.tanh(a @ w)).mean())(w)
    return w - 0.1 * grad


def test_measuring_changes_nothing_under_scan_vmap_and_grad():
    w_S = jnp.asarray(np.random.default_rng(1).standard_normal((3, 12, 6)), jnp.float32)
    batches = jnp.stack([jnp.asarray(A), jnp.asarray(A[::-1])])
    end_S, found = jax.jit(jax.vmap(lambda w: jax.lax.scan(step, w, batches)))(w_S)
    for s, w in enumerate(w_S):
        for a in batches:
            w = plain_step(w, a)
        np.testing.assert_allclose(end_S[s], w, rtol=1e-5, atol=1e-7)
    h = np.tanh(A @ np.asarray(w_S[1]))
    measured = found[1][0]["h"]["participation_ratio"]
    assert measured.shape == (3, 2)
    assert measured[1, 0] == pytest.approx(by_numpy(h)["participation_ratio"], rel=1e-5)
    # The gradient of the loss alone: measuring adds nothing to it.
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(found)}
    assert dtypes == {"float32"}  # no float64 leaks out of the spectra


def test_a_measurement_is_a_constant_of_differentiation():
    for f in (measure.dimensions, measure.units):
        total = lambda a, f=f: sum(jax.tree.leaves(f(a)))  # noqa: E731
        np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(A)), 0)


def test_units_are_those_of_the_loop():
    a = jnp.maximum(jnp.asarray(A), 0).at[:, 3].set(0)
    found, wanted = measure.units(a), unit_metrics(a, jnp.ones_like(a))
    assert float(found["dead_fraction"]) == pytest.approx(1 / 12)
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-6)
    assert all(np.isnan(value) for value in measure.units(a.at[0, 0].set(jnp.nan)).values())


def test_tokens_images_and_other_formats():
    tokens = np.random.default_rng(0).standard_normal((6, 5, 4)).astype(np.float32)
    assert measure.dimensions(tokens) == measure.dimensions(tokens.reshape(30, 4))
    images = tokens.reshape(6, 5, 2, 2)
    np.testing.assert_allclose(
        measure.dimensions(images)["participation_ratio"],
        by_numpy(images.mean((1, 2)))["participation_ratio"],
        rtol=1e-5,
    )
    half = measure.dimensions(jnp.asarray(A, jnp.bfloat16))
    assert half["stable_rank"].dtype == jnp.float32
    with pytest.raises(ValueError, match=r"activations of 'x' have the shape \(3,\)"):
        measure.dimensions({"x": np.ones(3)})


def test_norms_and_calibration():
    tree = {"a": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.array([3.0])}}
    found = measure.gradients(tree)
    assert float(found["grad_norm"]) == 5 and float(found["grad_norm/a/kernel"]) == 4
    assert set(measure.weights(tree)) == {"weight_norm", "weight_norm/a/kernel"}
    logits = jnp.log(jnp.array([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.2, 0.8]]))
    found = measure.calibration(logits, jnp.array([0, 0, 0, 1, 1]))
    assert float(found["accuracy"]) == pytest.approx(0.8)
    assert float(found["ece"]) == pytest.approx(0, abs=1e-6)
