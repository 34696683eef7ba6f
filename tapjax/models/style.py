"""What networks of one architecture can differ in: activation, normalisation and dropout."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tapjax.models.layers import dropout

EPSILON = 1e-5  # PyTorch's; Flax has 1e-6
MOMENTUM = 0.9  # what PyTorch calls 0.1
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
# Activations that let 2 x 2 max-pooling come first, at a quarter of the work.
MONOTONE = ("relu", "leaky_relu", "tanh", "sigmoid", "elu", "selu", "none")


class Style(NamedTuple):
    """`norm` of `NORMS` with or without parameters of its own (`affine`), before the activation or
    after it (`norm_after`); `activation` of `ACTIVATIONS`; share of `dropout`; `initializer`."""

    activation: str = "relu"
    norm: str = "none"
    affine: bool = True
    norm_after: bool = False
    dropout: float = 0.0
    initializer: str = "lecun"


def normalise(style: Style, name: str, x, train: bool):
    """Normalise a layer's outputs; to be called inside a module's compact method.

    Args:
      style: which normalisation.
      name: of its parameters.
      x: [B, D], [B, Q, D] or [B, H, W, C]. `layer` takes all places of an image together, as
        PyTorch networks for images do, and each token alone.
      train: use the batch's own statistics, and update the running ones.

    Returns:
      Like x.
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
    """Groups of a group normalisation: the most, up to 32, that channels fall into evenly."""
    return max(n for n in range(1, MOST_GROUPS + 1) if channels % n == 0)


def activate(module, style: Style, name: str, z, train: bool, pool=None):
    """The second half of a stage: normalisation and activation, pooling, dropout.

    Args:
      module: the linen module whose compact method calls.
      style: which ones, in which order.
      name: of the layer that z comes from.
      z: its outputs.
      train: see `normalise`.
      pool: of images, None for none.

    Returns:
      The stage's output. Before dropout it is `watched` under the layer's name.
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
    """Dropout with the module's own stream of randomness."""
    return dropout(module.make_rng("dropout"), h, rate) if train and rate else h


def watched(module, name: str, h):
    """Make a layer's activations visible: they can be read (collection `activations`), and so can
    the gradient by them (collection `perturbations`).

    Args:
      module: the linen module whose compact method calls.
      name: of the layer.
      h: its activations.

    Returns:
      h, shown as `NAME_units`.
    """
    name = f"{name}_units"
    module.sow("activations", name, h)
    return module.perturb(name, h) if module.has_variable("perturbations", name) else h
