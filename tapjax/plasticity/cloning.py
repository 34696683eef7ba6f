"""Cloning of networks: wider networks that compute the same function, and comparison of the clones.

Every unit is replaced by f clones. The clones of unit u have the indices u f, ..., u f + f - 1. A
kernel that leads into cloned units is repeated. A kernel that leads out of cloned units is
repeated and divided by f. All weights between the clones of two units are therefore equal.
"""

import jax
import jax.numpy as jnp

from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import Architecture
from tapjax.models.style import Style, group_count

# Attention scores are divided by the square root of a head's width, and cloning makes heads f times
# as wide. The parameters of the queries are therefore multiplied by f^(-1/2).
ROOT = "query"


def wider(arch: Architecture, factor: int) -> Architecture:
    """Return an architecture with f times as many units everywhere except in input and output.

    Args:
      arch: architecture of the smaller network.
      factor: number of clones per unit, f.

    Returns:
      The wider Architecture.
    """
    widths, dense = (tuple(factor * n for n in sizes) for sizes in (arch.widths, arch.dense))
    return arch._replace(name=f"{arch.name} x{factor}", widths=widths, dense=dense)


def check_groups(arch: Architecture, style: Style, factor: int) -> None:
    """Check that group normalisation groups the same units after cloning.

    Args:
      arch: architecture before cloning.
      style: style of both networks.
      factor: number of clones per unit, f.

    Raises:
      ConfigError: if the groups differ; the message names the width.
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
    """Return the parameters, or the running statistics, of the cloned network.

    Args:
      tree: nested dict of arrays of the smaller network.
      like: nested dict of shapes of the wider network.
      factor: number of clones per unit, f.

    Returns:
      A tree with the shapes of `like`.

    Raises:
      ValueError: if the wider network is not f times as wide.
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
    """Separate the clones of each unit.

    Args:
      a_NxE: activations of cloned units, [N, D f].
      factor: number of clones per unit, f.

    Returns:
      Activations [N, D, f].
    """
    return a_NxE.reshape(len(a_NxE), -1, factor)


def unexplained(a_NxE, factor: int):
    """Compute the difference between clones: the variance within clones over the total, 1 - R^2.

    Args:
      a_NxE: activations of the cloned layer, or gradients with respect to them, [N, D f].
      factor: number of clones per unit, f.

    Returns:
      Scalar; 0 for perfect clones, not-a-number for a layer whose activations do not vary.
    """
    a = clones(a_NxE, factor)
    apart = a - a[..., :1]  # exactly 0 for equal clones
    within = jnp.square(apart - apart.mean(-1, keepdims=True)).sum()
    return within / jnp.square(a - a.mean()).sum()


def similarity(base_NxD, clone_NxE, factor: int):
    """Compute the cosines between the activations of the smaller and the cloned network.

    One set of clones contains one clone of every unit. The cosines are computed for each sample and
    each of the f sets.

    Args:
      base_NxD: activations of the smaller network.
      clone_NxE: activations of the cloned network, [N, D f].
      factor: number of clones per unit, f.

    Returns:
      Dict of two scalars: `activation_similarity`, the mean cosine between the smaller network and
      each set of clones, and `feature_alignment`, 1 / (1 + variance of the cosine over the sets),
      averaged over samples.
    """
    sets_fxNxD = jnp.moveaxis(clones(clone_NxE, factor), -1, 0)
    norm_fxN, norm_1xN = (jnp.linalg.norm(a, axis=-1) for a in (sets_fxNxD, base_NxD[None]))
    cosine_fxN = (sets_fxNxD * base_NxD[None]).sum(-1) / jnp.maximum(norm_fxN * norm_1xN, 1e-12)
    silent = (norm_fxN == 0) & (norm_1xN == 0)  # in both networks, as for dead units
    cosine_fxN = jnp.where(silent, 1.0, cosine_fxN)
    return {
        "activation_similarity": cosine_fxN.mean(),
        "feature_alignment": (1 / (1 + cosine_fxN.var(0))).mean(),
    }
