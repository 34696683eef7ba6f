"""The local rule and its measurements: exact where it must be, blind where it must not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.credit import online
from tapjax.config import schema
from tapjax.credit import local_rule, make_credit
from tapjax.credit.forward import observe, true_credit
from tapjax.credit.probe import correlations, make_credit_probe
from tapjax.models.residual import residual_mlp
from tapjax.run import assembly
from tapjax.types import Batch, DeviceData, TrainState

DEPTH, WIDTH, CLASSES, BATCH = 3, 8, 5, 16
KEY = jax.random.key(2)


@pytest.fixture(scope="module")
def net():
    cfg = schema.defaults("credit")
    cfg.blocks.update(block_scale=1.0, skip=0.5)
    model, layered = residual_mlp(cfg.blocks, DEPTH, WIDTH, 12, CLASSES)
    params, _ = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (BATCH, 3, 4, 1))
    return layered, params, Batch(x, jnp.arange(BATCH) % CLASSES)


def rule_config(**fields):
    cfg = schema.defaults("credit")
    cfg.rule.update({"name": "local"} | fields)
    return cfg.rule


def proposal(net, name="bp", params=None, **fields):
    layered, own, batch = net
    credit = make_credit(layered, credit_config(name), None)
    rule = local_rule.local(layered, credit, rule_config(**fields))
    update = jax.jit(
        lambda params: rule.update(rule.init(jax.random.key(3), own), params, {}, batch, KEY)
    )
    return update(params or own)


def credit_config(name):
    cfg = schema.defaults("credit").credit
    cfg.name = name
    return cfg


def assert_close(a, b, rtol, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def gradient(net):
    layered, params, batch = net
    return jax.jit(jax.grad(lambda p: observe(layered, p, batch, KEY).loss.mean()))(params)


def test_the_true_credit_gives_backprops_gradient(net):
    expected, found = gradient(net), proposal(net, clip=0.0)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found.grads, expected
    )
    assert set(found.scalars) == {"loss", "accuracy"}


def test_the_accuracy_is_that_of_the_networks_own_output(net):
    """At initialisation, outputs shifted towards the true class would all be right."""
    layered, params, batch = net
    seen = observe(layered, params, batch, KEY)
    hits = layered.output(params, seen.h[-1]).argmax(-1) == batch.y
    assert not hits.all()
    assert proposal(net).scalars["accuracy"] == hits.mean()
    assert ((seen.target - seen.error).argmax(-1) == batch.y).mean() > hits.mean()  # the mutant


def test_a_target_one_step_down_the_credit_is_the_same_update(net):
    """Target propagation's local loss |h_{i+1} - (target)|^2 / 2 has the gradient of <F, a>."""
    layered, params, batch = net
    seen = observe(layered, params, batch, KEY)
    credits = jax.random.normal(jax.random.key(4), seen.h.shape)
    found = local_rule.block_gradients(layered, params, batch, seen, credits, KEY)["block_1"]

    def distance(part):
        reached = layered.block(params | {"block_1": part}, 1, seen.h[1], KEY)
        return 0.5 * jnp.square(reached - (seen.h[2] - credits[2])).sum(-1).mean()

    assert_close(found, jax.jit(jax.grad(distance))(params["block_1"]), 1e-3, 1e-5)


def test_the_credit_of_a_blocks_input_is_another_one(net):
    found, expected = proposal(net, shift=0).grads["block_0"], gradient(net)["block_0"]
    a, b = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in (found, expected))
    cosine = a @ b / jnp.linalg.norm(a) / jnp.linalg.norm(b)
    assert cosine < 0.99


@pytest.mark.slow
def test_no_gradient_passes_through_a_block(net):
    """With credits held fixed, a block's update ignores the blocks above it and the head."""
    layered, params, batch = net
    seen = observe(layered, params, batch, KEY)
    credits = jax.random.normal(jax.random.key(4), seen.h.shape)

    def update(params):
        seen = observe(layered, params, batch, KEY)
        return local_rule.block_gradients(layered, params, batch, seen, credits, KEY)

    jacobian = jax.jit(jax.jacrev(update))(params)
    order = ["embed", *(f"block_{i}" for i in range(DEPTH)), "head"]
    for of in order:
        for by in order:
            parts = jax.tree.leaves(jacobian[of], is_leaf=lambda x: order[0] in x)
            size = max(float(jnp.abs(a).max()) for part in parts for a in jax.tree.leaves(part[by]))
            if order.index(by) > order.index(of):
                assert size == 0, (of, by)
            elif order.index(by) < order.index(of):
                assert size > 0, (of, by)  # through the hidden states that come in from below


