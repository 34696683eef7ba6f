"""What theory says of clones, frozen units and ranks, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from analysis.plasticity import gaussian
from tapjax.contract.architectures import parse_architecture
from tapjax.measure.unit_metrics import dead_fraction, ranks
from tapjax.models.style import ACTIVATIONS, Style
from tapjax.models.zoo import build
from tapjax.plasticity import cloning

SHAPE, CLASSES = (3, 3, 1), 4


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def network(factor=1, **style):
    arch = cloning.wider(parse_architecture("mlp:widths=5-4-3"), factor)
    return build(arch, SHAPE, CLASSES, Style(initializer="torch", **style))


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def as_double(tree):
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [0.5 * random(a.shape, i) for i, a in enumerate(leaves)])


def clone(factor, **style):
    """A base with random parameters, and its clone."""
    small, wide = network(1, **style), network(factor, **style)
    base = as_double(jax.eval_shape(small.init, jax.random.key(0))[0])
    return base, cloning.expand(base, jax.eval_shape(wide.init, jax.random.key(0))[0], factor), wide


def doubly_centred(params, factor, seed=7):
    """Clones with noise between hidden units; in each block its rows and columns add up to zero."""
    noisy = dict(params)
    for i, name in enumerate(("hidden_1", "hidden_2")):
        kernel = params[name]["kernel"]
        blocks = random(
            (kernel.shape[0] // factor, factor, kernel.shape[1] // factor, factor), seed + i
        )
        blocks = blocks - blocks.mean(1, keepdims=True)
        blocks = blocks - blocks.mean(3, keepdims=True)
        noisy[name] = params[name] | {"kernel": kernel + 0.3 * blocks.reshape(kernel.shape)}
    return noisy


def loss(model, params, x, y):
    logits = model.apply(params, {}, x)[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def batch(n=16):
    return random((n, *SHAPE), 99), jnp.arange(n) % CLASSES


def gap(model, params, factor, x):
    """Largest difference between clones of any unit on any input, relative to the activations."""
    worst = 0.0
    for a in jax.tree.leaves(model.watch(params, {}, x)[1]):
        sets = cloning.clones(a, factor)
        worst = jnp.maximum(worst, jnp.ptp(sets, axis=-1).max() / jnp.abs(a).max())
    return float(worst)


def train(model, params, tx, steps=200):
    x, y = batch()

    def step(carry, _):
        params, opt = carry
        updates, opt = tx.update(jax.grad(lambda p: loss(model, p, x, y))(params), opt, params)
        return (optax.apply_updates(params, updates), opt), None

    start = (params, tx.init(params))
    return jax.jit(lambda: jax.lax.scan(step, start, None, steps))()[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("factor", [2, 3])
def test_equal_row_sums_make_equal_units_and_column_sums_equal_signals(activation, factor):
    """T1, T2: equal activations for every input; then every gradient block is constant."""
    _, params, wide = clone(factor, activation=activation)
    params = doubly_centred(params, factor)
    x, y = batch()
    assert gap(wide, params, factor, x) < 1e-13
    grads = jax.grad(lambda p: loss(wide, p, x, y))(params)
    for name in ("hidden_1", "hidden_2"):
        kernel = np.asarray(grads[name]["kernel"])
        blocks = kernel.reshape(kernel.shape[0] // factor, factor, -1, factor)
        np.testing.assert_allclose(
            blocks, blocks[:, :1, :, :1].repeat(factor, 1).repeat(factor, 3), atol=1e-14
        )
    broken = params | {
        "hidden_1": jax.tree.map(lambda a: a + 0.1 * random(a.shape), params["hidden_1"])
    }
    assert gap(wide, broken, factor, x) > 1e-3


def test_sgd_moves_such_networks_along_the_clones_only():
    """T3: W(t) - W(0) is block-constant."""
    _, params, wide = clone(2)
    params = doubly_centred(params, 2)
    later = train(wide, params, optax.sgd(0.1))
    assert gap(wide, later, 2, batch()[0]) < 1e-12
    moved = np.asarray(later["hidden_1"]["kernel"] - params["hidden_1"]["kernel"])
    blocks = moved.reshape(moved.shape[0] // 2, 2, -1, 2)
    assert np.ptp(blocks, axis=(1, 3)).max() < 1e-12 < 1e-2 < np.abs(moved).max()


L2_IN_ADAM = optax.chain(optax.add_decayed_weights(0.1), optax.adam(1e-2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tx", "stays"),
    [
        (optax.adam(1e-2), True),
        (optax.adamw(1e-2, weight_decay=0.1), True),
        (optax.rmsprop(1e-3, decay=0.99), True),
        (optax.sgd(0.1, 0.9), True),
        (L2_IN_ADAM, False),
    ],
)
def test_coordinatewise_optimizers_keep_them_but_l2_within_adam_does_not(tx, stays):
    """T5, with three clones: with two, noise of this kind hides the effect.

    The clones are a saddle, so rounding grows: 1e-14 after 20 steps, 1e-12 after 100, 1e-8 later.
    """
    _, params, wide = clone(3)
    later = train(wide, doubly_centred(params, 3), tx, 100)
    found = gap(wide, later, 3, batch()[0])
    assert found < 1e-9 if stays else found > 1e-2


@pytest.mark.slow
def test_adam_clones_learn_as_a_base_with_larger_rates():
    """T6 for Adam without epsilon: kernels between hidden units and out of them f times as fast."""
    factor, adam = 2, optax.adam(1e-3, eps=1e-300)
    base, params, wide = clone(factor, activation="tanh")
    small = network(1, activation="tanh")

    def scale(path, update):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        inner = name.endswith("kernel") and not name.startswith("hidden_0")
        return update * factor if inner else update

    faster = optax.chain(
        adam, optax.stateless(lambda u, _: jax.tree_util.tree_map_with_path(scale, u))
    )
    x, y = batch()
    a = loss(wide, train(wide, params, adam), x, y)
    b = loss(small, train(small, base, faster), x, y)
    c = loss(small, train(small, base, adam), x, y)
    assert abs(a - b) < 1e-10 < 1e-2 < abs(a - c)


def test_escape_grows_as_the_normal_curvature_says():
    """T9: within a clone's neighbourhood |P_N w| grows like exp(-lambda_min t)."""
    factor, rate, steps = 2, 1e-3, 400
    _, params, wide = clone(factor, activation="tanh")
    x, y = batch()
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    marks = clone_marks(params, factor)
    projection = normal_projection(unravel, marks, factor, len(flat))

    @jax.jit
    def curvature(w):
        return jax.hessian(lambda w: loss(wide, unravel(w), x, y))(w)

    values, vectors = np.linalg.eigh(projection @ np.asarray(curvature(flat)) @ projection)
    lowest, direction = values[0], vectors[:, 0]
    assert lowest < -1e-3
    size = 1e-6
    start = unravel(flat + size * direction)
    later, _ = jax.flatten_util.ravel_pytree(train(wide, start, optax.sgd(rate), steps))
    grown = np.log(np.linalg.norm(projection @ np.asarray(later)) / size) / (rate * steps)
    assert grown == pytest.approx(-lowest, rel=0.2)


