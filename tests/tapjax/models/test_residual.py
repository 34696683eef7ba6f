"""Networks in blocks of convolutions, and parts of a network that learn in turn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from tapjax.config import schema
from tapjax.contract.architectures import count_params, parse_architecture
from tapjax.credit import make_credit
from tapjax.credit.directions import directions, tail_targets
from tapjax.credit.forward import observe, true_credit
from tapjax.credit.probe import cosines
from tapjax.models.layers import patches
from tapjax.models.residual import residual_conv, residual_transformer
from tapjax.models.residual_blocks import layer_norm, neighbours
from tapjax.run import assembly
from tapjax.types import Batch

SHAPE = (8, 8, 3)


@pytest.fixture(scope="module")
def net():
    cfg = schema.defaults("credit")
    cfg.blocks.update(block_scale=1.0, skip=0.5)
    model, layered = residual_conv(cfg.blocks, 2, 4, SHAPE, 5)
    params, _ = model.init(jax.random.key(0))
    return (
        layered,
        params,
        Batch(jax.random.normal(jax.random.key(1), (6, *SHAPE)), jnp.arange(6) % 5),
    )


def test_gathered_neighbours_make_a_convolution():
    h = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    expected = lax.conv_general_dilated(
        h, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(neighbours(h) @ kernel.reshape(27, 4), expected, atol=1e-4)


def test_a_patch_holds_the_pixels_of_its_square():
    x = jnp.arange(64.0).reshape(1, 8, 8, 1)
    expected = x[0, 4:, :4, 0].ravel()
    np.testing.assert_array_equal(patches(x, 4)[0, 1, 0], expected)


@pytest.mark.slow
def test_convolutional_blocks_have_forward_and_backward_derivatives(net):
    layered, params, batch = net
    seen = observe(layered, params, batch, jax.random.key(2))
    assert seen.h.shape == (3, 6, 2, 2, 4) and layered.shape == (2, 2, 4)
    v = directions(jax.random.key(3), (2, 2, *seen.h.shape[1:]), "rademacher")
    expected = (true_credit(seen)[:-1, None] * v).sum((-1, -2, -3))
    np.testing.assert_allclose(tail_targets(seen, v), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"name": "state_bridge", "field": "residual"},
        {"name": "scalar_bridge", "code": "delta+h"},
        {"name": "vector_field", "field": "plain", "code": "error+h"},
        {"name": "vector_field", "field": "bilinear"},
    ],
)
def test_estimators_work_at_every_place(net, fields):
    layered, params, batch = net
    cfg = schema.defaults("credit").credit
    cfg.update(width=8, **fields)
    credit = make_credit(layered, cfg, optax.adam(1e-3))
    seen = observe(layered, params, batch, jax.random.key(2))
    state = credit.init(jax.random.key(3))
    credits = jax.jit(lambda: credit.assign(state, seen, jax.random.key(4))[0])()
    assert credits.shape == seen.h.shape and jnp.isfinite(credits).all()


def after_learning(layered, cfg, seen, steps):
    """Return the credits of an estimator that learned from one batch."""
    credit = make_credit(layered, cfg, optax.adam(1e-2))

    @jax.jit
    def repeat(state):
        step = lambda state, key: (credit.assign(state, seen, key)[1], None)  # noqa: E731
        state, _ = jax.lax.scan(step, state, jax.random.split(jax.random.key(6), steps))
        return credit.assign(state, seen, jax.random.key(7))[0]

    return repeat(credit.init(jax.random.key(5)))


@pytest.mark.long_except("0.5")
@pytest.mark.slow
@pytest.mark.parametrize("skip", [0.0, 0.5])
def test_a_convolutional_chain_learns_the_true_credit_from_responses(skip):
    cfg = schema.defaults("credit")
    cfg.blocks.update(block_scale=1.0, skip=skip)
    model, layered = residual_conv(cfg.blocks, 2, 4, SHAPE, 5)
    params, _ = model.init(jax.random.key(0))
    batch = Batch(jax.random.normal(jax.random.key(1), (6, *SHAPE)), jnp.arange(6) % 5)
    cfg.credit.update(
        name="vector_field", field="chain", targets="response", directions=4, width=16
    )
    seen = observe(layered, params, batch, jax.random.key(2))
    credits = after_learning(layered, cfg.credit, seen, 1000)
    assert cosines(credits, true_credit(seen)).mean() > 0.95


def test_their_parameters_are_counted(net):
    _, params, _ = net
    arch = parse_architecture("residual_conv:depth=2,width=4")
    assert count_params(arch, SHAPE, 5) == sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.fixture(scope="module")
def tokens():
    cfg = schema.defaults("credit")
    cfg.blocks.update(block_scale=1.0, skip=0.5)
    model, layered = residual_transformer(cfg.blocks, 2, 8, 2, (3, 5, 1), 4)
    params, _ = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (6, 3, 5, 1))
    return model, layered, params, Batch(x, jnp.arange(6) % 4)


def test_a_transformer_counts_its_parameters_and_knows_the_order_of_its_tokens(tokens):
    model, layered, params, batch = tokens
    arch = parse_architecture("residual_transformer:depth=2,width=8,heads=2")
    assert count_params(arch, (3, 5, 1), 4) == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert layered.inputs == 15 and layered.shape == (3, 8)
    output, hidden, _ = model.apply(params, {}, batch.x)
    assert [h.shape for h in hidden] == [(6, 3, 8)] * 3 + [(6, 4)]
    turned, _, _ = model.apply(params, {}, batch.x[:, ::-1])
    assert jnp.abs(turned - output).max() > 1e-3


def test_attention_is_its_equation(tokens):
    _, layered, params, batch = tokens
    h = layered.embed(params, batch.x)
    own = {n: (w["kernel"], w["bias"][None, None]) for n, w in params["block_0"].items()}
    x = layer_norm(h)
    q, k, v = (x @ own[name][0] + own[name][1] for name in ("query", "key", "value"))
    heads = [
        jax.nn.softmax(q[..., i : i + 4] @ k[..., i : i + 4].mT / 2.0) @ v[..., i : i + 4]
        for i in (0, 4)
    ]
    attended = jnp.concatenate(heads, -1) @ own["output"][0] + own["output"][1]
    hidden = jax.nn.gelu(x @ own["first"][0] + own["first"][1])
    expected = 0.5 * h + attended + hidden @ own["second"][0] + own["second"][1]
    found = layered.block(params, 0, h, jax.random.key(2))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.long
@pytest.mark.slow
def test_a_chain_learns_the_credit_through_attention(tokens):
    _, layered, params, batch = tokens
    cfg = schema.defaults("credit")
    cfg.credit.update(name="vector_field", field="chain", targets="response", directions=8)
    cfg.credit.update(width=64, layer_norm=True)
    seen = observe(layered, params, batch, jax.random.key(2))
    credits = after_learning(layered, cfg.credit, seen, 1500)
    assert cosines(credits, true_credit(seen)).mean() > 0.9


def test_a_transformer_needs_an_embedding():
    cfg = schema.defaults("credit").blocks
    cfg.embed = False
    with pytest.raises(schema.ConfigError, match="needs blocks.embed=True"):
        residual_transformer(cfg, 1, 8, 2, (3, 5, 1), 4)


def test_images_must_fall_into_patches():
    with pytest.raises(schema.ConfigError, match="multiple of 4 pixels along each side, not 6x8"):
        residual_conv(schema.defaults("credit").blocks, 2, 4, (6, 8, 1), 5)


def small(**rule):
    cfg = schema.defaults("credit")
    cfg.family, cfg.model.name = "credit", "residual_conv:depth=1,width=4"
    cfg.steps, cfg.seeds, cfg.checkpoint.pin_jumps = 20, (0,), 0
    cfg.credit.name = "dir"
    cfg.rule.update(name="local", **rule)
    return cfg


@pytest.mark.long_except("0]")
@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 3])
def test_parts_learn_in_turn(steps):
    ready = assembly.assemble(small(alternate=steps))
    states = ready.programs.init()
    moved = []
    for _ in range(6):
        before = jax.tree.map(np.asarray, states.params)
        states, _ = ready.programs.step(states, ready.data)
        change = jax.tree.map(lambda a, b: bool((a != b).any()), before, states.params)
        moved.append({name for name in change if any(jax.tree.leaves(change[name]))})
    everything = {"embed", "block_0", "head"}
    expected = [{"embed", "head"}] * 3 + [{"block_0", "head"}] * 3
    assert moved == (expected if steps else [everything] * 6)


def test_turns_need_a_constant_rate():
    cfg = small(alternate=2)
    cfg.optimizer.schedule = "cosine"
    with pytest.raises(schema.ConfigError, match="each part counts its own steps"):
        schema.check(cfg)
