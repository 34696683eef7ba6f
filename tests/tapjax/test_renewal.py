"""Units that begin anew: which ones, what stays the same, what is forgotten."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from analysis.architectures import parse_architecture
from tapjax import config
from tapjax.models.wiring import lookup, wiring
from tapjax.models.zoo import make_model
from tapjax.renewal import UTILITIES, fallen_due, renewing

SHAPE = (8, 8, 1)
NETWORKS = ["mlp:widths=6-5", "cnn:channels=3-4,fc=5", "cnn:channels=3-4", "resnet:channels=2-3"]
NETWORKS += ["vit:depth=1,width=8,heads=2", "transformer:depth=1,width=8,heads=2"]


def make(arch, inner=None, norm="own", **fields):
    """A network, its table of units, a renewing optimizer and one batch's gradients."""
    style = {} if norm == "own" else {"norm": norm}
    model = make_model(arch, SHAPE, 3, "torch", **style)
    params, stats = jax.jit(model.init)(jax.random.key(0))
    table = wiring(parse_architecture(arch), SHAPE, params)
    cfg = config.defaults().renewal
    cfg.update({"name": "cbp", "maturity": 2, "rate": 0.5} | fields)
    tx = renewing(inner or optax.adam(1e-2), table, cfg)
    x = jax.random.normal(jax.random.key(1), (7, *SHAPE))

    def grads(params):
        return jax.grad(lambda p: jnp.square(model.apply(p, stats, x)[0] - 1).mean())(params)

    def seen(params):
        return model.watch(params, stats, x)[1]

    @jax.jit
    def step(params, state, key):
        updates, state = tx.update(grads(params), state, params, seen=seen(params), key=key)
        return optax.apply_updates(params, updates), state

    return model, table, params, stats, tx, step, x


def train(step, params, state, steps):
    history = [(params, state)]
    for i in range(steps):
        history.append(step(*history[-1], jax.random.key(i)))
    return history


@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_wired_as_the_network_computes(name):
    """Without its outgoing weights a unit has no effect; its incoming ones have none on others."""
    model, table, params, stats, *_, x = make(name)
    logits, seen, _ = jax.jit(model.watch)(params, stats, x)
    assert table
    for units in table:
        h = lookup(seen, units.name)
        into, out = (np.array(lookup(params, wire.path)) for wire in (units.into, units.out))
        assert into.shape[units.into.axis] == h.shape[-1]
        assert out.shape[units.out.axis] == h.shape[-1] * units.out.repeats
        unit = int(np.abs(h).mean(tuple(range(h.ndim - 1))).argmax())
        rows = np.arange(units.out.repeats) * h.shape[-1] + unit
        out.swapaxes(units.out.axis, 0)[rows] = 0
        into.swapaxes(units.into.axis, 0)[unit] *= -3
        cut = set_part(params, units.out.path, jnp.asarray(out))
        other = set_part(cut, units.into.path, jnp.asarray(into))
        a, b = (np.asarray(jax.jit(model.apply)(p, stats, x)[0]) for p in (cut, other))
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert np.abs(a - logits).max() > 1e-7


def set_part(tree, path, value):
    return value if not path else tree | {path[0]: set_part(tree[path[0]], path[1:], value)}


@pytest.mark.parametrize("inner", [optax.sgd(0.1), optax.adam(1e-2), optax.sgd(0.1, 0.9)])
@pytest.mark.parametrize("fields", [{"rate": 0.0}, {"name": "redo", "period": 10**6}])
def test_with_nothing_to_renew_an_update_is_the_optimizers_own(inner, fields):
    model, _, params, stats, tx, _, x = make("mlp:widths=6-5", inner, **fields)

    @jax.jit
    def measure(params):
        grads = jax.grad(lambda p: jnp.square(model.apply(p, stats, x)[0] - 1).mean())(params)
        return grads, model.watch(params, stats, x)[1]

    inner_state, state = inner.init(params), tx.init(params)
    for i in range(4):
        grads, seen = measure(params)
        expected, inner_state = inner.update(grads, inner_state, params)
        found, state = tx.update(grads, state, params, seen=seen, key=jax.random.key(i))
        jax.tree.map(np.testing.assert_array_equal, expected, found)
        jax.tree.map(np.testing.assert_array_equal, inner_state, state.inner)
        params = optax.apply_updates(params, found)


def test_only_mature_units_are_renewed_at_the_rate_asked_for():
    *_, params, _, tx, step, _ = make("mlp:widths=40-30", rate=0.01, maturity=10)
    history = train(step, params, tx.init(params), 100)
    for name, width in (("hidden_0_units", 40), ("hidden_1_units", 30)):
        ages = np.array([state.layers[name]["age"] for _, state in history])
        renewed = (np.diff(ages, axis=0) < 0).sum()
        mature = (ages[:-1] + 1 > 10).sum()
        assert abs(renewed - 0.01 * mature) <= 1 and renewed > 0.5 * width / 2
        before = ages[:-1][np.diff(ages, axis=0) < 0]
        assert before.min() >= 10


