"""Measures of mechanisms, on networks in which the mechanism was put by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.data.datasets import load_arrays
from tapjax.data.sequences import make_drawn
from tapjax.measure import features, fourier
from tapjax.models.zoo import make_model
from tapjax.types import Batch, DeviceData, TrainState


def at(params):
    return TrainState(jnp.int32(0), params, {}, (), (), jax.random.key(0))


def data_of(x, y):
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y)
    return DeviceData(x, y, Batch(x, y), jnp.zeros(1), jnp.ones(1))


@pytest.mark.parametrize("blocks", [1, 2])
def test_an_embedding_of_circles_has_their_frequencies(blocks):
    p, frequencies = 31, (3, 11)
    angle = 2 * np.pi * np.arange(p)[:, None] * np.array(frequencies)[None] / p
    circles = np.concatenate([np.cos(angle), np.sin(angle)], 1)
    kernel = np.concatenate([circles + 5.0] * blocks)  # a constant has no frequency
    arrays = load_arrays("modular:p=31")
    data = data_of(arrays.x_test[:5], arrays.y_test[:5])
    name = "embed" if blocks == 1 else "hidden_0"
    found = fourier.measure(None, None, at({name: {"kernel": jnp.asarray(kernel)}}), data, None)
    expected = np.zeros(15)
    expected[np.array(frequencies) - 1] = 0.5
    np.testing.assert_allclose(found["power"], expected, atol=1e-5)
    np.testing.assert_allclose(found["top_share"], 1, atol=1e-5)
    np.testing.assert_allclose(found["frequencies"], 2, atol=1e-4)


def test_a_random_embedding_has_all_frequencies(getkey):
    arrays = load_arrays("modular:p=59")
    data = data_of(arrays.x_test[:5], arrays.y_test[:5])
    kernel = jax.random.normal(getkey(), (59, 2000))
    found = fourier.measure(None, None, at({"embed": {"kernel": kernel}}), data, None)
    np.testing.assert_allclose(found["power"], 1 / 29, rtol=0.2)
    assert abs(found["top_share"] - 5 / 29) < 0.02 and found["frequencies"] > 28.5


def test_other_data_and_networks_have_no_fourier_spectrum():
    images = data_of(np.zeros((2, 8, 8, 1)), np.zeros(2, int))
    with pytest.raises(ValueError, match="not pairs of one-hot numbers"):
        fourier.measure(None, None, at({}), images, None)
    pairs = data_of(np.zeros((2, 2, 31, 1)), np.zeros(2, int))
    with pytest.raises(ValueError, match="does not take the numbers"):
        fourier.measure(None, None, at({"embed": {"kernel": jnp.ones((16, 4))}}), pairs, None)


def test_a_unit_that_computes_the_parity_is_found(getkey):
    """Of two bits, |x_1 + x_2| / 2 is the parity: two rectified units carry half of it each."""
    x, y = make_drawn("parity:bits=6,relevant=2").draw(getkey(), 4000)
    model = make_model("mlp:widths=3", (6, 1, 1), 2)
    params, _ = model.init(getkey())
    kernel = np.zeros((6, 3), np.float32)
    kernel[:2] = np.array([[1, -1, 0], [1, -1, 0]])
    kernel[5, 2] = 1
    params = params | {"hidden_0": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(3)}}
    found = features.measure(model, None, at(params), data_of(x, y), None)
    # relu(x_1 + x_2) is 2 in a quarter of the examples; its correlation with parity is 1 / sqrt(3).
    np.testing.assert_allclose(found["correlation"], [3**-0.5], atol=0.03)
    np.testing.assert_allclose(found["input_share"], [0.4, 0.4, 0, 0, 0, 0.2], atol=1e-6)
    np.testing.assert_allclose(found["inputs"], 1 / (0.16 + 0.16 + 0.04), rtol=1e-5)
    random = features.measure(model, None, at(model.init(getkey())[0]), data_of(x, y), None)
    assert 1 < random["inputs"] <= 6


def test_constant_units_have_no_correlation(getkey):
    x, y = make_drawn("parity:bits=6,relevant=2").draw(getkey(), 64)
    model = make_model("mlp:widths=3", (6, 1, 1), 2)
    params, _ = model.init(getkey())
    zero = jax.tree.map(jnp.zeros_like, params)
    assert features.measure(model, None, at(zero), data_of(x, y), None)["correlation"] == 0
