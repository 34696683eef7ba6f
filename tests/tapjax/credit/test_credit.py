"""Credits against closed forms: the true gradient, forward-mode targets, what each field is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.config import schema
from tapjax.credit import CREDITS, make_credit, warmup
from tapjax.credit.directions import (
    block_responses,
    block_targets,
    directions,
    joint_targets,
    losses_from_each,
    tail_targets,
)
from tapjax.credit.estimator import CODES, inputs
from tapjax.credit.fields import FIELDS
from tapjax.credit.forward import observe, true_credit
from tapjax.credit.probe import cosines
from tapjax.models.perceptron import Perceptron
from tapjax.models.residual import linear_dynamics, residual_mlp
from tapjax.models.residual_blocks import layer_norm as layer_norm_of
from tapjax.step.optimizers import make_optimizer
from tapjax.types import Batch

DEPTH, WIDTH, CLASSES, BATCH = 3, 8, 5, 6


def network(block_scale=1.0, **blocks):
    cfg = schema.defaults("credit")
    cfg.blocks.update(block_scale=block_scale, **blocks)
    model, layered = residual_mlp(cfg.blocks, DEPTH, WIDTH, 12, CLASSES)
    params, _ = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (BATCH, 3, 4, 1))
    return layered, params, Batch(x, jnp.arange(BATCH) % CLASSES)


@pytest.fixture(params=[{}, {"skip": 0.0}, {"activation": "tanh", "alpha": 0.5, "skip": 0.5}])
def seen(request):
    layered, params, batch = network(**request.param)
    return observe(layered, params, batch, jax.random.key(2))


def from_layer(seen, i, h):
    for j in range(i, DEPTH):
        h = seen.block(j, h)
    return seen.terminal(h)


def test_the_true_credit_is_the_gradient_of_what_follows(seen):
    true = true_credit(seen)
    for i in range(DEPTH + 1):
        expected = jax.grad(lambda h, i=i: from_layer(seen, i, h).sum())(seen.h[i])
        np.testing.assert_allclose(true[i], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(true[-1], seen.last, rtol=1e-5)


def test_the_gradient_by_the_last_state_is_the_error_through_the_head():
    layered, params, batch = network()
    seen = observe(layered, params, batch, jax.random.key(2))
    probabilities = jax.nn.softmax(layered.output(params, seen.h[-1]))
    error = probabilities - jax.nn.one_hot(batch.y, CLASSES)
    np.testing.assert_allclose(seen.error, error, atol=1e-6)
    np.testing.assert_allclose(seen.last, error @ params["head"]["kernel"].T, atol=1e-6)


def target_error(seen, mode):
    v = directions(jax.random.key(3), (DEPTH, 4, BATCH, WIDTH), "rademacher")
    expected = (true_credit(seen)[:-1, None] * v).sum(-1)
    error = np.sqrt(np.square(tail_targets(seen, v, mode) - expected).mean())
    return error / np.sqrt(np.square(expected).mean())


def test_the_derivative_along_a_direction_is_the_gradients_share(seen):
    assert target_error(seen, "jvp") <= 1e-5


@pytest.mark.long_except("central")
@pytest.mark.slow
@pytest.mark.parametrize(("mode", "tolerance"), [("central", 1e-3), ("onesided", 1e-2)])
def test_differences_are_nearly_that(mode, tolerance):
    layered, params, batch = network(block_scale=0.1)
    assert target_error(observe(layered, params, batch, jax.random.key(2)), mode) <= tolerance


def test_joint_targets_are_the_sum_over_layers_and_block_targets_the_recursion(seen):
    v, true = jax.random.normal(jax.random.key(3), (DEPTH, 4, BATCH, WIDTH)), true_credit(seen)
    expected = (true[:-1, None] * v).sum(-1)
    np.testing.assert_allclose(joint_targets(seen, v), expected.sum(0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(block_targets(seen, true, v), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_losses_that_follow_from_other_states(seen):
    starts = seen.h[:, None] + 0.1 * jax.random.normal(
        jax.random.key(4), (DEPTH + 1, 2, BATCH, WIDTH)
    )
    found = losses_from_each(seen, starts)
    for i in range(DEPTH + 1):
        np.testing.assert_allclose(found[i, 1], from_layer(seen, i, starts[i, 1]), rtol=1e-5)
    assert losses_from_each(seen, starts[:-1]).shape == (DEPTH, 2, BATCH)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_directions_have_unit_covariance(kind):
    v = np.asarray(directions(jax.random.key(0), (4000, 3, 11), kind)).reshape(-1, 33)
    assert np.abs(np.cov(v.T) - np.eye(33)).max() < 0.1 and np.abs(v.mean(0)).max() < 0.06
    if kind == "rademacher":
        assert set(np.unique(v)) == {-1.0, 1.0}


def estimator(layered, name, lr=3e-3, **fields):
    cfg = schema.defaults("credit")
    cfg.credit.update(name=name, width=16)
    cfg.credit.update(fields)
    return make_credit(layered, cfg.credit, make_optimizer(cfg.optimizer, lr))


LEARNED = {
    *("state_bridge", "scalar_bridge", "vector_field"),
    *("local_loss", "local_forward_gradient", "target_propagation"),
}
CASES = [(name, {}) for name in CREDITS if name != "vector_field"]
CASES += [("vector_field", {"field": field}) for field in FIELDS]
CASES += [("vector_field", {"targets": targets}) for targets in ("joint", "block")]
CASES += [("vector_field", {"field": "chain", "targets": t}) for t in ("block", "response")]
CASES += [("vector_field", {"field": "plain", "code": code}) for code in CODES]
CASES += [("state_bridge", {"field": "residual", "steps": 3, "ema": 0.5})]
CASES += [("vector_field", {"mode": "central", "shared": True, "shuffle": True, "terminal": 1.0})]


def named(case):
    name, fields = case
    return "-".join([name, *(f"{key}={value}" for key, value in fields.items())])


@pytest.mark.long_except(
    "[dfa]", "[state_bridge]", "[scalar_bridge]", "field=plain]", "field=bilinear]",
    "[vector_field-targets=joint]", "targets=response]",
    "[local_loss]", "[target_propagation]", "[kolen_pollack]",
)  # fmt: skip
@pytest.mark.slow_except("[dfa]", "[scalar_bridge]", "field=bilinear]")
@pytest.mark.parametrize(("name", "fields"), CASES, ids=map(named, CASES))
def test_every_estimator_gives_credits_and_learns(name, fields):
    layered, params, batch = network()
    credit = estimator(layered, name, **fields)
    seen = observe(layered, params, batch, jax.random.key(2))

    @jax.jit
    def repeat():
        def step(state, key):
            credits, state, scalars = credit.assign(state, seen, key)
            return state, scalars | {"credits": credits}

        keys = jax.random.split(jax.random.key(6), 200)
        return jax.lax.scan(step, credit.init(jax.random.key(5)), keys)[1]

    found = repeat()
    assert found["credits"].shape == (200, *seen.h.shape) and found["credits"].dtype == jnp.float32
    assert jnp.isfinite(found["credits"]).all()
    assert ("credit_loss" in found) == (name in LEARNED)
    if name in LEARNED and not fields.get("shuffle"):
        assert found["credit_loss"][-20:].mean() < found["credit_loss"][:20].mean()


@pytest.mark.parametrize("unit", ["none", "batch", "example"])
def test_a_plain_field_learns_small_credits_in_their_own_units(unit):
    layered, params, batch = network()
    params = params | {"head": jax.tree.map(lambda a: 1e-3 * a, params["head"])}
    credit = estimator(layered, "vector_field", field="plain", unit=unit, quiet=False)
    seen = observe(layered, params, batch, jax.random.key(2))

    def step(state, key):
        credits, state, _ = credit.assign(state, seen, key)
        return state, credits

    run = jax.jit(lambda keys: jax.lax.scan(step, credit.init(jax.random.key(5)), keys)[1][-1])
    credits = run(jax.random.split(jax.random.key(6), 400))
    similar = float(cosines(credits[:-1], true_credit(seen)[:-1]).mean())
    assert similar < 0.5 if unit == "none" else similar > 0.9


@pytest.mark.long_except("[plain-", "[bilinear-tail-", "[linear-joint-", "[chain-tail-")
@pytest.mark.slow_except("[plain-tail-example]", "[plain-tail-batch]")
@pytest.mark.parametrize("unit", ["example", "batch"])
@pytest.mark.parametrize("targets", ["tail", "joint"])
@pytest.mark.parametrize("field", FIELDS)
def test_the_scale_of_an_examples_loss_changes_nothing(field, targets, unit):
    """Credits scale with the loss, and the field learns the same, in units of each example only."""
    layered, params, batch = network()
    fields = {"field": field, "targets": targets, "unit": unit, "terminal": 1.0, "quiet": False}
    credit = estimator(layered, "vector_field", **fields)
    seen = observe(layered, params, batch, jax.random.key(2))
    scale = jnp.array([1.0, 10.0, 1e-2, 1.0, 3.0, 0.1])
    scaled = seen._replace(
        error=seen.error * scale[:, None],
        last=seen.last * scale[:, None],
        terminal=lambda h: seen.terminal(h) * scale,
    )
    state = credit.init(jax.random.key(0))
    before, learned, _ = credit.assign(state, seen, jax.random.key(1))
    after, others, _ = credit.assign(state, scaled, jax.random.key(1))
    errors = [
        float(jnp.abs(after / scale[None, :, None] - before).max() / jnp.abs(before).max()),
        max(
            float(jnp.abs(a - b).max() / jnp.abs(a).max())
            for a, b in zip(*(jax.tree.leaves(s.params) for s in (learned, others)), strict=True)
            if jnp.abs(a).max() > 0
        ),
    ]
    assert (max(errors) < 1e-2) == (unit == "example")


@pytest.mark.parametrize("field", ["plain", "bilinear", "linear"])
def test_an_example_without_error_has_no_credit(field):
    layered, params, batch = network()
    credit = estimator(layered, "vector_field", field=field, quiet=False)
    seen = observe(layered, params, batch, jax.random.key(2))
    right = jnp.array([1.0, 0.0, 1e-30, 1.0, 1.0, 1.0])[:, None]
    seen = seen._replace(error=seen.error * right, last=seen.last * right)
    credits, _, _ = credit.assign(credit.init(jax.random.key(0)), seen, jax.random.key(1))
    size_LxB = jnp.abs(credits).max(-1)
    assert not size_LxB[:, 1].any() and (size_LxB[:, 2] < 1e-28).all()
    assert (size_LxB[:, 0] > 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize("field", ["residual", "bilinear"])
def test_fields_that_start_as_the_copied_gradient(field):
    layered, params, batch = network()
    credit = estimator(layered, "vector_field", field=field)
    seen = observe(layered, params, batch, jax.random.key(2))
    credits, _, _ = credit.assign(credit.init(jax.random.key(0)), seen, jax.random.key(1))
    np.testing.assert_allclose(credits, jnp.broadcast_to(seen.last, seen.h.shape), atol=1e-6)


@pytest.mark.slow
def test_the_bilinear_field_and_the_chain_are_linear_in_the_error():
    layered, params, batch = network()
    seen = observe(layered, params, batch, jax.random.key(2))
    for field, targets in (("bilinear", "tail"), ("chain", "response")):
        credit = estimator(layered, "vector_field", 1e-1, field=field, targets=targets)
        state = credit.init(jax.random.key(0))
        for i in range(3):
            _, state, _ = credit.assign(state, seen, jax.random.key(i))
        twice = seen._replace(error=2 * seen.error, last=2 * seen.last)
        once, double = (credit.assign(state, s, jax.random.key(9))[0] for s in (seen, twice))
        assert np.abs(once[0] - seen.last).max() > 1e-3
        np.testing.assert_allclose(double, 2 * once, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("skip", [0.0, 1.0])
def test_a_chain_learns_the_true_credit_from_responses_alone(skip):
    """On a fixed batch the field of the adjoint recursion's own form gets close to it."""
    layered, params, batch = network(skip=skip)
    fields = {"field": "chain", "targets": "response", "directions": 8, "width": 32}
    credit = estimator(layered, "vector_field", 1e-2, **fields)
    seen = observe(layered, params, batch, jax.random.key(2))

    @jax.jit
    def repeat(state):
        step = lambda state, key: (credit.assign(state, seen, key)[1], None)  # noqa: E731
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(6), 1500))[0]

    credits, _, _ = credit.assign(repeat(credit.init(jax.random.key(0))), seen, jax.random.key(1))
    true = true_credit(seen)
    assert cosines(credits, true).mean() > 0.98


