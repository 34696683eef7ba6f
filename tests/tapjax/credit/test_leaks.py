"""No gradient passes back through a block, for any estimator and any option of the rule.

The input of every block goes through a linear primitive that counts how often it is transposed
while an update is traced. Backpropagation transposes it once per block.
"""

import itertools

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from tapjax.config import schema
from tapjax.credit import CREDITS, make_credit
from tapjax.credit.feedback import through
from tapjax.credit.fields import FIELDS
from tapjax.credit.forward import true_credit
from tapjax.credit.local_rule import local
from tapjax.models.residual import residual_conv, residual_mlp, residual_transformer
from tapjax.types import Batch, Credit

DEPTH, WIDTH, CLASSES, BATCH = 3, 8, 5, 6
KEY = jax.random.key(0)
transposed = []
KINDS = ("mlp", "conv", "transformer")

block_input = Primitive("block_input")
block_input.def_abstract_eval(lambda h: h)
block_input.def_impl(lambda h: h)
batching.primitive_batchers[block_input] = lambda args, axes: (block_input.bind(*args), axes[0])


def _transpose(cotangent, h):
    del h
    transposed.append(cotangent)
    return (cotangent,)


ad.deflinear2(block_input, _transpose)


def watched(kind="mlp"):
    """Return (network whose blocks count transpositions, parameters, batch)."""
    cfg = schema.defaults("credit").blocks
    cfg.update(skip=0.5)
    x = jax.random.normal(jax.random.key(1), (BATCH, 8, 4, 1))
    if kind == "conv":
        model, network = residual_conv(cfg, DEPTH, WIDTH, x.shape[1:], CLASSES)
    elif kind == "transformer":
        model, network = residual_transformer(cfg, DEPTH, WIDTH, 2, x.shape[1:], CLASSES)
    else:
        model, network = residual_mlp(cfg, DEPTH, WIDTH, 32, CLASSES)

    def block(params, i, h, key):
        return network.block(params, i, block_input.bind(h), key)

    def adjoint(params, feedback, i, h, a):
        pairs = zip(*(jax.tree.leaves(t[f"block_{i}"]) for t in (params, feedback)), strict=True)
        if any(ours is theirs for ours, theirs in pairs):  # the weights themselves go back
            transposed.append(a)
        return network.adjoint(params, feedback, i, h, a)

    batch = Batch(x, jnp.arange(BATCH) % CLASSES)
    return network._replace(block=block, adjoint=adjoint), model.init(KEY)[0], batch


def transpositions(credit_of, rule=None, kind="mlp"):
    """Count the transpositions of block inputs in one update; `credit_of(network) -> Credit`."""
    network, params, batch = watched(kind)
    cfg = schema.defaults("credit").rule
    cfg.update({"name": "local"} | (rule or {}))
    local_rule = local(network, credit_of(network), cfg)
    del transposed[:]
    jax.make_jaxpr(
        lambda params: local_rule.update(local_rule.init(KEY, params), params, {}, batch, KEY).grads
    )(params)
    return len(transposed)


def named(name, warmup=0, **fields):
    cfg = schema.defaults("credit").credit
    cfg.update({"name": name, "width": 16} | fields)
    return lambda network: make_credit(network, cfg, optax.adam(1e-3), warmup)


OPTIONS = [("vector_field", {"field": field, "terminal": 1.0}) for field in FIELDS]
OPTIONS += [("vector_field", {"field": "chain", "targets": t}) for t in ("block", "response")]
OPTIONS += [("vector_field", {"targets": "joint", "shuffle": True, "ema": 0.5, "steps": 2})]
OPTIONS += [("vector_field", {"mode": mode}) for mode in ("central", "onesided")]
OPTIONS += [("vector_field", {"unit": unit, "code": "delta+h"}) for unit in ("batch", "none")]
OPTIONS += [("forward_gradient", {"targets": targets}) for targets in ("tail", "joint")]
OPTIONS += [("state_bridge", {"field": field}) for field in ("plain", "residual")]
OPTIONS += [(name, {}) for name in CREDITS if name not in ("bp", "vector_field")]


@pytest.mark.long_except("-mlp]", "fields5", "fields6", "-fields21", "-fields22", "-fields23")
@pytest.mark.long_except("-mlp]", "vector_response", "weight_mirror")
@pytest.mark.slow_except("-mlp]")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "fields"), OPTIONS)
def test_no_estimator_goes_back_through_a_block(name, fields, kind):
    assert transpositions(named(name, **fields), kind=kind) == 0


RULES = list(itertools.product(("raw", "rms", "batch"), (0, 1), (True, False), (0, 5)))


@pytest.mark.slow_except("rms-0-True-5]", "raw-1-False-0]")
@pytest.mark.parametrize(("normalise", "shift", "gate", "warmup"), RULES)
def test_no_option_of_the_rule_does(normalise, shift, gate, warmup):
    rule = {"normalise": normalise, "shift": shift, "gate": gate, "exact_last": bool(shift)}
    assert transpositions(named("vector_field", warmup), rule) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_backpropagation_goes_back_through_every_block_once(kind):
    assert transpositions(named("bp"), kind=kind) == DEPTH
    # As a rule of its own it does so too; the observed estimator adds nothing.
    assert transpositions(named("dfa"), {"name": "backprop"}, kind) == DEPTH
    assert transpositions(named("bp"), {"name": "backprop"}, kind) == 2 * DEPTH


def _leaks_the_gradient(network):
    """A mutant: direct feedback that adds a little of the true gradient."""
    feedback = named("dfa")(network)

    def assign(state, seen, key):
        credits, state, scalars = feedback.assign(state, seen, key)
        return credits + 1e-6 * true_credit(seen), state, scalars

    return Credit(feedback.init, assign)


def _leaks_while_learning(network):
    """A mutant: its credits are those of direct feedback, but its state learns from the truth."""
    feedback = named("dfa")(network)

    def assign(state, seen, key):
        credits, state, scalars = feedback.assign(state, seen, key)
        total = jax.grad(lambda h: seen.terminal(seen.block(0, h)).sum())(seen.h[0])
        return credits, state + total.mean(), scalars

    return Credit(feedback.init, assign)


def _goes_back_by_the_weights(network):
    """A mutant: feedback alignment whose feedback are the weights."""

    def assign(state, seen, key):
        return through(seen, seen.params), state, {}

    return Credit(lambda key: (), assign)


def test_mutants_that_leak_are_caught():
    assert transpositions(_goes_back_by_the_weights) == DEPTH
    assert transpositions(_leaks_the_gradient) == DEPTH
    assert transpositions(_leaks_while_learning) == 1
