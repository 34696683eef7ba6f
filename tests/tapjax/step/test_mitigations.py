"""Transformations that keep a network learning: exact where they have a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tapjax.config import schema
from tapjax.step.mitigations import noisy_gradient, perturbed, spectral, towards_start
from tapjax.step.optimizers import make_optimizer, make_schedule

PARAMS = {"kernel": jax.random.normal(jax.random.key(0), (6, 4)), "bias": jnp.arange(4.0)}
GRADS = jax.tree.map(lambda w: jnp.sin(3 * w), PARAMS)


def updates_of(tx, steps=1, params=PARAMS):
    state, found = tx.init(params), []
    for i in range(steps):
        update, state = tx.update(GRADS, state, params, key=jax.random.key(i))
        found.append(update)
    return found


@pytest.mark.parametrize("make", [noisy_gradient, towards_start, spectral, perturbed])
def test_at_strength_zero_nothing_changes(make):
    tx = make(0.0, 1.0) if make is noisy_gradient else make(0.0)
    tx = optax.with_extra_args_support(tx)
    jax.tree.map(np.testing.assert_array_equal, updates_of(tx)[0], GRADS)


def test_noise_is_in_proportion_to_the_whole_gradient():
    big = {"w": jnp.full((200, 200), 0.5)}
    tx = noisy_gradient(0.01, 0.5)
    state = tx.init(big)
    for expected in (1.0, 0.5):
        update, state = tx.update(big, state, key=jax.random.key(3))
        noise = np.asarray(update["w"]) - 0.5
        assert noise.std() == pytest.approx(expected * 0.01 * 0.5 * 200, rel=0.02)


def test_without_decay_left_only_the_first_step_is_noisy():
    first, *others = updates_of(noisy_gradient(0.1, 0.0), 3)
    assert np.abs(first["kernel"] - GRADS["kernel"]).max() > 0
    for update in others:
        jax.tree.map(np.testing.assert_array_equal, update, GRADS)


def test_the_pull_is_towards_the_beginning():
    tx = towards_start(0.5)
    moved = jax.tree.map(lambda w: w + 2.0, PARAMS)
    update, _ = tx.update(GRADS, tx.init(PARAMS), moved)
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, g + 1.0, rtol=1e-5), update, GRADS)


def test_the_spectral_pull_is_the_gradient_of_its_penalty():
    update = updates_of(optax.with_extra_args_support(spectral(0.3)), 60)[-1]

    def penalty(w):
        return 0.3 * (jnp.linalg.norm(w, 2) ** 2 - 1) ** 2

    expected = GRADS["kernel"] + jax.grad(penalty)(PARAMS["kernel"])
    np.testing.assert_allclose(update["kernel"], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(update["bias"], GRADS["bias"])


def test_perturbations_have_their_size():
    big = {"w": jnp.zeros((200, 200))}
    tx = perturbed(0.02)
    update, _ = tx.update(big, tx.init(big), key=jax.random.key(0))
    assert np.asarray(update["w"]).std() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("field", ["noise", "l2_init", "spectral", "perturb"])
def test_a_config_names_them(field):
    cfg = schema.defaults().optimizer
    cfg.name = "sgd"
    cfg[field] = 0.1
    tx = optax.with_extra_args_support(make_optimizer(cfg, make_schedule(cfg, 10)))
    moved = jax.tree.map(lambda w: w + 0.5, PARAMS)
    update, _ = tx.update(GRADS, tx.init(PARAMS), moved, key=jax.random.key(0))
    plain = -1e-3 * GRADS["kernel"]
    assert np.abs(update["kernel"] - plain).max() > 1e-6
