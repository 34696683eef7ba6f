"""Style of a network of a given architecture: activation, normalisation, dropout."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tapjax.models.layers import dropout

EPSILON = 1e-5  # default of PyTorch; that of Flax is 1e-6
MOMENTUM = 0.9  # equals a momentum of 0.1 in PyTorch's definition
MOST_GROUPS = 32

ACTIVATIONS = {
    "relu": nn.relu,
    "leaky_relu": lambda z: nn.leaky_relu(z, 0.1),
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": lambda z: nn.gelu(z, approximate=False),
    "elu": nn.elu,
    "selu": nn.selu,
    "crelu": lambda z: jnp.concatenate([nn.relu(z), nn.relu(-z)], -1),
    "none": lambda z: z,
}
NORMS = ("none", "batch", "layer", "group", "instance")
# Monotone activations, for which 2 x 2 max-pooling can come first. The activation is then computed
# for a quarter of the values.
MONOTONE = ("relu", "leaky_relu", "tanh", "sigmoid", "elu", "selu", "none")


class Style(NamedTuple):
    """Activation, normalisation, dropout and initialisation of a network.

    `activation` is a key of `ACTIVATIONS`. `norm` is one of `NORMS`. `affine` tells whether the
    normalisation has learned parameters, and `norm_after` whether it comes after the activation
    instead of before it. `dropout` is the share of dropped activations. `initializer` is a kind of
    `layers.initializers`.
    """

    activation: str = "relu"
    norm: str = "none"
    affine: bool = True
    norm_after: bool = False
    dropout: float = 0.0
    initializer: str = "lecun"


def normalise(style: Style, name: str, x, train: bool):
    """Normalise the outputs of a layer.

    It must be called inside a module's compact method.

    Args:
      style: style that determines the normalisation.
      name: name of the normalisation's parameters.
      x: outputs [B, D], [B, Q, D] or [B, H, W, C]. `layer` normalises all positions of an image
        together, as PyTorch networks for images do, and each token separately.
      train: whether to use the batch's own statistics and update the running statistics.

    Returns:
      Array like x.
    """
    own = {"use_scale": style.affine, "use_bias": style.affine, "epsilon": EPSILON, "name": name}
    if style.norm == "none":
        return x
    if style.norm == "batch":
        return nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, **own)(x)
    if style.norm == "layer" and x.ndim != 4:
        return nn.LayerNorm(**own)(x)
    channels = x.shape[-1]
    groups = {"layer": 1, "group": group_count(channels), "instance": channels}[style.norm]
    return nn.GroupNorm(num_groups=groups, **own)(x)


def group_count(channels: int) -> int:
    """Return the number of groups of a group normalisation.

    It is the largest number up to 32 that divides the number of channels.

    Args:
      channels: number of channels.

    Returns:
      Number of groups, from 1 to 32.
    """
    return max(n for n in range(1, MOST_GROUPS + 1) if channels % n == 0)


def activate(module, style: Style, name: str, z, train: bool, pool=None):
    """Apply the second half of a stage: normalisation and activation, pooling, dropout.

    Args:
      module: linen module whose compact method calls this function.
      style: style that determines the operations and their order.
      name: name of the layer whose outputs are z.
      z: outputs of this layer.
      train: whether the network is in training mode, see `normalise`.
      pool: pooling function for images; None for no pooling.

    Returns:
      The output of the stage. The value before dropout is made visible by `watched` under the
      layer's name.
    """
    act, pool = ACTIVATIONS[style.activation], pool or (lambda z: z)
    early = style.activation in MONOTONE
    if style.norm_after:
        h = normalise(style, f"{name}_norm", act(pool(z)) if early else act(z), train)
        h = h if early else pool(h)
    else:
        z = normalise(style, f"{name}_norm", z, train)
        h = act(pool(z)) if early else pool(act(z))
    return drop(module, style.dropout, watched(module, name, h), train)


def drop(module, rate: float, h, train: bool):
    """Apply dropout with the module's own stream of random numbers."""
    return dropout(module.make_rng("dropout"), h, rate) if train and rate else h


def watched(module, name: str, h):
    """Make the activations of a layer visible.

    The activations can be read in the collection `activations`. The gradient with respect to them
    can be computed through the collection `perturbations`.

    Args:
      module: linen module whose compact method calls this function.
      name: name of the layer.
      h: activations of the layer.

    Returns:
      The activations h, registered as `NAME_units`.
    """
    return _visible(module, f"{name}_units", h)


def watched_heads(module, h_BxQxHxD):
    """Make the outputs of the heads of an attention layer visible, as `heads`; see `watched`."""
    return _visible(module, "heads", h_BxQxHxD)


def _visible(module, name, h):
    module.sow("activations", name, h)
    return module.perturb(name, h) if module.has_variable("perturbations", name) else h