def test_responses_are_the_jacobian():
    layered, params, batch = network()
    seen = observe(layered, params, batch, jax.random.key(2))
    v = jax.random.normal(jax.random.key(3), (DEPTH, 2, BATCH, WIDTH))
    found = block_responses(seen, v)
    jacobian = jax.jacfwd(lambda h: seen.block(1, h[None])[0])(seen.h[1][4])
    np.testing.assert_allclose(found[1, 0, 4], jacobian @ v[1, 0, 4], rtol=1e-4, atol=1e-5)


def test_the_costate_of_linear_dynamics_is_the_adjoint_recursion():
    cfg = schema.defaults("credit").blocks
    cfg.update(block_scale=0.3, noise=0.2)
    model, layered = linear_dynamics(cfg, 4, 8)
    params, _ = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (BATCH, 2, 8, 1))
    seen = observe(layered, params, Batch(x, jnp.zeros(BATCH, jnp.int32)), jax.random.key(2))
    p = seen.h[-1] - x[:, 1, :, 0]
    np.testing.assert_allclose(seen.last, p, rtol=1e-5)
    np.testing.assert_allclose(seen.loss, 0.5 * (p**2).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(seen.target, x[:, 1, :, 0], atol=1e-5)
    true = true_credit(seen)
    for i in reversed(range(4)):
        p = p + p @ params[f"block_{i}"]
        np.testing.assert_allclose(true[i], p, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_warm_up_uses_the_first_and_trains_the_second():
    layered, params, batch = network()
    feedback, learned = estimator(layered, "dfa"), estimator(layered, "vector_field")
    both = warmup(feedback, learned, 2)
    seen, state = observe(layered, params, batch, jax.random.key(2)), both.init(jax.random.key(0))
    expected = feedback.assign(state[1], seen, jax.random.key(1))[0]
    alone = state[2]
    for i in range(3):
        key = jax.random.key(i)
        credits, state, _ = both.assign(state, seen, key)
        late, alone, _ = learned.assign(alone, seen, key)
        np.testing.assert_allclose(credits, expected if i < 2 else late, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("field", ["plain", "residual"])
@pytest.mark.parametrize("layer_norm", [True, False])
def test_bridges_differentiate_by_the_hidden_state_itself(field, layer_norm):
    """Also where the estimator reads it normalised: against differences along a direction."""
    layered, params, batch = network()
    seen = observe(layered, params, batch, jax.random.key(2))
    fields = {"field": field, "layer_norm": layer_norm, "quiet": False}
    state_key, v = jax.random.key(3), jax.random.normal(jax.random.key(4), seen.h.shape)
    for name in ("state_bridge", "scalar_bridge"):
        credit = estimator(layered, name, **fields)
        state = credit.init(state_key)
        given = inputs(seen, state.fixed, "error", layer_norm)
        of_state = name == "state_bridge"
        net = Perceptron(16, WIDTH if of_state else 1, quiet=of_state and field == "residual")

        def loss(h, name=name, net=net, state=state, given=given):
            told = given._replace(h=layer_norm_of(h) if layer_norm else h).joined()
            out = net.apply({"params": state.params}, told)
            if name == "scalar_bridge":
                return out[..., 0]
            return jax.vmap(seen.terminal)(h + out if field == "residual" else out)

        answers = (loss(seen.h + 1e-2 * v) - loss(seen.h - 1e-2 * v)) / 2e-2
        credits, _, _ = credit.assign(state, seen, jax.random.key(5))
        np.testing.assert_allclose((credits * v).sum(-1), answers, rtol=2e-2, atol=2e-3)
