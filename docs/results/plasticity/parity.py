"""Compare outputs of a clone and its base for every architecture, norm and activation.

    python docs/results/plasticity/parity.py --out=docs/results/plasticity/parity.csv

All parameters are random, and none has its default value. The inputs are 16 random images of
16x16x3. `original` is the published recipe, which does not rescale the queries of attention
although the heads become wider.
"""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags

from tapjax.contract.architectures import parse_architecture
from tapjax.models.style import ACTIVATIONS, NORMS, Style
from tapjax.models.zoo import build
from tapjax.plasticity import cloning

OUT = flags.DEFINE_string("out", "parity.csv", "Table.")
MODELS = (
    "mlp:widths=96-64", "cnn:channels=32-64,fc=48", "resnet:channels=32-64",
    "vit:depth=2,width=32,heads=2",
)  # fmt: skip
# Norms that would erase all information in a vector. Configs with these norms are refused.
REFUSED = {"mlp": ("instance",), "vit": ("group", "instance")}
SHAPE, CLASSES, FACTOR = (16, 16, 3), 10, 2


def compare(name: str, style: Style) -> dict[str, float]:
    """Compare the logits of a base with those of its clone.

    Args:
      name: architecture of the base.
      style: style of both networks.

    Returns:
      `difference`, the largest absolute difference between the logits; `largest`, the largest
      absolute logit; and, for architectures with queries, `original`, the difference under the
      published recipe.
    """
    arch = parse_architecture(name)
    small = build(arch, SHAPE, CLASSES, style)
    wide = build(cloning.wider(arch, FACTOR), SHAPE, CLASSES, style)

    @jax.jit
    def both(key):
        params, stats = small.init(key)
        leaves, structure = jax.tree.flatten((params, stats))
        keys = jax.random.split(key, len(leaves))
        moved = [
            a * (1 + 0.2 * jax.random.uniform(k, a.shape))
            + jax.random.uniform(k, a.shape, minval=-0.02, maxval=0.02)
            for a, k in zip(leaves, keys, strict=True)
        ]
        params, stats = jax.tree.unflatten(structure, moved)
        like = jax.eval_shape(wide.init, key)
        clone = [
            cloning.expand(tree, shapes, FACTOR)
            for tree, shapes in zip((params, stats), like, strict=True)
        ]
        x = jax.random.normal(jax.random.fold_in(key, 1), (16, *SHAPE))
        logits, cloned = small.apply(params, stats, x)[0], wide.apply(*clone, x)[0]
        published = wide.apply(unscaled(clone[0]), clone[1], x)[0]
        return [jnp.abs(a).max() for a in (cloned - logits, logits, published - logits)]

    difference, largest, original = map(float, both(jax.random.key(0)))
    found = {"difference": difference, "largest": largest}
    return found | ({"original": original} if "vit" in name else {})


def unscaled(params):
    """Return the parameters of a clone with the queries of the published recipe.

    Args:
      params: parameters of the clone.

    Returns:
      The same parameters, with the queries not rescaled.
    """

    def one(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return leaf * FACTOR**0.5 if f"/{cloning.ROOT}/" in f"/{name}" else leaf

    return jax.tree_util.tree_map_with_path(one, params)


def main(_):
    """Write the table of all architectures, norms and activations."""
    fields = ("model", "norm", "activation", "difference", "largest", "original")
    with Path(OUT.value).open("w", newline="") as file:
        table = csv.DictWriter(file, fields)
        table.writeheader()
        for name in MODELS:
            refused = REFUSED.get(name.partition(":")[0], ())
            for norm in (norm for norm in NORMS if norm not in refused):
                for activation in sorted(set(ACTIVATIONS) - {"none", "crelu"}):
                    style = Style(activation, norm, initializer="torch")
                    row = {"model": name, "norm": norm, "activation": activation}
                    table.writerow(row | compare(name, style))
                    file.flush()


if __name__ == "__main__":
    app.run(main)