def clone_marks(params, factor):
    """Which axes of each parameter are cloned."""
    base = jax.eval_shape(network(1).init, jax.random.key(0))[0]
    return jax.tree.map(
        lambda a, b: [m != n for m, n in zip(a.shape, b.shape, strict=True)], base, params
    )


def normal_projection(unravel, marks, factor, size):
    """What is left of parameters when the mean over every block of clones is taken out."""

    def block_mean(a, cloned):
        for axis, is_cloned in enumerate(cloned):
            if is_cloned:
                split = a.shape[:axis] + (a.shape[axis] // factor, factor) + a.shape[axis + 1 :]
                mean = np.asarray(a).reshape(split).mean(axis + 1)
                a = np.repeat(mean, factor, axis)
        return a

    rows = []
    for unit in np.eye(size):
        tree = unravel(jnp.asarray(unit))
        mean = jax.tree.map(block_mean, tree, marks, is_leaf=lambda v: isinstance(v, list))
        rows.append(unit - np.asarray(jax.flatten_util.ravel_pytree(mean)[0]))
    return np.array(rows)


def with_dead_unit(params):
    bias = params["hidden_0"]["bias"].at[2].set(-100.0)
    return params | {"hidden_0": params["hidden_0"] | {"bias": bias}}


def of_unit_2(params):
    first, second = params["hidden_0"], params["hidden_1"]
    return np.concatenate([first["kernel"][:, 2], first["bias"][2:3], second["kernel"][2]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tx", "frozen"),
    [(optax.sgd(0.1), True), (optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)), False)],
)
def test_a_dead_first_layer_unit_is_frozen_unless_weights_decay(tx, frozen):
    """T10: neither incoming nor outgoing weights have a gradient."""
    base, _, _ = clone(2)
    params, small = with_dead_unit(base), network()
    x, y = batch()
    grads = jax.grad(lambda p: loss(small, p, x, y))(params)
    assert not of_unit_2(grads).any()
    later = train(small, params, tx, 50)
    assert (of_unit_2(later) == of_unit_2(params)).all() == frozen
    assert float(jnp.abs(later["hidden_2"]["kernel"] - params["hidden_2"]["kernel"]).max()) > 1e-3


@pytest.mark.slow
def test_momentum_moves_a_unit_that_has_just_died_for_a_while():
    """T10: what the optimizer remembers is spent first."""
    base, _, _ = clone(2)
    small, tx, (x, y) = network(), optax.adam(1e-2), batch()
    opt = tx.update(jax.grad(lambda p: loss(small, p, x, y))(base), tx.init(base), base)[1]
    params, moves = with_dead_unit(base), []
    for _ in range(200):
        grads = jax.tree.map(jnp.zeros_like, params)
        updates, opt = tx.update(grads, opt, params)
        moves.append(np.abs(of_unit_2(updates)).max())
    assert moves[0] > 1e-3 and moves[-1] < 1e-6 * moves[0]


