"""From an architecture to a Model: pure init and apply functions around a linen module."""

from functools import partial

import jax
import jax.numpy as jnp

from analysis.architectures import parse_architecture
from tapjax.models.cnn import CNN
from tapjax.models.mlp import MLP
from tapjax.models.resnet import ResNet18
from tapjax.models.transformer import Transformer
from tapjax.types import Model

MODULES = {
    "mlp": lambda arch, classes, init: MLP(arch.widths, classes, init),
    "cnn": lambda arch, classes, init: CNN(arch.widths, classes, init),
    "resnet": lambda arch, classes, init: ResNet18(arch.widths, classes, init),
    "transformer": lambda arch, classes, init: Transformer(
        len(arch.widths), arch.widths[0], arch.heads, classes, init
    ),
}


def make_model(name: str, shape: tuple[int, ...], classes: int, init: str = "lecun") -> Model:
    """The Model of a named architecture.

    Args:
      name: as `architectures.parse_architecture` reads it.
      shape: shape of one input, (H, W, C).
      classes: outputs.
      init: `lecun` or `torch`.

    Returns:
      A Model.
    """
    arch = parse_architecture(name)
    return from_module(MODULES[arch.family](arch, classes, init), shape)


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
        variables.pop("intermediates", None)
        return params, variables

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

    return Model(init, apply, tuple(names), capture)
