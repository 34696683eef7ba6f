"""TwoNN and Gride on manifolds whose dimension is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.measure import intrinsic_dimension


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_dimension_of_a_plane_in_a_larger_space(dimension):
    rng = np.random.default_rng(dimension)
    flat = rng.standard_normal((600, dimension)) @ rng.standard_normal((dimension, 20))
    found = intrinsic_dimension.two_nn(
        intrinsic_dimension.neighbours(jnp.asarray(flat, jnp.float32))
    )
    assert abs(found["two_nn"] - dimension) < 4 * found["error"]
    scaled = intrinsic_dimension.two_nn(
        intrinsic_dimension.neighbours(jnp.asarray(1e3 * flat + 5, jnp.float32))
    )
    np.testing.assert_allclose(scaled["two_nn"], found["two_nn"], rtol=1e-2)


def test_curved_manifolds_and_repeated_examples():
    """A circle has one dimension, although its linear spread is two."""
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 500)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    found = intrinsic_dimension.two_nn(intrinsic_dimension.neighbours(jnp.asarray(circle)))
    assert abs(found["two_nn"] - 1) < 4 * found["error"]
    repeated = intrinsic_dimension.two_nn(
        intrinsic_dimension.neighbours(jnp.asarray(np.concatenate([circle, circle[:50]])))
    )
    assert np.isfinite(repeated["two_nn"])
    constant = intrinsic_dimension.two_nn(intrinsic_dimension.neighbours(jnp.ones((20, 3))))
    assert np.isnan(constant["two_nn"])


@pytest.mark.parametrize("dimension", [1, 3])
def test_gride_of_a_plane_agrees_at_all_scales(dimension):
    rng = np.random.default_rng(dimension)
    flat = rng.uniform(size=(1000, dimension)) @ rng.standard_normal((dimension, 10))
    found = intrinsic_dimension.gride(
        intrinsic_dimension.neighbours(jnp.asarray(flat, jnp.float32))
    )
    near = found["gride"][:3]  # further neighbours lie across the border of the square
    assert (np.abs(near - dimension) < 4 * found["gride_error"][:3] + 0.05 * dimension).all(), found


def test_gride_tells_noise_from_the_manifold():
    """A noisy circle has many dimensions among near neighbours and one among far ones."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 1000)
    circle = np.zeros((1000, 10))
    circle[:, 0], circle[:, 1] = np.cos(angle), np.sin(angle)
    noisy = circle + 0.01 * rng.standard_normal(circle.shape)
    found = intrinsic_dimension.gride(
        intrinsic_dimension.neighbours(jnp.asarray(noisy, jnp.float32))
    )["gride"]
    assert found[0] > 2.5 and found[-1] < 1.5 and found[0] > found[2] > found[-1]
    few = intrinsic_dimension.gride(
        intrinsic_dimension.neighbours(jnp.asarray(noisy[:6], jnp.float32))
    )["gride"]
    assert np.isfinite(few[0]) and np.isnan(few[1:]).all()
    assert np.isnan(
        intrinsic_dimension.gride(intrinsic_dimension.neighbours(jnp.ones((200, 3))))["gride"]
    ).all()


def test_the_error_of_gride_is_at_least_half_of_the_spread_over_samples():
    """It is that of independent examples, but neighbours share neighbours."""
    found = []
    for seed in range(40):
        flat = np.random.default_rng(seed).uniform(size=(400, 2)).astype(np.float32)
        found.append(intrinsic_dimension.gride(intrinsic_dimension.neighbours(jnp.asarray(flat))))
    spread = np.std([each["gride"][0] for each in found])
    told = np.mean([each["gride_error"][0] for each in found])
    assert 0.45 < told / spread < 1.2
