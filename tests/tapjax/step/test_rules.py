"""One table of all rules; a rule without a row fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.models.zoo import make_model
from tapjax.step.losses import LOSSES
from tapjax.step.rules import RULES
from tapjax.types import Batch

EXACT = {"backprop"}  # rules whose pseudo-gradient is the gradient of the mean loss
SHAPE = (4, 4, 1)


def toy(rule, loss, getkey, arch="mlp:depth=2,width=6"):
    model = make_model(arch, SHAPE, 3)
    made = RULES[rule](model, LOSSES[loss])
    params, stats = model.init(getkey())
    batch = Batch(jax.random.normal(getkey(), (8, *SHAPE)), jnp.arange(8) % 3)
    return model, made, params, stats, batch


def test_the_table_is_complete():
    assert set(RULES) == EXACT


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rule", RULES)
def test_proposals_have_the_parameters_structure_and_finite_values(rule, loss, getkey):
    _, made, params, stats, batch = toy(rule, loss, getkey)
    state = made.init(getkey(), params)
    proposal = jax.jit(made.update)(state, params, stats, batch, getkey())
    shapes = jax.tree.map(lambda a, b: a.shape == b.shape, params, proposal.grads)
    assert jax.tree.all(shapes)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(proposal.grads))
    assert jax.tree.structure(state) == jax.tree.structure(proposal.rule)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rule", sorted(EXACT))
def test_exact_rules_agree_with_jvp(rule, loss, getkey):
    """The derivative of the loss along v is <grad, v>."""
    model, made, params, stats, batch = toy(rule, loss, getkey)
    key = getkey()
    grads = made.update((), params, stats, batch, key).grads
    leaves, tree = jax.tree.flatten(params)
    v = tree.unflatten([jax.random.normal(getkey(), leaf.shape) for leaf in leaves])

    def mean_loss(params):
        return LOSSES[loss](model.apply(params, stats, batch.x, key)[0], batch.y).mean()

    _, along = jax.jvp(mean_loss, (params,), (v,))
    inner = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, grads, v)))
    np.testing.assert_allclose(inner, along, rtol=1e-4)


def test_losses_match_their_definitions(getkey):
    logits, y = jax.random.normal(getkey(), (5, 3)), jnp.array([0, 2, 1, 1, 0])
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        LOSSES["cross_entropy"](logits, y), -np.log(probabilities[np.arange(5), y]), rtol=1e-5
    )
    error = np.square(np.asarray(logits) - np.eye(3)[np.asarray(y)]).sum(-1) / 2
    np.testing.assert_allclose(LOSSES["squared_error"](logits, y), error, rtol=1e-5)
