"""Units that begin anew: which ones, what stays the same, what is forgotten."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats as scipy_stats

from tapjax.config import schema
from tapjax.contract.architectures import parse_architecture
from tapjax.models.wiring import lookup, wiring
from tapjax.models.zoo import make_model
from tapjax.plasticity.optimizer_reset import Renewed, forget
from tapjax.plasticity.unit_reset import UTILITIES, fallen_due, renewed_stats, renewing
from tapjax.step.optimizers import make_optimizer

SHAPE = (8, 8, 1)
NETWORKS = ["mlp:widths=6-5", "cnn:channels=3-4,fc=5", "cnn:channels=3-4", "resnet:channels=2-3"]
NETWORKS += ["vit:depth=1,width=8,heads=2", "transformer:depth=1,width=8,heads=2"]


def optimizer(name="adam", lr=1e-2, **fields):
    """An optimizer of a config, with a count for each element."""
    cfg = schema.defaults("plasticity").optimizer
    cfg.update({"name": name} | fields)
    return make_optimizer(cfg, lr, per_element=True)


def make(arch, inner=None, init="torch", examples=7, style=None, **fields):
    """A network, its table of units, a renewing optimizer and one batch's gradients."""
    style = style or {}
    model = make_model(arch, SHAPE, 3, init, **style)
    params, stats = jax.jit(model.init)(jax.random.key(0))
    table = wiring(parse_architecture(arch), params, stats, style.get("activation", "own"))
    cfg = schema.defaults("plasticity").renewal
    cfg.update({"name": "cbp", "maturity": 2, "rate": 0.5} | fields)
    tx = renewing(inner or optimizer(), table, cfg, init)
    x = jax.random.normal(jax.random.key(1), (examples, *SHAPE))

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


CRELU = [f"crelu {name}" for name in NETWORKS[:5]]


@pytest.mark.slow_except("mlp", "cnn")
@pytest.mark.parametrize("name", NETWORKS + CRELU)
def test_units_are_wired_as_the_network_computes(name):
    """Without its outgoing weights a unit has no effect; its incoming ones have none on others."""
    activation, _, name = f" {name}".rpartition(" ")
    style = {"activation": "crelu"} if activation.strip() else {}
    model, table, params, stats, *_, x = make(name, style=style)
    logits, seen, _ = jax.jit(model.watch)(params, stats, x)
    assert table
    for units in table:
        h = lookup(seen, units.name)
        into, out = (np.array(lookup(params, wire.path)) for wire in (units.into, units.out))
        width = into.shape[units.into.axis]
        assert width * units.parts == h.shape[-1] and units.parts == 1 + bool(style)
        assert out.shape[units.out.axis] == width * units.out.repeats
        unit = int(np.abs(h).mean(tuple(range(h.ndim - 1))).argmax()) % width
        rows = np.arange(units.out.repeats) * width + unit
        out.swapaxes(units.out.axis, 0)[rows] = 0
        into.swapaxes(units.into.axis, 0)[unit] *= -3
        cut = set_part(params, units.out.path, jnp.asarray(out))
        other = set_part(cut, units.into.path, jnp.asarray(into))
        a, b = (np.asarray(jax.jit(model.apply)(p, stats, x)[0]) for p in (cut, other))
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert np.abs(a - logits).max() > 1e-7


def set_part(tree, path, value):
    return value if not path else tree | {path[0]: set_part(tree[path[0]], path[1:], value)}


PLAIN = {"sgd": optax.sgd(1e-2), "adam": optax.adam(1e-2), "momentum": optax.sgd(1e-2, 0.9)}


@pytest.mark.slow_except("adam")
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("fields", [{"rate": 0.0}, {"name": "redo", "period": 10**6}])
def test_with_nothing_to_renew_an_update_is_the_optimizers_own(name, fields):
    inner = PLAIN[name]
    model, _, params, stats, tx, _, x = make("mlp:widths=6-5", optimizer(name), **fields)

    @jax.jit
    def measure(params):
        grads = jax.grad(lambda p: jnp.square(model.apply(p, stats, x)[0] - 1).mean())(params)
        return grads, model.watch(params, stats, x)[1]

    inner_state, state = inner.init(params), tx.init(params)
    plain, renewed = jax.jit(inner.update), jax.jit(tx.update)
    for i in range(4):
        grads, seen = measure(params)
        expected, inner_state = plain(grads, inner_state, params)
        found, state = renewed(grads, state, params, seen=seen, key=jax.random.key(i))
        jax.tree.map(np.testing.assert_array_equal, expected, found)
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


