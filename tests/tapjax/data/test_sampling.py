import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.data import sampling
from tapjax.data.datasets import load_arrays
from tapjax.types import Batch, DeviceData


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 1437, 60_000])
def test_permute_is_a_bijection(getkey, n):
    image = sampling.permute(getkey(), jnp.arange(n), n)
    np.testing.assert_array_equal(np.sort(image), np.arange(n))


def test_permutations_of_different_keys_are_unrelated(getkey):
    a, b = (sampling.permute(getkey(), jnp.arange(1000), 1000) for _ in range(2))
    assert (a == b).mean() < 0.01
    assert abs(np.corrcoef(a, np.arange(1000))[0, 1]) < 0.1
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.1


def test_every_image_of_a_position_is_equally_likely(getkey):
    keys = jax.random.split(getkey(), 4000)
    images = jax.vmap(lambda key: sampling.permute(key, jnp.arange(8), 8))(keys)
    for position in range(8):
        counts = np.bincount(images[:, position], minlength=8)
        chi2 = np.square(counts - 500).sum() / 500
        assert chi2 < 30  # 7 degrees of freedom: p < 1e-4 beyond


def toy_data(n=10):
    x = jnp.arange(n, dtype=jnp.float32).reshape(n, 1, 1, 1)
    return DeviceData(x, jnp.arange(n), Batch(x, jnp.arange(n)), jnp.zeros(1), jnp.ones(1))


def test_an_epoch_visits_every_example_once_and_the_next_one_reorders(getkey):
    sample, key = sampling.make_sampler(5, "epoch", False), getkey()
    epochs = [
        np.concatenate([sample(key, jnp.int32(step), toy_data()).y for step in (e, e + 1)])
        for e in (0, 2, 4)
    ]
    for order in epochs:
        np.testing.assert_array_equal(np.sort(order), np.arange(10))
    assert not (epochs[0] == epochs[1]).all()


def test_the_step_alone_determines_the_batch(getkey):
    key = getkey()
    for shuffle in ("epoch", "replacement"):
        sample = jax.jit(sampling.make_sampler(4, shuffle, False))
        twice = [sample(key, jnp.int32(7), toy_data()) for _ in range(2)]
        np.testing.assert_array_equal(twice[0].y, twice[1].y)
        np.testing.assert_array_equal(twice[0].x[:, 0, 0, 0], twice[0].y)
        assert (sample(key, jnp.int32(8), toy_data()).y != twice[0].y).any()


def test_augmentation_shifts_and_flips_whole_images(getkey):
    x = jnp.arange(1.0, 1 + 8 * 8).reshape(1, 8, 8, 1)
    images = jnp.tile(x, (64, 1, 1, 1))
    out = np.asarray(sampling.crop_and_flip(getkey(), images))
    assert out.shape == images.shape
    padded = np.pad(np.asarray(x[0, :, :, 0]), 4)
    crops = [padded[i : i + 8, j : j + 8] for i in range(9) for j in range(9)]
    allowed = {c.tobytes() for c in crops} | {c[:, ::-1].copy().tobytes() for c in crops}
    assert {image[:, :, 0].tobytes() for image in out} <= allowed
    assert len({image.tobytes() for image in out}) > 20


def test_the_probe_is_fixed_stratified_and_normalised():
    arrays = load_arrays("digits")
    data, index = sampling.device_data(arrays, 100)
    again, _ = sampling.device_data(arrays, 100)
    np.testing.assert_array_equal(data.probe.x, again.probe.x)
    np.testing.assert_array_equal(data.probe.y, arrays.y_test[index])
    assert np.bincount(data.probe.y).tolist() == [10] * 10
    assert abs(float(data.probe.x.mean())) < 0.1 and abs(float(data.probe.x.std()) - 1) < 0.1