@pytest.mark.parametrize("name", NETWORKS[:4])
def test_renewed_units_forget_and_are_silent(name):
    """Outgoing weights are zero, incoming ones new, and so is what Adam remembers of both."""
    norm = "batch" if name[:3] != "mlp" else "layer"
    _, table, params, _, tx, step, _ = make(name, norm=norm, rate=0.6, maturity=0)
    (old, _), (new, state) = train(step, params, tx.init(params), 1)
    for units in table:
        age = np.asarray(state.layers["/".join(units.name)]["age"])
        chosen = np.flatnonzero(age == 0)
        assert 0 < len(chosen) < len(age)
        rows = (np.arange(units.out.repeats)[:, None] * len(age) + chosen).ravel()
        moments = state.inner[0].mu
        for wire, index in ((units.into, chosen), (units.out, rows)):
            assert not np.take(np.asarray(lookup(moments, wire.path)), index, wire.axis).any()
        if units is table[-1]:  # else the next layer's renewed units read them anew
            assert not np.take(np.asarray(lookup(new, units.out.path)), rows, units.out.axis).any()
        a, b = (
            np.take(np.asarray(lookup(p, units.into.path)), chosen, units.into.axis)
            for p in (old, new)
        )
        assert np.abs(a - b).min() > 0 and np.abs(a - b).max() > 0.05
        for wire in units.norm:
            fresh = 1.0 if wire.path[-1] == "scale" else 0.0
            assert (np.asarray(lookup(new, wire.path))[chosen] == fresh).all()


@pytest.mark.parametrize("name", ["mlp:widths=6-5", "cnn:channels=3-4,fc=5"])
@pytest.mark.parametrize("legacy", ["none", "no_correction"])
def test_the_mean_function_stays(name, legacy):
    """What renewed units gave on average moves into the bias behind them."""
    _, table, params, _, tx, step, _ = make(
        name, optax.sgd(0.0), rate=0.4, maturity=0, decay=0.0, legacy=legacy
    )
    (old, _), (new, state) = train(step, params, tx.init(params), 1)
    units = table[-1]
    layer = state.layers["/".join(units.name)]
    chosen = np.asarray(layer["age"] == 0)
    moved = np.asarray(lookup(new, units.out_bias)) - np.asarray(lookup(old, units.out_bias))
    model, *_, x = make(name)
    h = np.asarray(lookup(model.watch(old, {}, x)[1], units.name))
    mean = h.reshape(-1, h.shape[-1]).mean(0)
    kernel = np.moveaxis(np.asarray(lookup(old, units.out.path)), units.out.axis, 0)
    gone = np.tensordot(np.where(chosen, mean, 0), kernel, 1)
    expected = gone.reshape(-1, gone.shape[-1]).sum(0)
    np.testing.assert_allclose(moved, expected if legacy == "none" else 0 * expected, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


def test_published_faults_can_be_had():
    """Incoming weights never change, every bias of the layer is zero, one unit a step at least."""
    _, _, params, _, tx, step, _ = make(
        "mlp:widths=6-5", optax.sgd(0.0), rate=0.0, maturity=0, legacy="same_weights"
    )
    (old, _), (new, state) = train(step, params, tx.init(params), 1)
    assert (state.layers["hidden_0_units"]["age"] == 0).sum() == 1
    np.testing.assert_array_equal(old["hidden_0"]["kernel"], new["hidden_0"]["kernel"])
    assert not new["hidden_0"]["bias"].any() and old["hidden_0"]["bias"].any()


@pytest.mark.parametrize("utility", UTILITIES)
def test_every_utility_ranks_units(utility):
    _, _, params, _, tx, step, _ = make("mlp:widths=6-5", utility=utility, rate=0.0)
    state = train(step, params, tx.init(params), 3)[-1][1]
    found = np.asarray(state.layers["hidden_0_units"]["utility"])
    assert np.isfinite(found).all() and len(set(found)) > 1


def test_redo_renews_the_quiet_ones_every_so_often():
    fields = {"name": "redo", "threshold": 0.01, "period": 3}
    _, _, params, _, tx, step, _ = make("mlp:widths=6-5", optax.sgd(0.0), **fields)
    params["hidden_0"]["bias"] = params["hidden_0"]["bias"].at[2].set(-100.0)
    history = train(step, params, tx.init(params), 3)
    changed = [
        np.flatnonzero((a["hidden_0"]["kernel"] != b["hidden_0"]["kernel"]).any(0)).tolist()
        for (a, _), (b, _) in zip(history, history[1:], strict=False)
    ]
    assert changed[:2] == [[], []] and 2 in changed[2]
    again = (history[-2][0]["hidden_1"]["kernel"] != history[-1][0]["hidden_1"]["kernel"])[0]
    assert not np.asarray(history[-1][0]["hidden_1"]["kernel"])[2][~np.asarray(again)].any()


@pytest.mark.parametrize(("rate", "units"), [(1e-7, 3), (1e-7, 7), (3.3e-7, 1)])
def test_fractions_of_a_replacement_add_up_over_tens_of_millions_of_unit_steps(rate, units):
    """The n-th replacement comes when rate times unit-steps reaches n, to one step."""
    amount = jnp.float32(rate) * units

    def body(i, carry):
        def one(carry, step):
            count, due, last = carry
            whole, due = fallen_due(due, amount)
            count = count + whole.astype(jnp.int32)
            return (count, due, jnp.where(whole > 0, step, last)), None

        return jax.lax.scan(one, carry, i * 1000 + jnp.arange(1000), unroll=50)[0]

    steps = 12_000_000
    start = jnp.int32(0), jnp.zeros(2), jnp.int32(-1)
    count, _, last = jax.jit(lambda: jax.lax.fori_loop(0, steps // 1000, body, start))()
    exact = np.float64(amount)
    assert count == int(steps * exact) > 0
    assert abs((int(last) + 1) * exact - int(count)) <= 1.5 * exact
