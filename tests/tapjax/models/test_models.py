import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tapjax.config import schema
from tapjax.contract import architectures
from tapjax.models import layers
from tapjax.models.residual import residual_mlp
from tapjax.models.style import ACTIVATIONS, NORMS, group_count
from tapjax.models.zoo import make_model

MNIST, CIFAR, DIGITS = (28, 28, 1), (32, 32, 3), (8, 8, 1)


def shapes(model, shape, batch=2):
    """Shapes of parameters, logits and hidden layers, without computing anything."""
    params, stats = jax.eval_shape(model.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    logits, hidden, _ = jax.eval_shape(model.apply, params, stats, x)
    return params, logits, hidden


@pytest.mark.parametrize("shape", [MNIST, CIFAR, DIGITS, (1, 20, 1)])
@pytest.mark.parametrize(
    "name",
    [
        *architectures.ZOO,
        "mlp:widths=5-3",
        "cnn:channels=2-3-4-5-6",
        "cnn:channels=4-8,fc=6-5",
        "resnet:channels=2-3-4-5",
    ],
)
def test_every_architecture_takes_every_input(name, shape):
    model = make_model(name, shape, 7)
    params, logits, hidden = shapes(model, shape)
    assert logits.shape == (2, 7)
    assert len(hidden) == len(model.layer_names) == len(set(model.layer_names))
    assert model.layer_names[-1] == "head" and hidden[-1].shape == logits.shape
    counted = sum(leaf.size for leaf in jax.tree.leaves(params))
    arch = architectures.parse_architecture(name)
    assert architectures.count_params(arch, shape, 7) == counted


@pytest.mark.parametrize(
    "name,layers",
    [
        ("mlp:widths=96-5", ["hidden_0", "hidden_1", "head"]),
        ("cnn:channels=4-8,fc=6", ["dense_0", "head"]),
        ("resnet:channels=2-3-4-5", ["head"]),
        ("transformer:depth=2,width=16,heads=2",
         ["embed", *(f"block_{i}_linear_{j}" for i in range(2) for j in range(2)), "head"]),
        ("vit:depth=1,width=8,heads=2,patch=4", ["head"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("norm", ["own", "batch"])
def test_affine_maps_span_the_layers_that_they_make(name, layers, norm):
    style = {} if norm == "own" or name.startswith("transformer") else {"norm": norm}
    model = make_model(name, DIGITS, 10, "torch", **style)
    params, stats = jax.jit(model.init)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (40, *DIGITS))
    hidden = dict(zip(model.layer_names, jax.jit(model.apply)(params, stats, x)[1], strict=True))
    maps = model.affine(params)
    assert set(layers) <= set(maps) <= set(model.layer_names)
    for layer, map_RxD in maps.items():
        rows_NxD = hidden[layer].reshape(-1, hidden[layer].shape[-1])
        q = np.linalg.qr(np.asarray(map_RxD, float).T)[0]
        np.testing.assert_allclose(rows_NxD, rows_NxD @ q @ q.T, atol=1e-5, err_msg=layer)


@pytest.mark.parametrize(
    "size,stride,shape",
    [(3, 1, (7, 8, 3)), (3, 2, (8, 8, 4)), (3, 2, (7, 5, 1)), (1, 2, (8, 8, 3)), (3, 2, (1, 1, 2))],
)
def test_convolution_gradients_equal_those_of_the_plain_convolution(getkey, size, stride, shape):
    x = jax.random.normal(getkey(), (2, *shape))
    kernel = jax.random.normal(getkey(), (size, size, shape[-1], 5))

    def gradients(conv):
        return jax.grad(lambda x, k: jnp.sin(conv(x, k, stride)).sum(), (0, 1))(x, kernel)

    np.testing.assert_allclose(
        layers._cpu_conv(x, kernel, stride), layers._conv(x, kernel, stride), atol=1e-5
    )
    for ours, plain in zip(gradients(layers._cpu_conv), gradients(layers._conv), strict=True):
        np.testing.assert_allclose(ours, plain, atol=2e-5)


@pytest.mark.parametrize(
    "size,stride,shape", [(3, 1, (7, 8, 3)), (3, 2, (8, 7, 4)), (1, 2, (5, 5, 2))]
)
def test_second_derivatives_of_the_convolution(getkey, size, stride, shape):
    at = (
        jax.random.normal(getkey(), (2, *shape)),
        jax.random.normal(getkey(), (size, size, shape[-1], 5)) / size,
    )
    along = tuple(jax.random.normal(getkey(), part.shape) for part in at)

    def product(conv):
        def slope(x, kernel):
            grads = jax.grad(lambda x, k: jnp.sin(conv(x, k, stride)).sum(), (0, 1))(x, kernel)
            return sum(jnp.vdot(g, v) for g, v in zip(grads, along, strict=True))

        return jax.grad(slope, (0, 1))(*at)

    for ours, plain in zip(product(layers._cpu_conv), product(layers._conv), strict=True):
        np.testing.assert_allclose(ours, plain, atol=5e-5 * float(jnp.abs(plain).max()))


@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (2, 1), (1, 1)])
def test_pooling_equals_reduce_window(getkey, shape):
    x = jax.random.normal(getkey(), (2, *shape, 3))
    window = (1, *(min(n, 2) for n in shape), 1)

    def reference(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

    np.testing.assert_array_equal(layers.max_pool(x), reference(x))
    ours, theirs = (
        jax.grad(lambda x, f=f: (f(x) ** 2).sum())(x) for f in (layers.max_pool, reference)
    )
    np.testing.assert_allclose(ours, theirs)


def test_dropout_keeps_the_mean_and_drops_its_share(getkey):
    x = jnp.ones((301, 333))
    y = layers.dropout(getkey(), x, 0.1)
    assert abs(float((y == 0).mean()) - 26 / 256) < 0.003
    assert abs(float(y.mean()) - 1) < 0.003
    assert layers.dropout(None, x, 0.1) is x


def test_torch_initialisation_is_uniform_within_its_bound():
    params, _ = make_model("mlp_wide", MNIST, 10, "torch").init(jax.random.key(0))
    for name, fan_in in (("hidden_0", 784), ("hidden_1", 256)):
        for leaf in jax.tree.leaves(params[name]):
            bound = fan_in**-0.5
            assert float(jnp.abs(leaf).max()) <= bound
            np.testing.assert_allclose(leaf.std(), bound / 3**0.5, rtol=0.1)


@pytest.mark.slow
def test_batch_statistics_move_in_training_only(getkey):
    model = make_model("resnet18", DIGITS, 10)
    params, stats = jax.jit(model.init)(getkey())
    x = 3 + jax.random.normal(getkey(), (4, *DIGITS))
    _, _, trained = jax.jit(model.apply)(params, stats, x, getkey())
    _, _, evaluated = jax.jit(model.apply)(params, stats, x)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), stats, evaluated)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), stats, trained)
    assert jax.tree.all(same) and jax.tree.all(moved)
    assert jax.tree.structure(trained) == jax.tree.structure(stats)