@pytest.mark.slow
def test_after_batch_normalisation_no_unit_is_silent_on_the_whole_batch():
    """T11: a centred column of some variance has a positive entry."""
    model = network(norm="batch", affine=False)
    params, state = model.init(jax.random.key(0))
    params = jax.tree.map(lambda a: a - 0.5, as_double(params))
    x = random((32, *SHAPE))
    z = x.reshape(32, -1) @ params["hidden_0"]["kernel"] + params["hidden_0"]["bias"][None] - 100
    normal = (z - z.mean(0, keepdims=True)) / z.std(0, keepdims=True)
    assert (jax.nn.relu(normal).max(0) > 0).all() and dead_fraction(jax.nn.relu(z)) == 1
    assert not state or np.isfinite(jax.tree.leaves(state)[0]).all()


def test_linear_layers_never_raise_a_rank_and_nonlinear_ones_do():
    """T12: data of rank 10 in 50 dimensions."""
    x = random((2000, 10)) @ random((10, 50), 1) / np.sqrt(10)
    hard = lambda a: int(np.linalg.matrix_rank(np.asarray(a), tol=1e-5 * len(a)))  # noqa: E731
    assert hard(x) == hard(x @ random((50, 80), 2)) == 10
    assert hard(jax.nn.relu(x)) == hard(jnp.tanh(x)) == 50
    twice = jax.nn.relu(jnp.concatenate([x, x], 1))
    assert hard(twice) == 50
    s = np.linalg.svd(np.asarray(twice), compute_uv=False)
    assert int(ranks(jnp.asarray(s), jnp.asarray(s))["hard_rank"]) == 50


ALPHAS = {  # T13: uncentred, centred
    "relu": (0.0, 0.4669), "leaky_relu": (0.0, 0.3428), "gelu": (0.0720, 0.3188),
    "elu": (0.0359, 0.0790), "selu": (0.0716, 0.0716), "tanh": (0.1778, 0.1778),
    "sigmoid": (-0.8472, 0.0336), "none": (0.0, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", ALPHAS)
def test_alpha_of_every_activation(name):
    z, function = jnp.asarray(gaussian.GRID), ACTIVATIONS[name]
    values, slopes = jax.jit(
        lambda z: (function(z), jax.vmap(jax.grad(lambda v: function(v[None])[0]))(z))
    )(z)
    found = [gaussian.alpha(values, slopes, centred) for centred in (False, True)]
    np.testing.assert_allclose(found, ALPHAS[name], atol=1.5e-4)


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.5, 0.99, 0.999])
def test_relu_brings_correlated_inputs_together_as_the_kernel_says(rho):
    """T14, against samples; near 1 the change is alpha = 0 to first order."""
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(2, 1_000_000))
    f, g = np.maximum(x, 0), np.maximum(rho * x + np.sqrt(1 - rho**2) * other, 0)
    seen = (f * g).mean() / np.sqrt((f * f).mean() * (g * g).mean())
    assert gaussian.relu_correlation(rho) == pytest.approx(seen, abs=3e-3)
    if rho > 0.9:
        assert 1 - gaussian.relu_correlation(rho) == pytest.approx(1 - rho, rel=0.1)


MODULATED = {  # T15: shift over gain -> alpha, share of inputs that leave it silent
    -4: (9.25, 1.0), -3: (5.64, 0.9987), -2: (2.94, 0.977), -1: (1.11, 0.841), 0: (0, 0.5),
    1: (-0.563, 0.159), 2: (-0.804, 0.023),
}  # fmt: skip


@pytest.mark.parametrize("c", MODULATED)
def test_a_shifted_relu_freezes(c):
    alpha, silent = MODULATED[c]
    z, gain = gaussian.GRID, 3.0
    pre = gain * z + gain * c
    numeric = gaussian.alpha(np.maximum(pre, 0), gain * (pre > 0))
    assert gaussian.relu_alpha(gain, gain * c) == pytest.approx(numeric, abs=2e-3)
    assert numeric == pytest.approx(alpha, abs=6e-3)
    assert stats.norm.cdf(-c) == pytest.approx(silent, abs=6e-4)
    # A unit counts as dead above a share of .95 of silent inputs: beyond c = -1.645.
    sample = np.maximum(np.random.default_rng(0).normal(size=(20_000, 1)) + c, 0)
    assert dead_fraction(jnp.asarray(sample)) == (stats.norm.cdf(-c) > 0.95)


@pytest.mark.parametrize(("a", "alpha"), [(1, 0.178), (5, 2.135), (20, 10.08), (100, 52.6)])
def test_a_steep_tanh_freezes(a, alpha):
    z = gaussian.GRID
    found = gaussian.alpha(np.tanh(a * z), a / np.cosh(np.clip(a * z, -300, 300)) ** 2)
    assert found == pytest.approx(alpha, rel=5e-3)
    if a >= 20:
        assert found == pytest.approx(0.5319 * a - 1, rel=0.05)
