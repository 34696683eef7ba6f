"""Cloned networks: the same function, and clones for as long as nothing tells them apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tapjax.config import schema
from tapjax.contract.architectures import parse_architecture
from tapjax.models.style import Style
from tapjax.models.zoo import build
from tapjax.plasticity import cloning

pytestmark = pytest.mark.usefixtures("full_compile")

SHAPE, CLASSES = (8, 8, 1), 5
CASES = [
    ("mlp:widths=6-4", 2, {}),
    ("mlp:widths=6-4", 3, {"norm": "batch"}),
    ("mlp:widths=6-4", 2, {"norm": "layer", "norm_after": True, "activation": "gelu"}),
    ("mlp:widths=6-4", 2, {"activation": "crelu"}),
    ("cnn:channels=4-6,fc=8", 3, {"norm": "layer"}),
    ("cnn:channels=4-6", 2, {"norm": "instance", "activation": "tanh"}),
    ("cnn:channels=32-64,fc=8", 2, {"norm": "group"}),
    ("resnet:channels=2-4", 2, {"norm": "batch"}),
    ("resnet:channels=2-4", 2, {"norm": "layer", "norm_after": True}),
    ("vit:depth=2,width=8,heads=2", 2, {"norm": "layer", "activation": "gelu"}),
    ("vit:depth=1,width=8,heads=2", 3, {"norm": "batch"}),
    ("transformer:depth=1,width=8,heads=2", 2, {}),
]


def pair(name, factor, style):
    """A network with parameters all different from their defaults, and its clone."""
    style, arch = Style(initializer="torch", **style), parse_architecture(name)
    small = build(arch, SHAPE, CLASSES, style)
    wide = build(cloning.wider(arch, factor), SHAPE, CLASSES, style)

    def both(key):
        params, stats = small.init(key)
        leaves, structure = jax.tree.flatten((params, stats))
        keys = jax.random.split(key, len(leaves))
        moved = jax.tree.unflatten(structure, list(keys))
        params, stats = jax.tree.map(
            lambda a, k: a + 0.1 * jnp.abs(jax.random.normal(k, a.shape)), (params, stats), moved
        )
        like = jax.eval_shape(wide.init, key)
        return (params, stats), (
            cloning.expand(params, like[0], factor),
            cloning.expand(stats, like[1], factor),
        )

    return small, wide, *jax.jit(both)(jax.random.key(0))


def images(n=9):
    return jax.random.normal(jax.random.key(1), (n, *SHAPE))


@pytest.mark.long_except(
    "mlp:", "cnn:channels=4-6,fc=8", "resnet:channels=2-4-2-style", "transformer"
)
@pytest.mark.long_except("mlp", "cnn")
@pytest.mark.slow_except("mlp:widths=6-4-2-style0", "mlp:widths=6-4-2-style3")
@pytest.mark.parametrize(("name", "factor", "style"), CASES)
def test_a_clone_computes_the_same(name, factor, style):
    small, wide, base, clone = pair(name, factor, style)
    x = images()

    @jax.jit
    def compare(x):
        a, b = small.watch(*base, x), wide.watch(*clone, x)
        return a[0], b[0], a[1], b[1]

    logits, cloned, seen, seen_cloned = compare(x)
    size = max(1.0, float(jnp.abs(logits).max()))  # up to 44 here; rounding grows with it
    np.testing.assert_allclose(cloned / size, logits / size, atol=1e-5)
    for a, b in zip(jax.tree.leaves(seen), jax.tree.leaves(seen_cloned), strict=True):
        a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
        if style.get("activation") == "crelu":
            continue
        assert float(cloning.unexplained(b, factor)) < 1e-9
        np.testing.assert_allclose(b[:, ::factor], a, atol=1e-4)
        found = cloning.similarity(a, b, factor)
        assert float(found["feature_alignment"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_in_double_precision_the_difference_is_rounding():
    small, wide, base, clone = pair("mlp:widths=6-4", 3, {"norm": "layer", "activation": "tanh"})
    with jax.enable_x64(True):
        double = lambda tree: jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), tree)  # noqa: E731
        params, stats = double(base)
        like = double(clone)
        clone = (cloning.expand(params, like[0], 3), cloning.expand(stats, like[1], 3))
        x = jnp.asarray(np.asarray(images()), jnp.float64)
        a, b = small.apply(params, stats, x)[0], wide.apply(*clone, x)[0]
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.slow
def test_two_expansions_are_one_of_the_product():
    style, arch = Style(initializer="torch"), parse_architecture("cnn:channels=3,fc=4")
    small = build(arch, SHAPE, CLASSES, style)
    params, _ = small.init(jax.random.key(0))
    shapes = [
        jax.eval_shape(build(cloning.wider(arch, f), SHAPE, CLASSES, style).init, jax.random.key(0))
        for f in (2, 6)
    ]
    twice = cloning.expand(cloning.expand(params, shapes[0][0], 2), shapes[1][0], 3)
    once = cloning.expand(params, shapes[1][0], 6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), twice, once)


def test_groups_must_stay_groups():
    arch = parse_architecture("cnn:channels=36-64")
    with pytest.raises(schema.ConfigError, match="36 units fall into 18 groups, 72 into 24"):
        cloning.check_groups(arch, Style(norm="group"), 2)
    cloning.check_groups(arch, Style(norm="layer"), 2)


def test_what_is_not_f_times_as_wide_is_refused():
    with pytest.raises(ValueError, match="kernel"):
        cloning.expand({"kernel": jnp.ones((2, 3))}, {"kernel": jnp.ones((2, 7))}, 2)


def test_unexplained_variance_is_that_within_clones():
    a = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    assert float(cloning.unexplained(np.repeat(a, 3, 1), 3)) == 0
    assert float(cloning.unexplained(a, 2)) == pytest.approx(0.5, abs=0.1)


OPTIMIZERS = {
    "sgd": optax.sgd(0.05),
    "momentum": optax.sgd(0.05, 0.9),
    "adam": optax.adam(1e-2),
    "rmsprop": optax.rmsprop(1e-3, decay=0.99),
    "adamw": optax.adamw(1e-2, weight_decay=0.1),
    "adam with l2": optax.chain(optax.add_decayed_weights(0.1), optax.adam(1e-2)),
    "clip, adam": optax.chain(optax.clip_by_global_norm(0.1), optax.adam(1e-2)),
}


def trained(model, params, stats, tx, steps=60, key=None):
    """Parameters after training on images whose labels change half-way."""
    x, y = images(32), jnp.arange(32) % CLASSES

    def step(carry, i):
        params, stats, opt = carry
        labels = jnp.where(i < steps // 2, y, (y + 1) % CLASSES)

        def loss(params):
            own = None if key is None else jax.random.fold_in(key, i)
            logits, _, new = model.apply(
                params, stats, x, jax.random.key(0) if own is None else own
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), new

        grads, stats_ = jax.grad(loss, has_aux=True)(params)
        updates, opt = tx.update(grads, opt, params)
        return (optax.apply_updates(params, updates), stats_, opt), None

    run = jax.jit(lambda: jax.lax.scan(step, (params, stats, tx.init(params)), jnp.arange(steps)))
    return run()[0][:2]


def gap(wide, params, stats, factor=2):
    seen = jax.jit(wide.watch)(params, stats, images())[1]
    return max(
        float(cloning.unexplained(a.reshape(-1, a.shape[-1]), factor))
        for a in jax.tree.leaves(seen)
    )


@pytest.mark.slow_except("sgd")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_clones_stay_clones_under_every_optimizer(optimizer):
    """T4: block-constant clones are kept exactly, also by Adam and when the labels change."""
    _, wide, _, clone = pair("mlp:widths=6-4", 2, {})
    params, stats = trained(wide, *clone, OPTIMIZERS[optimizer])
    assert gap(wide, params, stats) < 1e-9
    kernel = np.asarray(params["hidden_1"]["kernel"])
    np.testing.assert_allclose(kernel[::2, ::2], kernel[1::2, 1::2], atol=1e-6)
    assert np.abs(kernel - clone[0]["hidden_1"]["kernel"]).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("style", [{"norm": "batch"}, {"norm": "layer"}])
def test_normalisation_does_not_part_clones_but_dropout_does(style):
    """T8: a first step with independent masks is enough."""
    _, wide, _, clone = pair("mlp:widths=6-4", 2, style)
    assert gap(wide, *trained(wide, *clone, OPTIMIZERS["sgd"])) < 1e-8
    arch = cloning.wider(parse_architecture("mlp:widths=6-4"), 2)
    dropping = build(arch, SHAPE, CLASSES, Style(initializer="torch", dropout=0.25, **style))
    parted = trained(dropping, *clone, OPTIMIZERS["sgd"], 1, jax.random.key(3))
    assert gap(wide, *parted) > 1e-5
