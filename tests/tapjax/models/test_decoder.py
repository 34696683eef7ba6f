"""The decoder: causal, counted, and able to hold a mechanism that is built by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.contract import architectures
from tapjax.data.sequences import make_drawn, repeated_tokens
from tapjax.measure import head_ablation, heads
from tapjax.models.transformer import rotated
from tapjax.models.zoo import build, own_style
from tapjax.types import Batch, DeviceData, TrainState

NAMES = [
    "decoder:depth=2,width=16,heads=2",
    "decoder:depth=1,width=16,heads=4,mlp=0,norm=none",
    "decoder:depth=1,width=8,heads=2,mlp=2,positions=rotary",
]
VOCAB, LENGTH = 10, 12


def decoder(name, shape=(LENGTH,), classes=VOCAB, every_position=True):
    arch = architectures.parse_architecture(name)
    return build(arch, shape, classes, own_style(arch), every_position)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(LENGTH,), (6, 4), (5, 3, 1)])
def test_layers_and_parameters(name, shape):
    for every_position in (True, False):
        model = decoder(name, shape, every_position=every_position)
        params, stats = jax.eval_shape(model.init, jax.random.key(0))
        x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
        outputs, hidden, _ = jax.eval_shape(model.apply, params, stats, x)
        assert outputs.shape == ((2, shape[0], VOCAB) if every_position else (2, VOCAB))
        blocks = [layer for layer in model.layer_names if layer.startswith("block")]
        assert model.layer_names == ("embed", *blocks, "head")
        assert all(h.shape[:2] == (2, shape[0]) for h in hidden[:-1])
        arch = architectures.parse_architecture(name)
        counted = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert architectures.count_params(arch, shape, VOCAB) == counted


@pytest.mark.parametrize("name", NAMES)
def test_a_position_does_not_see_later_ones(name, getkey):
    model = decoder(name)
    params, stats = jax.jit(model.init)(getkey())
    apply = jax.jit(model.apply)
    x = jax.random.randint(getkey(), (3, LENGTH), 0, VOCAB).astype(jnp.float32)
    changed = x.at[:, 7].set((x[:, 7] + 1) % VOCAB)
    a, b = (apply(params, stats, x)[0] for x in (x, changed))
    np.testing.assert_array_equal(a[:, :7], b[:, :7])
    assert (jnp.abs(a[:, 7:] - b[:, 7:]).max(-1) > 1e-6).all()
    slope = jax.jit(jax.grad(lambda p: model.apply(p, stats, x)[0][0, 2].sum()))(params)
    if "position" in slope:
        assert (slope["position"][3:] == 0).all() and (slope["position"][:3] != 0).any()


def test_rotated_products_depend_on_the_distance(getkey):
    q, k = (jnp.tile(jax.random.normal(getkey(), (1, 1, 1, 6)), (1, 9, 1, 1)) for _ in range(2))
    products = jnp.einsum("bqhd,bkhd->qk", rotated(q), rotated(k))
    for distance in range(-4, 5):
        diagonal = jnp.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)
    assert jnp.std(products[0]) > 0.05
    np.testing.assert_allclose(rotated(q)[:, 0], q[:, 0], atol=1e-6)
    np.testing.assert_allclose(
        jnp.linalg.norm(rotated(q), axis=-1), jnp.linalg.norm(q, axis=-1), rtol=1e-5
    )


def induction_circuit(vocab, length, sharp=60.0):
    """Parameters of two attention layers of two heads that continue a repetition exactly.

    The stream has the parts token, position, and token before. Head 0 of the first layer copies the
    token before, and head 1 of the second looks for the place that came after the present token,
    and copies the token there. The other heads do nothing.
    """
    width = 2 * (2 * max(vocab, length) + vocab)  # two heads, each wide enough
    name = f"decoder:depth=2,width={width},heads=2,mlp=0,norm=none"
    model = decoder(name, (length,), vocab)
    like, _ = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), like)
    token, place, before = np.arange(vocab), vocab + np.arange(length), vocab + length
    before = before + np.arange(vocab)
    scale = (width // 2) ** 0.25 * sharp**0.5  # undoes the division by the root of the width
    params["embed"]["kernel"][token, token] = 1
    params["position"][np.arange(length), place] = 1
    first, second = (params[f"block_{i}"]["attention"] for i in range(2))
    first["query"]["kernel"][place[1:], np.arange(length - 1)] = scale
    first["key"]["kernel"][place, np.arange(length)] = scale
    first["value"]["kernel"][token, np.arange(vocab)] = 1
    first["out"]["kernel"][np.arange(vocab), before] = 1
    own = width // 2 + np.arange(vocab)  # features of head 1
    second["query"]["kernel"][token, own] = scale
    second["key"]["kernel"][before, own] = scale
    # The first position has no token before, and would copy itself.
    second["query"]["bias"][width // 2 + vocab] = scale
    second["key"]["kernel"][place[0], width // 2 + vocab] = -scale
    second["value"]["kernel"][token, own] = 1
    second["out"]["kernel"][own, token] = 4
    params["head"]["kernel"][token, token] = 1
    return model, jax.tree.map(jnp.asarray, params)


@pytest.fixture(scope="module")
def circuit():
    vocab, length = 12, 16
    model, params = induction_circuit(vocab, length)
    x, y = make_drawn(f"induction:vocab={vocab},length={length}").draw(jax.random.key(1), 50)
    data = DeviceData(x, y, Batch(x.astype(jnp.float32), y), jnp.zeros(1), jnp.ones(1))
    return model, TrainState(jnp.int32(0), params, {}, (), (), jax.random.key(0)), data


def test_a_circuit_that_is_built_by_hand_solves_the_task_and_is_found(circuit):
    model, state, data = circuit
    found = jax.jit(lambda: heads.measure(model, None, state, data, None))()
    found = {name: np.asarray(values) for name, values in found.items()}
    outputs = jax.jit(model.apply)(state.params, {}, data.probe.x)[0]
    task = make_drawn("induction:vocab=12,length=16")
    repeated = np.asarray(task.skill(data.x, data.y)) == 1
    assert (np.asarray(outputs.argmax(-1)) == data.y)[repeated].all()
    assert found["prefix_matching"].argmax() == 3 and found["prefix_matching"][3] > 0.999
    assert found["previous_token"].argmax() == 0 and found["previous_token"][0] > 0.999
    assert found["copying"].tolist() == [0, 0, 0, 1] or found["copying"][3] == 1


def test_the_circuit_needs_its_heads_and_no_others(circuit):
    model, state, data = circuit
    found = jax.jit(lambda: head_ablation.measure(model, None, state, data, None))()
    assert found["accuracy"] == 1
    assert found["without"][jnp.array([0, 3])].max() < 0.3
    assert found["without"][jnp.array([1, 2])].min() == 1
    assert found["without_top"][0] < 0.3 <= found["without_others"][0]
    assert found["without_top"][-1] < 0.3


def test_uniform_attention_has_the_scores_of_chance():
    tokens, period = repeated_tokens(jax.random.key(0), 20, 16, 24)
    causal = np.tril(np.ones((24, 24))) / np.arange(1, 25)[:, None]
    found = heads.head_scores(jnp.asarray(np.tile(causal, (20, 3, 1, 1)), jnp.float32), period)
    np.testing.assert_allclose(found["previous_token"], (1 / np.arange(2, 25)).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["entropy"], np.log(np.arange(1, 25)).mean(), rtol=1e-5)
    expected = [i // p / (i + 1) for p in np.asarray(period) for i in range(p, 24)]
    np.testing.assert_allclose(found["prefix_matching"], np.mean(expected), rtol=1e-5)


def test_heads_of_other_data_are_refused(circuit):
    model, state, data = circuit
    images = data._replace(probe=Batch(jnp.zeros((2, 4, 4, 1)), jnp.zeros(2, int)))
    for each in (heads, head_ablation):
        with pytest.raises(ValueError, match="not tokens"):
            each.measure(model, None, state, images, None)


@pytest.mark.parametrize(
    "name,said",
    [
        ("decoder:depth=1,width=6,heads=2,positions=rotary", "even width"),
        ("decoder:depth=1,width=6,heads=2,positions=none", "positions is one of learned, rotary"),
        ("decoder:depth=1,width=6,heads=2,norm=post", "norm is one of pre, none"),
        ("decoder:depth=1,width=6,heads=2,mlp=-1", "mlp must be at least 0"),
        ("decoder:depth=1,width=6,heads=4", "not a multiple of 4 heads"),
    ],
)
def test_impossible_decoders_are_said(name, said):
    with pytest.raises(ValueError, match=said):
        architectures.parse_architecture(name)
