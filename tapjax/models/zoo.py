"""Construction of a Model from an architecture or from a linen module.

A Model consists of pure init and apply functions.
"""

from functools import partial
from inspect import signature

import flax.linen as nn
import jax
import jax.numpy as jnp

from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import Architecture, parse_architecture
from tapjax.models.cnn import CNN
from tapjax.models.decoder import Decoder
from tapjax.models.mlp import MLP
from tapjax.models.resnet import ResNet18
from tapjax.models.style import Style
from tapjax.models.transformer import Transformer
from tapjax.models.vit import ViT
from tapjax.models.wiring import wiring
from tapjax.types import Model

MODULES = {
    "mlp": lambda arch, classes, style: MLP(arch.widths, classes, style),
    "cnn": lambda arch, classes, style: CNN(arch.widths, arch.dense, classes, style),
    "resnet": lambda arch, classes, style: ResNet18(arch.widths, classes, style),
    "transformer": lambda arch, classes, style: Transformer(
        len(arch.widths), arch.widths[0], arch.heads, classes, style.initializer
    ),
    "vit": lambda arch, classes, style: ViT(
        len(arch.widths), arch.widths[0], arch.heads, arch.patch, classes, style
    ),
}
# Collections that only show intermediate values, which a network does not need.
SEEN = ("intermediates", "activations", "perturbations")
# Default styles of families of architectures, where they differ from `Style()`.
OWN = {"resnet": Style(norm="batch"), "vit": Style("gelu", "layer", dropout=0.1)}


def make_model(name: str, shape: tuple[int, ...], classes: int, init="lecun", **style) -> Model:
    """Make the Model of a named architecture.

    Args:
      name: name or description that `architectures.parse_architecture` accepts.
      shape: shape of one input, (H, W, C).
      classes: number of outputs.
      init: kind of initialisation, see `layers.initializers`.
      **style: fields of `Style` that replace the architecture's defaults.

    Returns:
      A Model.
    """
    arch = parse_architecture(name)
    return build(arch, shape, classes, own_style(arch, initializer=init, **style))


def own_style(arch: Architecture, **style) -> Style:
    """Return the default style of an architecture, with the given fields replaced."""
    return OWN.get(arch.family, Style())._replace(**style)


def build(
    arch: Architecture, shape: tuple[int, ...], classes: int, style: Style, every_position=False
) -> Model:
    """Make the Model of an architecture in a style; `every_position` is that of a decoder."""
    if arch.family == "decoder":
        module = Decoder(arch, classes, style, every_position)
    else:
        module = MODULES[arch.family](arch, classes, style)
    model = from_module(module, shape)
    return model._replace(
        affine=partial(_affine, names=model.layer_names),
        units=lambda params, stats: wiring(arch, params, stats, style.activation),
    )


def _affine(params, names, path=()):
    """Return the maps of all `layers.Linear` whose outputs are measured under the module's name."""
    name = "_".join(path)
    if name in names and params.keys() == {"kernel", "bias"} and params["kernel"].ndim == 2:
        return {name: jnp.vstack([params["kernel"], params["bias"]])}
    below = [(key, part) for key, part in params.items() if isinstance(part, dict)]
    return {k: v for key, part in below for k, v in _affine(part, names, (*path, key)).items()}


