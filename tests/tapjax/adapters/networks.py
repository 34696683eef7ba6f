"""The same perceptron in five libraries, from given weights."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest


class Network(NamedTuple):
    """A perceptron with layers `fc1`, `fc2`, ... of which the last is the output.

    `activations(x, layers)` and `weights()` are those of its adapter, `linear` is the type of its
    layers.
    """

    activations: Callable
    weights: Callable
    linear: type


def array(value):
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


def of_torch(kernels, biases):
    torch = pytest.importorskip("torch")
    from tapjax.adapters.torch import activations, weights

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for i, (w, b) in enumerate(zip(kernels, biases, strict=True), 1):
                layer = torch.nn.Linear(*w.shape)
                layer.weight.data, layer.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
                setattr(self, f"fc{i}", layer)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x):
            for i in range(1, len(kernels)):
                x = self.drop(torch.relu(getattr(self, f"fc{i}")(x)))
            return getattr(self, f"fc{len(kernels)}")(x)

    net = Net()
    return Network(
        lambda x, layers=None: activations(net, torch.tensor(x), layers=layers),
        lambda: weights(net),
        torch.nn.Linear,
    )


def of_linen(kernels, biases):
    import flax.linen as nn

    from tapjax.adapters.linen import activations

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for i, w in enumerate(kernels[:-1], 1):
                x = nn.relu(nn.Dense(w.shape[1], name=f"fc{i}")(x))
            return nn.Dense(kernels[-1].shape[1], name=f"fc{len(kernels)}")(x)

    params = {
        f"fc{i}": {"kernel": w, "bias": b}
        for i, (w, b) in enumerate(zip(kernels, biases, strict=True), 1)
    }
    return Network(
        lambda x, layers=None: activations(Net(), {"params": params}, x, layers=layers),
        lambda: params,
        nn.Dense,
    )


def of_nnx(kernels, biases):
    from flax import nnx

    from tapjax.adapters.nnx import activations, weights

    class Net(nnx.Module):
        def __init__(self):
            for i, (w, b) in enumerate(zip(kernels, biases, strict=True), 1):
                layer = nnx.Linear(*w.shape, rngs=nnx.Rngs(0))
                layer.kernel, layer.bias = nnx.Param(jnp.asarray(w)), nnx.Param(jnp.asarray(b))
                setattr(self, f"fc{i}", layer)

        def __call__(self, x):
            for i in range(1, len(kernels)):
                x = nnx.relu(getattr(self, f"fc{i}")(x))
            return getattr(self, f"fc{len(kernels)}")(x)

    net = Net()
    return Network(
        lambda x, layers=None: activations(net, jnp.asarray(x), layers=layers),
        lambda: weights(net),
        nnx.Linear,
    )


def of_equinox(kernels, biases):
    eqx = pytest.importorskip("equinox")
    from tapjax.adapters.equinox import activations, weights

    # Its layers have the names of fields, which are written down for up to three.
    class Net(eqx.Module):
        fc1: eqx.nn.Linear
        fc2: eqx.nn.Linear
        fc3: eqx.nn.Linear

        def __call__(self, x):
            return self.fc3(jax.nn.relu(self.fc2(jax.nn.relu(self.fc1(x)))))

    def linear(w, b):
        layer = eqx.nn.Linear(*w.shape, key=jax.random.key(0))
        parts = (jnp.asarray(w.T), jnp.asarray(b))
        return eqx.tree_at(lambda each: (each.weight, each.bias), layer, parts)

    net = Net(*map(linear, kernels, biases))
    return Network(
        lambda x, layers=None: activations(net, jnp.asarray(x), layers=layers),
        lambda: weights(net),
        eqx.nn.Linear,
    )


def of_keras(kernels, biases):
    keras = pytest.importorskip("keras")
    from tapjax.adapters.keras import activations, weights

    stack = [keras.Input(kernels[0].shape[:1])]
    for i, w in enumerate(kernels, 1):
        stack += [keras.layers.Dense(w.shape[1], name=f"fc{i}"), keras.layers.ReLU()]
    net = keras.Sequential(stack[:-1])
    net.set_weights([a for pair in zip(kernels, biases, strict=True) for a in pair])

    def measured(x, layers=None):
        with jax.numpy_rank_promotion("allow"):  # Keras adds biases in this way
            return activations(net, x, layers=layers)

    return Network(
        measured,
        lambda: weights(net),
        keras.layers.Dense,
    )


FRAMEWORKS = {
    "torch": of_torch, "linen": of_linen, "nnx": of_nnx, "equinox": of_equinox, "keras": of_keras,
}  # fmt: skip
