"""The same network in five libraries has the same activations under the names of its layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.measure import dimensions as tapjax_dimensions
from tapjax.measure.probes import dimensions
from tests.tapjax.adapters.networks import FRAMEWORKS, array

RNG = np.random.default_rng(0)
SHAPES = ((12, 16), (16, 8), (8, 3))
WEIGHTS = [RNG.standard_normal(shape).astype(np.float32) / shape[0] ** 0.5 for shape in SHAPES]
X = RNG.standard_normal((20, 12)).astype(np.float32)
KERNEL, IMAGES = (RNG.standard_normal(s).astype(np.float32) for s in ((3, 3, 2, 4), (5, 6, 6, 2)))


BIASES = [RNG.standard_normal(b).astype(np.float32) for _, b in SHAPES]


def wanted():
    fc1 = X @ WEIGHTS[0] + BIASES[0]
    fc2 = np.maximum(fc1, 0) @ WEIGHTS[1] + BIASES[1]
    return {"fc1": fc1, "fc2": fc2, "head": np.maximum(fc2, 0) @ WEIGHTS[2] + BIASES[2]}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def network(request):
    return FRAMEWORKS[request.param](WEIGHTS, BIASES)


def test_activations_are_those_of_the_equation(network):
    found = network.activations(X)
    assert list(found) == ["fc1", "fc2", "head"]
    for name, value in wanted().items():
        np.testing.assert_allclose(array(found[name]), value, rtol=1e-4, atol=1e-5)
    ours = dimensions([jnp.asarray(a) for a in wanted().values()], centred=False)
    theirs = dimensions([jnp.asarray(array(a)) for a in found.values()], centred=False)
    np.testing.assert_allclose(
        theirs["participation_ratio"], ours["participation_ratio"], rtol=1e-5
    )


def test_layers_are_chosen_by_name_pattern_or_type(network):
    def measure(layers):
        return network.activations(X, layers)

    assert list(measure("fc2")) == ["fc2", "head"]
    assert list(measure(["fc[12]"])) == ["fc1", "fc2", "head"]
    assert list(measure(network.linear)) == ["fc1", "fc2", "head"]
    with pytest.raises(ValueError, match="layers='fc9' is none of the network's .*did you mean"):
        measure("fc9")


def test_nothing_is_left_behind(network):
    """The network computes as before, after errors too, and is noted anew each time."""
    first = {name: array(a) for name, a in network.activations(X).items()}
    with pytest.raises(ValueError, match="none of the network's"):
        network.activations(X, "nothing")
    for name, value in network.activations(X).items():
        np.testing.assert_array_equal(array(value), first[name])


def test_the_mode_of_a_torch_network_is_kept():
    torch = pytest.importorskip("torch")
    from tapjax.adapters.torch import activations

    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.9), torch.nn.Linear(4, 2))
    net[0].eval()
    found = activations(net, torch.ones(3, 4))
    assert [m.training for m in net] == [False, True, True]
    assert not any(a.requires_grad for a in found.values()) and not net[0]._forward_hooks
    np.testing.assert_array_equal(*(activations(net, torch.ones(3, 4))["head"] for _ in range(2)))


def test_images_are_averaged_over_space_in_every_layout():
    torch, eqx, keras = map(pytest.importorskip, ("torch", "equinox", "keras"))
    import flax.linen as nn
    from flax import nnx

    from tapjax.adapters import equinox, linen
    from tapjax.adapters import keras as keras_adapter
    from tapjax.adapters import nnx as adapter
    from tapjax.adapters import torch as torch_adapter

    found = {}
    net = nn.Conv(4, (3, 3), use_bias=False, padding="VALID")
    found["linen"] = linen.activations(net, {"params": {"kernel": KERNEL}}, IMAGES)
    conv = nnx.Conv(2, 4, (3, 3), use_bias=False, padding="VALID", rngs=nnx.Rngs(0))
    conv.kernel = nnx.Param(jnp.asarray(KERNEL))
    found["nnx"] = adapter.activations(conv, jnp.asarray(IMAGES))
    conv = torch.nn.Conv2d(2, 4, 3, bias=False)
    conv.weight.data = torch.tensor(KERNEL.transpose(3, 2, 0, 1))
    first = IMAGES.transpose(0, 3, 1, 2)
    found["torch"] = torch_adapter.activations(conv, torch.tensor(first))
    conv = eqx.nn.Conv2d(2, 4, 3, use_bias=False, key=jax.random.key(0))
    conv = eqx.tree_at(lambda c: c.weight, conv, jnp.asarray(KERNEL.transpose(3, 2, 0, 1)))
    found["equinox"] = equinox.activations(conv, jnp.asarray(first))
    layer = keras.layers.Conv2D(4, 3, use_bias=False)
    layer.build(IMAGES.shape)
    layer.set_weights([KERNEL])
    found["keras"] = keras_adapter.activations(keras.Sequential([layer]), IMAGES)
    for name, layers in found.items():
        np.testing.assert_allclose(
            array(layers["head"]), array(found["linen"]["head"]), rtol=1e-4, atol=1e-5, err_msg=name
        )
        assert layers["head"].shape == (5, 4)


def test_layers_that_are_changed_in_place_are_measured_before():
    torch = pytest.importorskip("torch")
    from tapjax.adapters.torch import activations

    class Block(torch.nn.Module):
        def __init__(self, inplace):
            super().__init__()
            self.fc1, self.fc2 = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
            self.out, self.relu = torch.nn.Linear(6, 2), torch.nn.ReLU(inplace)
            self.inplace = inplace

        def forward(self, x):
            h = self.fc2(self.relu(self.fc1(x)))
            if self.inplace:
                h += x
            else:
                h = h + x
            return self.out(self.relu(h))

    plain, inplace = Block(False), Block(True)
    inplace.load_state_dict(plain.state_dict())
    x = torch.randn(9, 6)
    for name, value in activations(plain, x).items():
        np.testing.assert_array_equal(array(value), array(activations(inplace, x)[name]), name)


def squeezed():
    """(name, activations) of networks whose output has lost its last axis."""
    import flax.linen as nn

    from tapjax.adapters import linen

    net = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1), lambda h: h[:, 0]])
    yield "linen", linen.activations(net, net.init(jax.random.key(0), X), X)
    eqx, torch = map(pytest.importorskip, ("equinox", "torch"))
    from tapjax.adapters import equinox
    from tapjax.adapters import torch as of_torch

    net = eqx.nn.MLP(12, "scalar", 4, depth=1, key=jax.random.key(0))
    yield "equinox", equinox.activations(net, jnp.asarray(X))
    net = torch.nn.Sequential(
        torch.nn.Linear(12, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1), torch.nn.Flatten(0)
    )
    yield "torch", of_torch.activations(net, torch.tensor(X))


def test_an_output_without_its_last_axis_is_the_head():
    for name, found in squeezed():
        assert [a.shape for a in found.values()] == [(20, 4), (20, 1)], name
        assert list(found)[1] == "head"


def test_space_and_heads_are_told_apart():
    import flax.linen as nn

    from tapjax.adapters import linen

    tokens = jnp.ones((5, 7, 8))
    net = nn.MultiHeadDotProductAttention(2)
    found = linen.activations(net, net.init(jax.random.key(0), tokens), tokens)
    assert {a.shape for a in found.values()} == {(5, 7, 8)}
    net = nn.Conv(3, (3,))
    found = linen.activations(net, net.init(jax.random.key(0), tokens), tokens)
    assert found["head"].shape == (5, 3)
    torch, eqx, keras = map(pytest.importorskip, ("torch", "equinox", "keras"))
    from tapjax.adapters import equinox
    from tapjax.adapters import keras as of_keras
    from tapjax.adapters import torch as of_torch

    net = torch.nn.Sequential(torch.nn.Conv1d(7, 3, 3), torch.nn.BatchNorm1d(3))
    x = torch.randn(5, 7, 8)
    found = of_torch.activations(net, x)
    np.testing.assert_allclose(found["0"].numpy(), net[0](x).mean(2).detach().numpy(), rtol=1e-4)
    layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
    found = of_torch.activations(layer, torch.ones(5, 7, 8), layers=["linear1", "self_attn"])
    assert found["head"].shape == (5, 7, 8) and found["linear1"].shape == (5, 7, 2048)
    found = equinox.activations(eqx.nn.Conv1d(7, 3, 3, key=jax.random.key(0)), tokens)
    assert found["head"].shape == (5, 3)
    inputs = keras.Input((7, 8))
    net = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4)(inputs, inputs))
    with jax.numpy_rank_promotion("allow"):
        found = of_keras.activations(net, np.ones((5, 7, 8), np.float32))
    assert {a.shape for a in found.values()} == {(5, 7, 8)} and len(found) > 3


def test_of_recurrent_networks_the_whole_layer_is_measured():
    """The values of its cell exist only inside the scan."""
    import flax.linen as nn

    from tapjax.adapters import linen

    x = jnp.ones((5, 7, 8))
    net = nn.Sequential([nn.RNN(nn.LSTMCell(6)), nn.Dense(2)])
    found = linen.activations(net, net.init(jax.random.key(0), x), x)
    assert {name: np.asarray(a).shape for name, a in found.items()} == {
        "layers_0": (5, 7, 6), "head": (5, 7, 2)
    }  # fmt: skip
    keras = pytest.importorskip("keras")
    from tapjax.adapters import keras as of_keras

    net = keras.Sequential([keras.layers.LSTM(6), keras.layers.Dense(2, use_bias=False)])
    with jax.numpy_rank_promotion("allow"):
        found = of_keras.activations(net, np.ones((5, 7, 8), np.float32), layers=["lstm*"])
    assert np.asarray(found["head"]).shape == (5, 2)


@pytest.mark.parametrize("name", ["linen", "nnx", "equinox"])
def test_values_and_the_order_of_layers_survive_jit(name):
    network = FRAMEWORKS[name](WEIGHTS, BIASES)

    @jax.jit
    def measured(x):
        found = network.activations(x)
        return found, tapjax_dimensions(found)

    found, dims = measured(X)
    assert list(found) == list(dims) == ["fc1", "fc2", "head"]
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["remat", "jit", "scan"])
def test_layers_inside_of_transformations_of_linen(kind):
    import flax.linen as nn

    from tapjax.adapters.linen import activations

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            x = x + nn.Dense(8, name="b")(nn.relu(nn.Dense(8, name="a")(x)))
            return (x, None) if kind == "scan" else x

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(8, name="first")(x)
            if kind == "scan":
                each = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
                x, _ = nn.scan(Block, length=2, **each)(name="block")(x, None)
            else:
                x = {"remat": nn.remat, "jit": nn.jit}[kind](Block)(name="block")(x)
            return nn.Dense(3, name="last")(x)

    x = jnp.asarray(X)
    variables = Net().init(jax.random.key(0), x)
    if kind == "scan":
        with pytest.warns(UserWarning, match="not measured, .* vmap, scan, .*: block/a, block/b"):
            assert list(activations(Net(), variables, x)) == ["first", "head"]
        return
    found = activations(Net(), variables, x)
    assert list(found) == ["first", "block/a", "block/b", "head"]
    inner = variables["params"]["block"]["a"]
    np.testing.assert_allclose(
        found["block/a"], found["first"] @ inner["kernel"] + inner["bias"][None], rtol=1e-5
    )


def test_of_layers_inside_of_vmap_the_block_is_measured():
    """The usual way to apply a layer to tokens in Equinox."""
    eqx = pytest.importorskip("equinox")
    from tapjax.adapters.equinox import activations

    class Block(eqx.Module):
        fc: eqx.nn.Linear

        def __call__(self, x_QxD):
            return x_QxD + jax.nn.relu(jax.vmap(self.fc)(x_QxD))

    class Net(eqx.Module):
        blocks: list
        fc: eqx.nn.Linear
        bias: jax.Array  # a parameter of the network itself

        def __call__(self, x):
            for block in self.blocks:
                x = block(x)
            return self.fc(x.mean(0)) + self.bias

    key = jax.random.key(0)
    blocks = [Block(eqx.nn.Linear(4, 4, key=key)) for _ in range(2)]
    net = Net(blocks, eqx.nn.Linear(4, 3, key=key), jnp.ones(3))
    found = activations(net, jnp.ones((6, 5, 4)))
    assert {name: a.shape for name, a in found.items()} == {
        "blocks.0": (6, 5, 4), "blocks.1": (6, 5, 4), "head": (6, 3)
    }  # fmt: skip
    with pytest.raises(ValueError, match="no common first axis .* by keyword"):
        activations(net, jnp.ones((6, 5, 4)), jnp.ones(()))

    class Outer(eqx.Module):
        block: Block

        def __call__(self, x):
            return self.block(x)

    with pytest.warns(UserWarning, match="not measured, .*: block.fc"):
        assert list(activations(Outer(blocks[0]), jnp.ones((6, 5, 4)))) == ["head"]


def test_an_output_of_another_shape_is_the_head():
    torch = pytest.importorskip("torch")
    from tapjax.adapters.torch import activations

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.decoder = torch.nn.Linear(4, 8), torch.nn.Linear(8, 6)

        def forward(self, x):
            return self.decoder(self.fc(x)).view(-1, 6)

    assert list(activations(Net(), torch.ones(3, 5, 4))) == ["fc", "head"]


def test_probes_do_not_change_the_random_numbers_of_the_training():
    torch = pytest.importorskip("torch")
    from tapjax.adapters.torch import activations

    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 8)

        def forward(self, x):
            return self.fc(x) + torch.randn(8)

    net, x = Noisy(), torch.ones(3, 4)
    torch.manual_seed(5)
    first = activations(net, x)["head"]
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(activations(net, x)["head"], first)


def test_a_network_without_known_layers_is_refused():
    torch = pytest.importorskip("torch")
    from tapjax.adapters.torch import activations

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.act = torch.nn.ReLU()

        def forward(self, x):
            return self.act(x)

    with pytest.raises(ValueError, match="no layer of the network has parameters .* 'act'"):
        activations(Net(), torch.ones(3, 4))


def test_keras_in_a_stateless_loop():
    keras = pytest.importorskip("keras")
    from tapjax.adapters.keras import activations

    net = keras.Sequential([keras.layers.Dense(5, use_bias=False), keras.layers.Dropout(0.5)])
    net.build((None, 12))
    values = (
        [v.value for v in net.trainable_variables],
        [v.value for v in net.non_trainable_variables],
    )
    states = [np.asarray(v.value) for v in net.variables]
    doubled = [2 * values[0][0]], values[1]
    once = activations(net, X, layers=keras.layers.Dense)
    twice = activations(net, X, layers=keras.layers.Dense, variables=doubled)
    np.testing.assert_allclose(array(twice["head"]), 2 * array(once["head"]), rtol=1e-6)
    for before, after in zip(states, net.variables, strict=True):
        np.testing.assert_array_equal(before, np.asarray(after.value))