@pytest.mark.slow
def test_dropout_acts_in_training_only(getkey):
    model = make_model("transformer:depth=1,width=16", DIGITS, 10)
    params, stats = model.init(getkey())
    x = jax.random.normal(getkey(), (3, *DIGITS))
    quiet = [model.apply(params, stats, x)[0] for _ in range(2)]
    noisy = [model.apply(params, stats, x, getkey())[0] for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    assert not np.allclose(*noisy)


def test_attention_probabilities_sum_to_one(getkey):
    from tapjax.models.transformer import Attention

    module = Attention(4, "lecun")
    x = jax.random.normal(getkey(), (2, 6, 8))
    variables = module.init(getkey(), x)
    _, sown = module.apply({"params": variables["params"]}, x, mutable="intermediates")
    (probabilities,) = sown["intermediates"]["probabilities"]
    assert probabilities.shape == (2, 4, 6, 6)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


STYLED = ["mlp:widths=6-4", "cnn:channels=4-6,fc=8", "resnet:channels=2-4"]
STYLED += ["vit:depth=1,width=8,heads=2,patch=4"]


@pytest.mark.parametrize(
    ("name", "shape", "style", "parameters"),
    [
        ("mlp:depth=5,width=128", MNIST, {"norm": "batch"}, 169_098),
        ("mlp:depth=5,width=128", CIFAR, {"norm": "batch"}, 461_962),
        ("cnn:channels=64-128-256,fc=512", CIFAR, {"norm": "batch"}, 2_474_506),
        ("resnet18", CIFAR, {}, 11_173_962),
        ("vit:depth=6,width=384,heads=6,patch=8", CIFAR, {}, 10_732_426),
    ],
)
def test_parameters_of_the_published_networks(name, shape, style, parameters):
    params, _ = jax.eval_shape(make_model(name, shape, 10, **style).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters
    if not style:
        arch = architectures.parse_architecture(name)
        assert architectures.count_params(arch, shape, 10) == parameters


def some_styles(name):
    if name[:3] == "vit":
        return [{}, {"norm": "batch", "affine": False}, {"norm": "none", "activation": "relu"}]
    norms = set(NORMS) - {"mlp": {"instance"}}.get(name[:3], set())
    styles = [{"norm": norm, "affine": affine} for norm in norms for affine in (True, False)]
    styles += [{"norm": norm, "norm_after": True} for norm in norms]
    return styles + [{"activation": activation} for activation in ACTIVATIONS]


def training_step(name, style):
    """Gradients and the running statistics after one batch."""
    x, y = jax.random.normal(jax.random.key(2), (6, *DIGITS)), jnp.arange(6) % 3
    model = make_model(name, DIGITS, 3, "torch", dropout=0.25, **style)

    def loss(params, stats):
        logits, _, new = model.apply(params, stats, x, jax.random.key(1))
        return jnp.square(logits - y[:, None]).mean(), new

    params, stats = model.init(jax.random.key(0))
    return jax.grad(loss, has_aux=True)(params, stats)


@pytest.mark.long_except("mlp", "vit")
@pytest.mark.slow_except("mlp")
@pytest.mark.parametrize("name", STYLED)
def test_every_style_has_gradients(name):
    for style in some_styles(name):
        grads, stats = jax.eval_shape(lambda style=style: training_step(name, style))
        norm = style.get("norm", "batch" if name[:6] == "resnet" else "none")
        assert set(stats) == ({"batch_stats"} if norm == "batch" else set()), style
        if name[:3] != "vit":  # whose blocks hold their own
            own = any("norm" in key for key in grads)
            assert own == (norm != "none" and style.get("affine", True)), style


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("mlp:widths=6-4", {"norm": "batch", "activation": "selu"}),
        ("mlp:widths=6-4", {"norm": "layer", "norm_after": True, "activation": "crelu"}),
        ("cnn:channels=4-6,fc=8", {"norm": "instance", "activation": "gelu"}),
        ("cnn:channels=4-6,fc=8", {"norm": "group", "norm_after": True, "affine": False}),
    ],
)
def test_gradients_are_finite(name, style):
    grads, _ = jax.jit(lambda: training_step(name, style))()
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.slow_except("mlp", "cnn")
@pytest.mark.parametrize("name", [*STYLED, "transformer:depth=1,width=8,heads=2"])
def test_activations_are_watched_and_can_be_shifted(name, getkey):
    model = make_model(name, DIGITS, 3)
    params, stats = jax.jit(model.init)(getkey())
    x = jax.random.normal(getkey(), (4, *DIGITS))
    logits, seen, _ = jax.jit(model.watch)(params, stats, x)
    np.testing.assert_allclose(logits, jax.jit(model.apply)(params, stats, x)[0], rtol=1e-5)
    shifts = jax.tree.map(jnp.zeros_like, seen)
    same, again, _ = jax.jit(model.watch)(params, stats, x, shifts)
    np.testing.assert_allclose(same, logits, rtol=1e-5)
    assert jax.tree.structure(again) == jax.tree.structure(seen) and jax.tree.leaves(seen)
    grads = jax.jit(jax.grad(lambda s: model.watch(params, stats, x, s)[0].sum()))(shifts)
    last = jax.tree.leaves(grads)[-1]
    assert float(jnp.abs(last).max()) > 0


