"""Losses and scores of sequences against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.step import losses


@pytest.fixture
def logits(getkey):
    return jax.random.normal(getkey(), (3, 5, 7))


def test_the_loss_of_a_sequence_is_the_mean_over_graded_positions(logits):
    y = jnp.array([[0, 1, 2, 3, 4], [6, -1, 5, -1, 0], [-1] * 5])
    found = losses.cross_entropy(logits, y)
    each = losses.cross_entropy(logits.reshape(15, 7), jnp.maximum(y, 0).reshape(15)).reshape(3, 5)
    np.testing.assert_allclose(found[0], each[0].mean(), rtol=1e-6)
    np.testing.assert_allclose(found[1], each[1, ::2].mean(), rtol=1e-6)
    assert found[2] == 0
    scores = losses.scores(logits, y)
    np.testing.assert_array_equal(scores, (np.asarray(logits.argmax(-1)) == y).astype(float))
    np.testing.assert_allclose(
        losses.score_by_example(logits, y)[1], np.asarray(scores)[1, ::2].mean()
    )


def test_what_is_not_graded_has_no_gradient(logits):
    y = jnp.array([[0.5, jnp.nan, -1.0, jnp.nan, 2.0]])
    out = logits[:1, :, :1]
    np.testing.assert_allclose(
        losses.regression(out, y)[0], np.square(out[0, ::2, 0] - y[0, ::2]).mean(), rtol=1e-6
    )
    slope = jax.grad(lambda o: losses.regression(o, y).sum())(out)
    assert jnp.isfinite(slope).all() and (slope[0, 1::2] == 0).all() and (slope[0, ::2] != 0).all()
    labels = jnp.array([[1, -1, 2, -1, 3]])
    slope = jax.grad(lambda o: losses.cross_entropy(o, labels).sum())(logits[:1])
    assert (slope[0, 1::2] == 0).all() and (slope[0, ::2] != 0).any()


def test_the_score_of_a_real_value_is_the_explained_variance(getkey):
    y = jax.random.normal(getkey(), (4000, 2))
    assert abs(losses.scores(jnp.zeros((4000, 2, 1)), y).mean()) < 0.1
    np.testing.assert_allclose(losses.scores(y[..., None], y), 1)
    half = losses.scores(0.5 * y[..., None], y).mean()
    assert abs(half - 0.75) < 0.03


def test_examples_without_positions_are_as_before(logits):
    y = jnp.array([0, 6, 3])
    np.testing.assert_array_equal(
        losses.score_by_example(logits[:, 0], y), (logits[:, 0].argmax(-1) == y).astype(jnp.float32)
    )
