"""Credits of the literature against the equations of their papers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tapjax.config import schema
from tapjax.config.families.credit import READ_BY
from tapjax.credit import CREDITS, USES, make_credit
from tapjax.credit.estimator import CODES
from tapjax.credit.feedback import through
from tapjax.credit.fields import FIELDS
from tapjax.credit.forward import observe, true_credit
from tapjax.credit.local_rule import local
from tapjax.credit.probe import cosines
from tapjax.models.residual import (
    linear_dynamics,
    residual_conv,
    residual_mlp,
    residual_transformer,
)
from tapjax.types import Batch, ForwardView

DEPTH, WIDTH, CLASSES, BATCH = 3, 8, 5, 6
KEY = jax.random.key(2)


def layered(kind="mlp", **blocks):
    """Return (network, parameters, batch)."""
    cfg = schema.defaults("credit").blocks
    cfg.update({"block_scale": 1.0, "skip": 0.5} | blocks)
    x, y = jax.random.normal(jax.random.key(1), (BATCH, 8, 4, 1)), jnp.arange(BATCH) % CLASSES
    if kind == "mlp":
        model, network = residual_mlp(cfg, DEPTH, WIDTH, 32, CLASSES)
    elif kind == "conv":
        model, network = residual_conv(cfg, DEPTH, WIDTH, x.shape[1:], CLASSES)
    elif kind == "transformer":
        model, network = residual_transformer(cfg, DEPTH, WIDTH, 2, x.shape[1:], CLASSES)
    else:
        cfg.block_scale = 0.3
        model, network = linear_dynamics(cfg, DEPTH, WIDTH)
        x = jax.random.normal(jax.random.key(1), (BATCH, 2, WIDTH, 1))
    return network, model.init(jax.random.key(0))[0], Batch(x, y)


def view(net):
    network, params, batch = net
    return observe(network, params, batch, KEY)


def config(name, **fields):
    cfg = schema.defaults("credit").credit
    cfg.update({"name": name, "width": 16} | fields)
    return cfg


def estimator(net, name, lr=3e-3, **fields):
    return make_credit(net[0], config(name, lr=lr, **fields), optax.adam(lr))


def credits_of(net, name, key=KEY, **fields):
    """Return (credits, state) of an estimator at its beginning."""
    credit = estimator(net, name, **fields)
    state = credit.init(jax.random.key(5))
    return credit.assign(state, view(net), key)[0], state


def learned(net, name, steps, lr=3e-3, **fields):
    """Return the credits of an estimator after learning on the same batch."""
    credit, seen = estimator(net, name, lr, **fields), view(net)

    @jax.jit
    def run(state):
        step = lambda state, key: (credit.assign(state, seen, key)[1], None)  # noqa: E731
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(6), steps))[0]

    state = run(credit.init(jax.random.key(5)))
    return credit.assign(state, seen, KEY)[0], state


@pytest.mark.long_except("mlp", "conv", "transformer-blocks3")
@pytest.mark.slow_except("conv", "transformer-blocks3")
@pytest.mark.parametrize(
    ("kind", "blocks"),
    [
        ("mlp", {}),
        ("mlp", {"activation": "tanh", "alpha": 0.5, "skip": 0.0}),
        ("conv", {}),
        ("transformer", {}),
        ("transformer", {"activation": "tanh", "alpha": 0.5, "skip": 0.0}),
        ("dynamics", {}),
    ],
)
def test_back_through_the_networks_own_matrices_is_backpropagation(kind, blocks):
    net = layered(kind, **blocks)
    seen = view(net)
    np.testing.assert_allclose(through(seen, net[1]), true_credit(seen), rtol=1e-4, atol=1e-6)


def test_feedback_alignment_is_its_equation_in_float64():
    net = layered(activation="tanh")
    found, feedback = credits_of(net, "feedback_alignment")
    seen = view(net)
    params, feedback = jax.tree.map(lambda w: np.asarray(w, np.float64), (net[1], feedback))
    h = np.asarray(seen.h, np.float64)
    a = np.asarray(seen.last, np.float64)
    for i in reversed(range(DEPTH)):
        own, back = params[f"block_{i}"], feedback[f"block_{i}"]
        centred = h[i] - h[i].mean(-1, keepdims=True)
        sigma = np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5)
        normal = centred / sigma
        z = normal @ own["linear_0"]["kernel"] + own["linear_0"]["bias"]
        delta = (a @ back["kernel"].T) * (1 - np.tanh(z) ** 2)
        by_normal = delta @ back["linear_0"]["kernel"].T
        by_h = by_normal - by_normal.mean(-1, keepdims=True)
        by_h = by_h - normal * (by_normal * normal).mean(-1, keepdims=True)
        a = 0.5 * a + by_h / sigma
        np.testing.assert_allclose(found[i], a, rtol=1e-4, atol=1e-6)
        assert np.abs(back["kernel"] - own["kernel"]).max() > 0.1


@pytest.mark.parametrize("tx", [optax.adamw(1e-2, weight_decay=2.0), optax.sgd(1e-2)])
def test_kolen_pollack_feedback_follows_the_weights_to_the_last_update(tx):
    """Equal updates and decay r leave (1 - r)^t of the difference, and all of it without decay."""
    net = layered()
    network, params, batch = net
    credit = make_credit(network, config("kolen_pollack"), tx)
    cfg = schema.defaults("credit").rule
    cfg.update(name="local", clip=0.5)
    rule = local(network, credit, cfg)
    parts = {f"block_{i}": params[f"block_{i}"] for i in range(DEPTH)}
    opt, state = tx.init(parts), rule.init(KEY, params)
    before = jax.tree.map(jnp.subtract, parts, state.feedback)

    @jax.jit
    def step(params, opt, state):
        proposal = rule.update(state, params, {}, batch, KEY)
        own = {name: params[name] for name in parts}
        updates, opt = tx.update({name: proposal.grads[name] for name in parts}, opt, own)
        return params | optax.apply_updates(own, updates), opt, proposal.rule

    for _ in range(20):
        params, opt, state = step(params, opt, state)
    moved = jnp.abs(params["block_1"]["kernel"] - parts["block_1"]["kernel"]).max()
    assert moved > 1e-4
    left = 1.0 if len(jax.tree.leaves(opt)) < 2 else (1 - 1e-2 * 2.0) ** 20
    for name in parts:
        after = jax.tree.map(jnp.subtract, params[name], state.feedback[name])
        expected = jax.tree.map(lambda d: left * d, before[name])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after, expected)


def test_a_weight_mirror_converges_to_the_weights():
    net = layered()
    _, found = learned(net, "weight_mirror", 2000, lr=2e-2, directions=32)
    for name in found:
        for path in (("kernel",), ("linear_0", "kernel")):
            w, b = net[1][name], found[name]
            for key in path:
                w, b = w[key], b[key]
            assert float((w * b).sum() / jnp.linalg.norm(w) / jnp.linalg.norm(b)) > 0.95
            np.testing.assert_allclose(jnp.linalg.norm(b), jnp.linalg.norm(w), rtol=0.15)


def test_sign_symmetry_has_the_signs_and_the_size_of_the_weights():
    net = layered()
    found, _ = credits_of(net, "sign_symmetry")
    signs = jax.tree.map(lambda w: np.sign(w) * np.sqrt(np.mean(np.square(w))), net[1])
    np.testing.assert_allclose(found, through(view(net), signs), rtol=1e-4, atol=1e-6)
    assert float(cosines(found, true_credit(view(net)))[:-1].mean()) > 0.5


def test_direct_random_target_projection_knows_the_label_only():
    net = layered()
    found, feedback = credits_of(net, "drtp")
    labels = np.eye(CLASSES)[np.asarray(net[2].y)]
    np.testing.assert_allclose(found, -np.einsum("bc,lcd->lbd", labels, feedback), rtol=1e-5)


@pytest.mark.long
@pytest.mark.slow
def test_feedback_learned_by_node_perturbation_is_the_least_squares_feedback():
    """Lansdell et al. 2020: its fixed point is the regression of the gradient on the error."""
    net = layered()
    fields = {"field": "linear", "targets": "joint", "directions": 16, "unit": "none"}
    found, _ = learned(net, "vector_field", 3000, 5e-3, **fields)
    seen = view(net)
    true, error = np.asarray(true_credit(seen)), np.asarray(seen.error)
    for i in range(DEPTH):
        best = error @ np.linalg.lstsq(error, true[i], rcond=1e-4)[0]
        assert float(cosines(found[i][None], best[None]).mean()) > 0.97


@pytest.mark.long_except("joint")
@pytest.mark.slow_except("joint")
@pytest.mark.parametrize("targets", ["joint", "tail"])
def test_the_mean_of_forward_gradients_is_the_gradient(targets):
    net = layered()
    found, _ = credits_of(net, "forward_gradient", targets=targets, directions=4000)
    assert float(cosines(found, true_credit(view(net))).min()) > 0.9
    one, _ = credits_of(net, "forward_gradient", targets=targets, directions=1)
    assert float(cosines(one, true_credit(view(net)))[:-1].mean()) < 0.6


def test_a_local_loss_is_the_gradient_of_each_layers_own_head():
    net = layered()
    found, state = credits_of(net, "local_loss")
    seen, labels = view(net), np.eye(CLASSES)[np.asarray(net[2].y)]
    for i in range(DEPTH):
        kernel, bias = state.params["kernel"][i], state.params["bias"][i]
        wrong = jax.nn.softmax(seen.h[i] @ kernel + bias) - labels
        np.testing.assert_allclose(found[i], wrong @ kernel.T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[-1], seen.last)
    perturbed, _ = credits_of(net, "local_forward_gradient", directions=4000)
    assert float(cosines(perturbed, found).min()) > 0.9


@pytest.mark.long
@pytest.mark.slow
def test_targets_go_back_through_learned_inverses_of_the_blocks():
    """In a linear system the credits approach (I + A)^-1 a instead of (I + A)^T a."""
    net = layered("dynamics", noise=0.0)
    found, _ = learned(net, "target_propagation", 4000, 2e-3, width=64)
    expected = view(net).last
    for i in reversed(range(DEPTH)):
        expected = expected @ jnp.linalg.inv(jnp.eye(WIDTH) + net[1][f"block_{i}"]).T
        assert float(cosines(found[i][None], expected[None]).mean()) > 0.9, i


def test_pepita_is_the_difference_of_two_forward_passes():
    net = layered()
    network, params, batch = net
    found, feedback = credits_of(net, "pepita")
    seen = view(net)
    moved = batch.x + (seen.error @ feedback).reshape(batch.x.shape)
    h = network.embed(params, moved)
    for i in range(DEPTH):
        np.testing.assert_allclose(found[i], seen.h[i] - h, rtol=1e-4, atol=1e-5)
        h = network.block(params, i, h, KEY)
    assert feedback.std() == pytest.approx(0.05 * (2 / 32) ** 0.5, rel=0.2)


OPTIONS = {
    "forward_gradient": [{"targets": t, "mode": m} for t in ("tail", "joint") for m in ("jvp",)]
    + [{"mode": "onesided"}],
    "state_bridge": [{"code": code} for code in CODES],
    "scalar_bridge": [{"code": code, "terminal": 1.0} for code in CODES],
    "vector_field": [{"field": field, "terminal": 1.0} for field in FIELDS]
    + [{"code": code, "mode": "onesided", "unit": "batch"} for code in CODES]
    + [{"field": "chain", "targets": t} for t in ("block", "joint", "response")],
}


@pytest.mark.parametrize("name", CREDITS)
def test_an_estimator_reads_what_the_table_allows_and_nothing_else(name):
    net = layered()
    read = set()

    class Spy(ForwardView):
        def __getattribute__(self, field):
            if field in ForwardView._fields:
                read.add(field)
            return super().__getattribute__(field)

        def __getitem__(self, index):
            raise AssertionError("estimators read fields by name")

    for options in OPTIONS.get(name, [{}]):
        credit = estimator(net, name, **options)
        state = credit.init(KEY)
        jax.eval_shape(lambda credit=credit, s=state: credit.assign(s, Spy(*view(net)), KEY)[0])
    assert read - {"h"} == USES[name]


class Recorded:
    """A config that remembers which of its fields were read."""

    def __init__(self, cfg):
        self.cfg, self.names = cfg, set()

    def __getattr__(self, name):
        self.names.add(f"credit.{name}")
        return getattr(self.cfg, name)


def fields_read(name, **fields):
    """Return the fields that an estimator reads to be built, and to assign credits and learn."""
    net, cfg = layered(), Recorded(config(name, **fields))
    credit, seen = CREDITS[name](net[0], cfg, optax.adam(1e-3)), view(net)
    jax.eval_shape(lambda state: credit.assign(state, seen, KEY), credit.init(KEY))
    return cfg.names & set(READ_BY)


@pytest.mark.parametrize("name", CREDITS)
def test_fields_without_effect_are_those_that_are_refused(name):
    assert fields_read(name) == {field for field, names in READ_BY.items() if name in names}


@pytest.mark.parametrize("field", READ_BY)
def test_a_field_without_effect_is_refused_by_name(field):
    changed = {
        "steps": 2, "ema": 0.9, "targets": "joint", "mode": "central", "shared": True,
        "shuffle": True,
    }[field.partition(".")[2]]  # fmt: skip
    cfg = schema.defaults("credit")
    cfg.model.name = "residual:depth=2,width=8"
    for name in CREDITS:
        cfg.credit.name = name
        with cfg.unlocked():
            cfg.update_from_flattened_dict({field: changed})
        refused = [
            line for line in schema.problems(cfg) if f"{field}={changed!r} has no effect" in line
        ]
        assert len(refused) == (name not in READ_BY[field]), name