def test_the_gradient_by_the_last_activation_is_that_of_the_head(getkey):
    model = make_model("mlp:widths=6-4", DIGITS, 3)
    params, stats = model.init(getkey())
    x = jax.random.normal(getkey(), (4, *DIGITS))
    _, seen, _ = model.watch(params, stats, x)
    grads = jax.grad(lambda s: model.watch(params, stats, x, s)[0][:, 1].sum())(
        jax.tree.map(jnp.zeros_like, seen)
    )
    expected = jnp.broadcast_to(params["head"]["kernel"][:, 1], (4, 4))
    np.testing.assert_allclose(grads["hidden_1_units"], expected, rtol=1e-6)


def test_pooling_may_come_before_a_monotone_activation(getkey):
    """What the order saves must not change the result."""
    z = jax.random.normal(getkey(), (2, 4, 4, 3))
    for activation in ("relu", "leaky_relu", "tanh", "sigmoid", "elu", "selu"):
        act = ACTIVATIONS[activation]
        np.testing.assert_allclose(act(layers.max_pool(z)), layers.max_pool(act(z)), rtol=1e-6)


def test_groups_divide_the_channels():
    assert [group_count(c) for c in (64, 48, 24, 20, 7, 33)] == [32, 24, 24, 20, 7, 11]