@pytest.mark.slow_except("mlp")
@pytest.mark.parametrize("name", NETWORKS[:4])
def test_renewed_units_forget_and_are_silent(name):
    """Outgoing weights are zero, incoming ones new, and so is what Adam remembers of both."""
    style = {"norm": "batch" if name[:3] != "mlp" else "layer"}
    _, table, params, stats, tx, step, _ = make(name, style=style, rate=0.6, maturity=0)
    (old, _), (new, state) = train(step, params, tx.init(params), 1)
    for units in table:
        age = np.asarray(state.layers["/".join(units.name)]["age"])
        chosen = np.flatnonzero(age == 0)
        assert 0 < len(chosen) < len(age)
        rows = (np.arange(units.out.repeats)[:, None] * len(age) + chosen).ravel()
        assert (np.flatnonzero(state.layers["/".join(units.name)]["renewed"]) == chosen).all()
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
    if stats:
        used = jax.tree.map(lambda a: a + 3.0, stats)
        after = renewed_stats(table, used, state)
        of_norms = {wire.path for units in table for wire in units.stats}
        assert of_norms and len(of_norms) % 2 == 0
        for units in table:
            mask = np.asarray(state.layers["/".join(units.name)]["renewed"])
            for wire in units.stats:
                first = float(wire.path[-1] == "var")
                expected = np.where(mask, first, np.asarray(lookup(used, wire.path)))
                np.testing.assert_array_equal(lookup(after, wire.path), expected)