def test_the_rule_itself_sees_only_forward_values(net):
    """Direct feedback: changing a block above changes an update below only through the error."""
    layered, params, batch = net
    seen = observe(layered, params, batch, KEY)
    before = local_rule.block_gradients(layered, params, batch, seen, seen.h, KEY)["block_0"]
    moved = params | {"block_2": jax.tree.map(lambda w: w + 1.0, params["block_2"])}
    after = local_rule.block_gradients(layered, moved, batch, seen, seen.h, KEY)["block_0"]
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize(("how", "axes"), [("rms", (2,)), ("batch", (1, 2))])
def test_normalised_credits_have_unit_size(how, axes):
    a = 1e-2 * jax.random.normal(KEY, (4, 6, 50)) * jnp.arange(1.0, 7.0)[None, :, None]
    np.testing.assert_allclose(jnp.square(local_rule.scaled(a, how)).mean(axes), 1, rtol=1e-3)
    assert local_rule.scaled(a, "raw") is a


def test_a_clipped_gradient_has_at_most_that_norm():
    tree = {"a": jnp.full(9, 2.0), "b": jnp.full(16, 2.0)}
    flat = jnp.concatenate(jax.tree.leaves(local_rule.clipped(tree, 1.0)))
    assert jnp.linalg.norm(flat) == pytest.approx(1.0)
    assert local_rule.clipped(tree, 0.0) is tree and local_rule.clipped(tree, 100.0)["a"][0] == 2


@pytest.mark.slow
def test_trust_is_one_for_the_truth_and_little_for_noise(net):
    layered, params, batch = net
    seen = observe(layered, params, batch, KEY)
    true = true_credit(seen)
    np.testing.assert_allclose(local_rule.trust(seen, true, jax.random.key(5)), 1, rtol=1e-3)
    np.testing.assert_allclose(local_rule.trust(seen, -true, jax.random.key(5))[:-1], 0, atol=1e-6)
    noise = jax.random.normal(jax.random.key(6), true.shape)
    assert local_rule.trust(seen, noise, jax.random.key(5))[:-1].mean() < 0.4


def measured(net, name, **fields):
    layered, params, batch = net
    credit = make_credit(layered, credit_config(name), None)
    state = TrainState(0, params, {}, (), credit.init(jax.random.key(3)), jax.random.key(7))
    data = DeviceData(None, None, batch, None, None)
    probe = make_credit_probe(layered, credit, rule_config(**fields))
    return jax.jit(lambda: probe(state, data))()


def test_the_truth_measures_one_everywhere(net):
    found = measured(net, "bp")
    for name in ("gamma", "rho", "param_cosine"):
        np.testing.assert_allclose(found[name], 1, rtol=1e-3)
    np.testing.assert_allclose(found["mean_ratio"], found["true_mean_ratio"])
    assert (found["nudge"] < 0).all() and (found["fitted"] == 0).all()
    assert all(value.shape == (DEPTH + 1,) for value in found.values())


def test_rho_is_the_correlation_over_very_many_directions():
    a, g = jax.random.normal(KEY, (2, 3, 20, 50)) * jnp.logspace(-3, 1, 20)[None, None, :, None]
    a = 0.5 * a + g
    v = jax.random.normal(jax.random.key(1), (4000, 1, 20, 50))
    said, done = ((v * x[None]).sum(-1) for x in (a, g))
    expected = [np.corrcoef(said[:, i].ravel(), done[:, i].ravel())[0, 1] for i in range(3)]
    np.testing.assert_allclose(correlations(a, g), expected, atol=0.02)
    tiny = correlations(1e-20 * a, 1e-25 * g)
    np.testing.assert_allclose(tiny, correlations(a, g), rtol=1e-3)
    np.testing.assert_allclose(correlations(g, g), 1, rtol=1e-6)
    assert not correlations(0 * a, g).any()


def test_the_copied_gradient_is_its_own_reference(net):
    found = measured(net, "dir")
    np.testing.assert_allclose(found["gamma"], found["dir_gamma"])
    assert found["gamma"][-1] == pytest.approx(1, abs=1e-3) and found["gamma"][0] < 0.95


