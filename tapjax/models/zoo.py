"""From an architecture to a Model: pure init and apply functions around a linen module."""

from functools import partial

import jax
import jax.numpy as jnp

from analysis.architectures import Architecture, parse_architecture
from tapjax.models.cnn import CNN
from tapjax.models.mlp import MLP
from tapjax.models.resnet import ResNet18
from tapjax.models.style import Style
from tapjax.models.transformer import Transformer
from tapjax.models.vit import ViT
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
# Collections that show what happens inside, as opposed to what a network needs.
SEEN = ("intermediates", "activations", "perturbations")
# What an architecture has where a config does not say otherwise.
OWN = {"resnet": Style(norm="batch"), "vit": Style("gelu", "layer", dropout=0.1)}


def make_model(name: str, shape: tuple[int, ...], classes: int, init="lecun", **style) -> Model:
    """The Model of a named architecture.

    Args:
      name: as `architectures.parse_architecture` reads it.
      shape: shape of one input, (H, W, C).
      classes: outputs.
      init: of `layers.initializers`.
      **style: fields of `Style` other than the architecture's own.

    Returns:
      A Model.
    """
    arch = parse_architecture(name)
    return build(arch, shape, classes, own_style(arch, initializer=init, **style))


def own_style(arch: Architecture, **style) -> Style:
    """The style of an architecture where nothing else is asked for."""
    return OWN.get(arch.family, Style())._replace(**style)


def build(arch: Architecture, shape: tuple[int, ...], classes: int, style: Style) -> Model:
    """The Model of an architecture in a style."""
    return from_module(MODULES[arch.family](arch, classes, style), shape)


def from_module(module, shape: tuple[int, ...]) -> Model:
    """Wrap a linen module whose call returns (logits, dict of named hidden layers).

    Args:
      module: linen module, `(x, train) -> (logits, hidden)`; the dict's last entry is the head.
      shape: shape of one input.

    Returns:
      A Model.
    """
    example = jnp.zeros((1, *shape), jnp.float32)
    names = []

    def init(key):
        variables = module.init(key, example)
        params = variables.pop("params")
        return params, {name: v for name, v in variables.items() if name not in SEEN}

    def trace(key):
        (_, hidden), _ = module.init_with_output(key, example)
        names.extend(hidden)

    jax.eval_shape(trace, jax.random.key(0))

    def apply(params, stats, x, key=None):
        variables = {"params": params, **stats}
        if key is None:
            logits, hidden = module.apply(variables, x)
            return logits, tuple(hidden.values()), stats
        (logits, hidden), stats = module.apply(
            variables, x, train=True, mutable=list(stats), rngs={"dropout": key}
        )
        return logits, tuple(hidden.values()), stats

    def capture(params, stats, x):
        _, found = module.apply({"params": params, **stats}, x, mutable=["intermediates"])
        leaves = jax.tree_util.tree_leaves_with_path(found.get("intermediates", {}))
        # A path ends with the position in the tuple of all that was sown there.
        name = partial(jax.tree_util.keystr, simple=True, separator="/")
        return {name(path[:-1]): leaf for path, leaf in leaves}

    def watch(params, stats, x, shifts=None, key=None):
        variables = {"params": params, **stats}
        if shifts is not None:
            variables["perturbations"] = shifts
        training = {} if key is None else {"train": True, "rngs": {"dropout": key}}
        changing = ["activations", *(() if key is None else stats)]
        (logits, _), found = module.apply(variables, x, mutable=changing, **training)
        sown = found.pop("activations", {})
        seen = jax.tree.map(lambda a: a[0], sown, is_leaf=lambda a: isinstance(a, tuple))
        return logits, seen, stats if key is None else found

    return Model(init, apply, tuple(names), capture, watch)