@pytest.mark.long_except("relu-none-mlp", "crelu-none-cnn:channels=3-4]", "no_correction-mlp")
@pytest.mark.slow_except("relu-none-mlp", "crelu-none-cnn:channels=3-4]")
@pytest.mark.parametrize("name", ["mlp:widths=6-5", "cnn:channels=3-4,fc=5", "cnn:channels=3-4"])
@pytest.mark.parametrize("legacy", ["none", "no_correction"])
@pytest.mark.parametrize("activation", ["relu", "crelu"])
def test_the_mean_function_stays(name, legacy, activation):
    """What renewed units gave on average moves into the bias behind them."""
    style = {"activation": activation}
    _, table, params, _, tx, step, _ = make(
        name, optimizer("sgd", 0.0), style=style, rate=0.4, maturity=0, decay=0.0, legacy=legacy
    )
    (old, _), (new, state) = train(step, params, tx.init(params), 1)
    units = table[-1]
    layer = state.layers["/".join(units.name)]
    chosen = np.asarray(layer["age"] == 0)
    moved = np.asarray(lookup(new, units.out_bias)) - np.asarray(lookup(old, units.out_bias))
    model, *_, x = make(name, style=style)
    h = np.asarray(lookup(model.watch(old, {}, x)[1], units.name))
    mean = np.where(np.tile(chosen, units.parts), h.reshape(-1, h.shape[-1]).mean(0), 0)
    kernel = np.moveaxis(np.asarray(lookup(old, units.out.path)), units.out.axis, 0)
    gone = np.tensordot(np.tile(mean, len(kernel) // len(mean)), kernel, 1)
    expected = gone.reshape(-1, gone.shape[-1]).sum(0)
    np.testing.assert_allclose(moved, expected if legacy == "none" else 0 * expected, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


def test_published_faults_can_be_had():
    """Incoming weights never change, every bias of the layer is zero, one unit a step at least."""
    _, _, params, _, tx, step, _ = make(
        "mlp:widths=6-5", optimizer("sgd", 0.0), rate=0.0, maturity=0, legacy="same_weights"
    )
    (old, _), (new, state) = train(step, params, tx.init(params), 1)
    assert (state.layers["hidden_0_units"]["age"] == 0).sum() == 1
    np.testing.assert_array_equal(old["hidden_0"]["kernel"], new["hidden_0"]["kernel"])
    assert not new["hidden_0"]["bias"].any() and old["hidden_0"]["bias"].any()


@pytest.mark.long_except("[weight", "[contribution", "[random")
@pytest.mark.slow_except("0", "1")
@pytest.mark.parametrize("utility", UTILITIES)
def test_every_utility_ranks_units(utility):
    _, _, params, _, tx, step, _ = make("mlp:widths=6-5", utility=utility, rate=0.0)
    state = train(step, params, tx.init(params), 3)[-1][1]
    found = np.asarray(state.layers["hidden_0_units"]["utility"])
    assert np.isfinite(found).all() and len(set(found)) > 1


def test_redo_renews_the_quiet_ones_every_so_often():
    fields = {"name": "redo", "threshold": 0.01, "period": 3}
    _, _, params, _, tx, step, _ = make(
        "mlp:widths=6-5", optimizer("sgd", 0.0), examples=256, **fields
    )
    params["hidden_0"]["bias"] = params["hidden_0"]["bias"].at[2].set(-100.0)
    history = train(step, params, tx.init(params), 3)
    changed = [
        np.flatnonzero((a["hidden_0"]["kernel"] != b["hidden_0"]["kernel"]).any(0)).tolist()
        for (a, _), (b, _) in zip(history, history[1:], strict=False)
    ]
    assert changed[:2] == [[], []] and 2 in changed[2]
    again = (history[-2][0]["hidden_1"]["kernel"] != history[-1][0]["hidden_1"]["kernel"])[0]
    assert not np.asarray(history[-1][0]["hidden_1"]["kernel"])[2][~np.asarray(again)].any()


@pytest.mark.parametrize("period", [600, 100])
def test_redo_judges_single_examples_as_many(period):
    """At batch 1 the renewed units are those that are quiet on 512 examples, also after a short
    period; a single example calls half of the units quiet."""
    arch, threshold = "mlp:widths=40-30", 0.3
    model = make_model(arch, SHAPE, 3, "torch")
    params, _ = jax.jit(model.init)(jax.random.key(0))
    for name in ("hidden_0", "hidden_1"):  # a range from silent to loud
        shift = jnp.linspace(-2.5, 1.0, params[name]["bias"].size)
        params[name]["bias"] = params[name]["bias"] + shift
    cfg = schema.defaults("plasticity").renewal
    cfg.update({"name": "redo", "threshold": threshold, "period": period})
    table = wiring(parse_architecture(arch), params)
    tx = renewing(optimizer("sgd", 0.0), table, cfg, "torch")
    x = jax.random.normal(jax.random.key(1), (600, *SHAPE))
    none = jax.tree.map(jnp.zeros_like, params)

    def one(state, x):
        seen = model.watch(params, {}, x[None])[1]
        _, state = tx.update(none, state, params, seen=seen, key=jax.random.key(0))
        return state, {name: layer["renewed"] for name, layer in state.layers.items()}

    _, renewed = jax.jit(lambda x: jax.lax.scan(one, tx.init(params), x))(x)
    for name, h in jax.jit(model.watch)(params, {}, x[-512:])[1].items():
        found, size = np.asarray(renewed[name]), np.abs(np.asarray(h)).mean(0)
        score = size / size.mean()
        assert not found[:-1].any()
        np.testing.assert_array_equal(found[-1], score <= threshold)
        assert 0.1 < found[-1].mean() < 0.9


WIDE = {"dense": ("mlp:widths=90-80", {}), "conv": ("cnn:channels=16-24", {"norm": "batch"})}


@pytest.mark.long_except("torch-")
@pytest.mark.slow
@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize("init", schema.fields("tap")["model.init"].check.choices)
def test_renewed_units_are_drawn_as_at_the_beginning(init, kind):
    arch, style = WIDE[kind]
    model, table, params, stats, tx, _, x = make(
        arch, optimizer("sgd", 0.0), init, style=style, rate=1.0, maturity=0
    )
    used = jax.tree.map(lambda w: 5 * w + 1, params)
    seen = jax.jit(model.watch)(used, stats, x)[1]
    none = jax.tree.map(jnp.zeros_like, used)
    updates, _ = jax.jit(tx.update)(none, tx.init(used), used, seen=seen, key=jax.random.key(1))
    renewed = optax.apply_updates(used, updates)
    fresh, _ = jax.jit(model.init)(jax.random.key(2))
    units = table[0]  # the kernel into the second layer also leads out of the first
    last = table[-1]
    for wire in (units.into, units.bias, last.bias):
        a, b = (np.asarray(lookup(tree, wire.path)).ravel() for tree in (renewed, fresh))
        if not b.any():
            np.testing.assert_array_equal(a, b)
            continue
        assert scipy_stats.ks_2samp(a, b).pvalue > 1e-3
        assert a.std() == pytest.approx(b.std(), rel=0.15 if len(a) > 100 else 0.5)
    assert not np.asarray(lookup(renewed, last.out.path)).any()


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_after_a_renewal_a_constant_gradient_has_steps_of_the_rate(name):
    """|update| / rate is 1 at steps 1, 10, 50, 100; with one count for all it is 3.1 to 6.4."""
    params = {"w": jnp.ones((2, 3))}
    where = {"w": jnp.zeros((2, 3), bool).at[1].set(True)}
    tx = optimizer(name, 1e-3)

    @jax.jit
    def run(state, steps):
        def step(state, _):
            updates, state = tx.update({"w": jnp.full((2, 3), 0.7)}, state, params)
            return state, jnp.abs(updates["w"]) / 1e-3

        return jax.lax.scan(step, state, None, 100)

    state, sizes = run(tx.init(params), 100)
    np.testing.assert_allclose(sizes, 1, rtol=2e-4)
    state, sizes = run(forget(state, Renewed(where, params)), 100)
    np.testing.assert_allclose(sizes, 1, rtol=2e-4)
    _, sizes = run(forget(state, Renewed(where, params)), 100)  # and again
    np.testing.assert_allclose(sizes, 1, rtol=2e-4)


@pytest.mark.slow
def test_what_is_forgotten_depends_on_what_it_means():
    """Moments and anchors follow the renewed elements, singular vectors and rates do not."""
    params = {"w": jnp.ones((3, 3)), "b": jnp.ones(3)}
    where = {"w": jnp.eye(3, dtype=bool), "b": jnp.array([False, True, False])}
    fields = {"l2_init": 0.1, "spectral": 0.1, "noise": 0.1, "perturb": 0.1, "drive": 0.3}
    for name in ("momentum", "rmsprop", "adamw"):
        tx = optimizer(name, momentum=0.5 if name == "rmsprop" else -1.0, **fields)
        state = tx.init(params)
        for i in range(3):
            _, state = tx.update(params, state, params, key=jax.random.key(i))
        moved = jax.tree.map(lambda w: w + 7, params)
        after = forget(state, Renewed(where, moved))
        changed = [
            path[0].idx
            for (path, a), b in zip(
                jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(after), strict=True
            )
            if (np.asarray(a) != np.asarray(b)).any()
        ]
        assert set(changed) == {1, 3}  # noise, anchor, singular vectors, moments, rate, ...
        anchor = after[1].weights
        np.testing.assert_array_equal(anchor["w"], np.where(np.eye(3), 8, 1))
        np.testing.assert_array_equal(anchor["b"], [1, 8, 1])
    with pytest.raises(TypeError, match="ScaleByAdamState: optimizer_reset.FORGET does not say"):
        forget(optax.adam(1e-3).init(params), Renewed(where, params))


def test_a_renewed_unit_is_not_pulled_away_from_what_it_began_with():
    """After a renewal the pull is zero on all that begins anew, outgoing weights of 0 included."""
    inner = optimizer("sgd", 1.0, l2_init=0.1)
    _, table, params, _, tx, _, x = make("mlp:widths=6-5", inner, rate=0.4, maturity=0)
    moved = jax.tree.map(lambda w: w + 1.0, params)
    none = jax.tree.map(jnp.zeros_like, params)
    seen = {"hidden_0_units": jnp.ones((7, 6)), "hidden_1_units": jnp.ones((7, 5))}
    state, renewed = tx.init(params), moved
    update = jax.jit(tx.update)
    updates, state = update(none, state, moved, seen=seen, key=jax.random.key(0))
    renewed = optax.apply_updates(moved, updates)
    anchor = state.inner[0].weights
    for units in table:
        chosen = np.flatnonzero(state.layers["/".join(units.name)]["renewed"])
        assert len(chosen)
        for wire in (units.into, units.bias, units.out):
            a, b = (
                np.take(np.asarray(lookup(tree, wire.path)), chosen, wire.axis)
                for tree in (anchor, renewed)
            )
            np.testing.assert_array_equal(a, b)
    kept = np.setdiff1d(np.arange(6), np.flatnonzero(state.layers["hidden_0_units"]["renewed"]))
    np.testing.assert_array_equal(
        anchor["hidden_0"]["kernel"][:, kept], params["hidden_0"]["kernel"][:, kept]
    )


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