AWKWARD = [(1, 13, 1), (28, 28, 1), (32, 32, 3), (7, 5, 3)]
EVERY = [
    "mlp:widths=8",
    "cnn:channels=4-4-4,fc=8",
    "resnet:channels=4-4-4",
    "residual:depth=1,width=8",
]
EVERY += ["transformer:depth=1,width=8,heads=2", "vit:depth=1,width=8,heads=2,patch=5"]


@pytest.mark.long_except("shape0")
@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", AWKWARD)
def test_every_pixel_counts(name, shape):
    arch = architectures.parse_architecture(name)
    if arch.family == "residual":
        cfg = schema.defaults("credit").blocks
        model = residual_mlp(cfg, 1, 8, int(np.prod(shape)), 3)[0]
    else:
        model = make_model(name, shape, 3)

    @jax.jit
    def slopes():
        params, stats = model.init(jax.random.key(0))
        counted = sum(leaf.size for leaf in jax.tree.leaves(params))
        x = jax.random.normal(jax.random.key(1), (24, *shape))
        return counted, jax.grad(lambda x: jnp.square(model.apply(params, stats, x)[0]).sum())(x)

    counted, found = slopes()
    assert (np.abs(found).max(0) > 0).all()
    assert counted == architectures.count_params(arch, shape, 3)


def test_pixels_beyond_whole_patches_are_filled_up_with_zeros():
    x = np.random.default_rng(0).normal(size=(2, 7, 5, 3)).astype(np.float32)
    found = layers.patches(jnp.asarray(x), 4)
    assert found.shape == (2, 2, 2, 48)
    padded = np.zeros((2, 8, 8, 3), np.float32)
    padded[:, :7, :5] = x
    np.testing.assert_array_equal(found[:, 1, 1].reshape(2, 4, 4, 3), padded[:, 4:, 4:])
    np.testing.assert_array_equal(layers.patches(jnp.asarray(padded), 4), found)
