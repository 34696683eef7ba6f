"""Wider networks that compute the same function: every unit cloned, and what becomes of the clones.

The clones of unit u are the neighbours u f, ..., u f + f - 1. A kernel that leads into cloned
units is repeated, one that leads out of them is repeated and divided by f, so that all weights
between two units' clones are equal.
"""

import jax
import jax.numpy as jnp

from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import Architecture
from tapjax.models.style import Style, group_count

# Attention's scores are divided by the root of a head's width, and clones make heads f times wider.
ROOT = "query"


def wider(arch: Architecture, factor: int) -> Architecture:
    """An architecture with f times the units everywhere but in input and output."""
    widths, dense = (tuple(factor * n for n in sizes) for sizes in (arch.widths, arch.dense))
    return arch._replace(name=f"{arch.name} x{factor}", widths=widths, dense=dense)


def check_groups(arch: Architecture, style: Style, factor: int) -> None:
    """Refuse a group normalisation that would take other units together.

    Raises:
      ConfigError: naming the width.
    """
    if style.norm != "group":
        return
    for width in arch.widths:
        if group_count(width) != group_count(factor * width):
            raise ConfigError(
                f"model.norm='group': {width} units fall into {group_count(width)} groups, "
                f"{factor * width} into {group_count(factor * width)}; clone multiples of 32"
            )


def expand(tree, like, factor: int):
    """Parameters, or running statistics, of the cloned network.

    Args:
      tree: nested dict of the smaller network.
      like: shapes of the wider one.
      factor: clones of every unit, f.

    Returns:
      A tree shaped as `like`.

    Raises:
      ValueError: the wider network is not f times as wide.
    """

    def one(path, leaf, wanted):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        cloned = [axis for axis in range(leaf.ndim) if leaf.shape[axis] != wanted.shape[axis]]
        for axis in cloned:
            leaf = jnp.repeat(leaf, factor, axis)
        if leaf.shape != wanted.shape:
            raise ValueError(f"{name}: {leaf.shape} does not fit {wanted.shape}")
        if name.endswith("kernel") and leaf.ndim - 2 in cloned:
            leaf = leaf / factor
        return leaf * factor**-0.5 if f"/{ROOT}/" in f"/{name}" else leaf

    return jax.tree_util.tree_map_with_path(one, tree, like)


def clones(a_NxE, factor: int):
    """Activations of cloned units, [N, D, f]."""
    return a_NxE.reshape(len(a_NxE), -1, factor)


def unexplained(a_NxE, factor: int):
    """What differs between clones: the variance within clones over the whole, 1 - R^2.

    Args:
      a_NxE: activations of the cloned layer, or gradients by them.
      factor: clones of every unit.

    Returns:
      0 for perfect clones; not-a-number for a layer that does not vary.
    """
    a = clones(a_NxE, factor)
    apart = a - a[..., :1]  # exactly 0 of equal clones
    within = jnp.square(apart - apart.mean(-1, keepdims=True)).sum()
    return within / jnp.square(a - a.mean()).sum()


def similarity(base_NxD, clone_NxE, factor: int):
    """Cosines of a sample's activations before and after cloning.

    Args:
      base_NxD: activations of the smaller network.
      clone_NxE: those of the cloned one.
      factor: clones of every unit.

    Returns:
      `activation_similarity`, the mean cosine of base and each set of clones; `feature_alignment`,
      1 / (1 + variance over these sets), mean over samples.
    """
    sets_fxNxD = jnp.moveaxis(clones(clone_NxE, factor), -1, 0)
    norm_fxN, norm_1xN = (jnp.linalg.norm(a, axis=-1) for a in (sets_fxNxD, base_NxD[None]))
    cosine_fxN = (sets_fxNxD * base_NxD[None]).sum(-1) / jnp.maximum(norm_fxN * norm_1xN, 1e-12)
    silent = (norm_fxN == 0) & (norm_1xN == 0)  # in both, as where every unit is dead
    cosine_fxN = jnp.where(silent, 1.0, cosine_fxN)
    return {
        "activation_similarity": cosine_fxN.mean(),
        "feature_alignment": (1 / (1 + cosine_fxN.var(0))).mean(),
    }