def check_module(module, name: str, shape: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    """Check that a user-defined module can be measured.

    Args:
      module: return value of the function that the config names.
      name: `model.name`.
      shape: shape of one input.
      outputs: shape of the outputs for one input.

    Raises:
      ConfigError: if it cannot be measured; the message describes what to return instead.
    """
    refused = f"model.name={name!r}"
    wanted = "return (logits, {'layer': activations, ..., 'head': logits})"
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"{refused}: the function must return a flax.linen module or a tapjax.types.Model, not "
            f"{type(module).__name__}"
        )
    example = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    called = []  # a list, because eval_shape sorts the names in its result

    def trace(key, x):
        called.append(module.init_with_output(key, x, **_mode(module, train=False)))

    try:
        jax.eval_shape(trace, jax.random.key(0), example)
    except Exception as error:  # user-defined code may raise any exception
        said = " ".join(str(error).split())
        raise ConfigError(f"{refused}: {type(error).__name__}: {said}") from error
    found, variables = called[-1]
    if not variables.get("params"):
        raise ConfigError(f"{refused}: the module has no parameters to train")
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], dict):
        what = "logits alone" if hasattr(found, "shape") else type(found).__name__
        raise ConfigError(
            f"{refused}: its call returns {what}, with no layers to measure: {wanted}"
        )
    logits, hidden = found
    if getattr(logits, "shape", None) != (2, *outputs):
        shape = getattr(logits, "shape", ())
        raise ConfigError(f"{refused}: its logits are {shape} for {(2, *outputs)}: {wanted}")
    layers = [getattr(layer, "shape", ()) for layer in hidden.values()]
    if len(layers) < 2 or layers[-1] != logits.shape:
        raise ConfigError(f"{refused}: needs a hidden layer, and the logits as the last: {wanted}")
    for layer, size in zip(hidden, layers, strict=True):
        if len(size) not in (2, 3, 4) or size[0] != 2:
            raise ConfigError(
                f"{refused}: {layer!r} has shape {size}, not [B, D], [B, Q, D] or [B, H, W, C]"
            )


def from_module(module, shape: tuple[int, ...]) -> Model:
    """Wrap a linen module whose call returns (logits, dict of named hidden layers).

    Args:
      module: linen module, `(x, train) -> (logits, hidden)`; the last entry of the dict is the
        head. A module without an argument `train` is called in the same way in training and
        evaluation.
      shape: shape of one input.

    Returns:
      A Model.
    """
    mode, evaluating = (_mode(module, train) for train in (True, False))
    example = jnp.zeros((1, *shape), jnp.float32)
    names = []

    def init(key):
        variables = module.init(key, example, **evaluating)
        params = variables.pop("params")
        return params, {name: v for name, v in variables.items() if name not in SEEN}

    def trace(key):
        (_, hidden), _ = module.init_with_output(key, example, **evaluating)
        names.extend(hidden)

    jax.eval_shape(trace, jax.random.key(0))

    def apply(params, stats, x, key=None):
        variables = {"params": params, **stats}
        if key is None:
            logits, hidden = module.apply(variables, x, **evaluating)
            return logits, tuple(hidden.values()), stats
        (logits, hidden), stats = module.apply(
            variables, x, mutable=list(stats), rngs={"dropout": key}, **mode
        )
        return logits, tuple(hidden.values()), stats

    def capture(params, stats, x):
        variables = {"params": params, **stats}
        _, found = module.apply(variables, x, mutable=["intermediates"], **evaluating)
        leaves = jax.tree_util.tree_leaves_with_path(found.get("intermediates", {}))
        # The last part of a path is the position in the tuple of values sown under this name.
        name = partial(jax.tree_util.keystr, simple=True, separator="/")
        return {name(path[:-1]): leaf for path, leaf in leaves}

    def watch(params, stats, x, shifts=None, key=None):
        variables = {"params": params, **stats}
        if shifts is not None:
            variables["perturbations"] = shifts
        training = evaluating if key is None else mode | {"rngs": {"dropout": key}}
        changing = ["activations", *(() if key is None else stats)]
        (logits, _), found = module.apply(variables, x, mutable=changing, **training)
        sown = found.pop("activations", {})
        seen = jax.tree.map(lambda a: a[0], sown, is_leaf=lambda a: isinstance(a, tuple))
        return logits, seen, stats if key is None else found

    return Model(init, apply, tuple(names), capture, watch)


def _mode(module, train: bool) -> dict:
    """Return the argument `train` for a module's call; nothing if it has no such argument."""
    return {"train": train} if "train" in signature(module.__call__).parameters else {}