def test_random_feedback_knows_nothing_but_what_is_exact(net):
    found = measured(net, "dfa")
    assert found["rho"][-1] == pytest.approx(1, abs=1e-3)
    assert np.abs(found["gamma"][:-1]).max() < 0.5
    loose = measured(net, "dfa", exact_last=False)
    assert loose["rho"][-1] < 0.9


def credit_run(**fields):
    cfg = schema.defaults("credit")
    cfg.family, cfg.model.name, cfg.seeds = "credit", "residual:depth=1,width=16", (0, 1)
    cfg.steps, cfg.chunk_steps, cfg.probe.size, cfg.data.batch_size = 20, 10, 64, 32
    cfg.checkpoint.pin_jumps = 0
    cfg.rule.update({"name": "local"} | fields)
    return cfg


def test_blocks_and_head_have_their_own_rates():
    cfg = credit_run(block_lr=1e-5)
    ready = assembly.assemble(cfg)
    before = ready.programs.init()
    start = jax.tree.map(np.asarray, before.params)
    after, _ = ready.programs.step(before, ready.data)
    for name, rate in (("block_0", 1e-5), ("embed", 1e-5), ("head", 1e-3)):
        leaf = "linear_0" if name == "block_0" else None
        old, new = (t[name][leaf] if leaf else t[name] for t in (start, after.params))
        moved = np.abs(np.asarray(new["kernel"]) - old["kernel"]).max()
        assert moved == pytest.approx(rate, rel=0.05), name


@pytest.mark.slow
def test_a_frozen_network_stands_still_while_its_credit_learns_anew():
    cfg = credit_run(freeze_step=10)
    cfg.rule.name, cfg.credit.name = "backprop", "vector_field"
    ready = assembly.assemble(cfg)
    ((step, freeze),) = ready.recipe.transitions
    states = ready.programs.init()
    for _ in range(10):
        states, _ = ready.programs.step(states, ready.data)
    states = freeze(states)
    params = jax.tree.map(np.asarray, states.params)
    credit = jax.tree.map(np.asarray, states.rule.params)
    states, _ = ready.programs.step(states, ready.data)
    assert step == 10
    jax.tree.map(np.testing.assert_array_equal, params, jax.tree.map(np.asarray, states.params))
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), credit, states.rule.params)
    assert max(jax.tree.leaves(moved)) > 0


def test_a_frozen_network_does_not_decay():
    cfg = online.get_config("method=dfa,depth=1,width=8,dataset=digits,quick,decay=0.1,seeds=1")
    cfg.steps, cfg.probe.every, cfg.eval_every, cfg.rule.freeze_step = 20, 5, 0, 10
    ready = assembly.assemble(cfg)
    state, norms = ready.programs.init(), []
    for _ in range(4):
        state, _ = ready.programs.chunk(state, ready.data, 1)
        norms.append(float(jnp.linalg.norm(state.params["block_0"]["kernel"])))
    assert norms[1] < 0.9 * norms[0] and norms[3] == norms[2] == norms[1]


@pytest.mark.slow
def test_linear_dynamics_run_and_only_the_credit_learns():
    cfg = credit_run()
    cfg.model.name, cfg.data.name, cfg.credit.name = (
        "dynamics:depth=4,width=8",
        "lq:train=500",
        "state_bridge",
    )
    cfg.credit.code = "target"
    ready = assembly.assemble(cfg)
    states = ready.programs.init()
    before = jax.tree.map(np.asarray, states.params)
    losses = []
    for _ in range(30):
        states, scalars = ready.programs.step(states, ready.data)
        losses.append(scalars["credit_loss"].mean())
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, states.params))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert ready.programs.probe(states, ready.data)["gamma"].shape == (2, 5)
    score = ready.programs.evaluate(states, ready.data)
    assert set(score) == {"loss"} and np.isfinite(score["loss"]).all()


@pytest.mark.slow
def test_seeds_in_one_program_are_the_seeds_alone():
    cfg = credit_run()
    cfg.credit.name = "vector_field"
    runs = {}
    for over in ("vmap", "loop"):
        cfg.over_seeds = over
        ready = assembly.assemble(cfg)
        states = ready.programs.init()
        for _ in range(5):
            states, _ = ready.programs.step(states, ready.data)
        runs[over] = states.params
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5), *runs.values()
    )
