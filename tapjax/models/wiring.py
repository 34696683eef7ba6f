"""Which parameters lead into the units of a layer and which lead out of them."""

from typing import NamedTuple

import numpy as np

from analysis.architectures import Architecture, pooled_sides
from tapjax.config import ConfigError


class Wire(NamedTuple):
    """Parameters by path, and the axis along which they belong to units.

    Along the axis the units come `repeats` times, one round after another: once for each place of
    an image that is flattened.
    """

    path: tuple[str, ...]
    axis: int
    repeats: int = 1


class Units(NamedTuple):
    """The units of a layer, as `Model.watch` names it: kernels that lead `into` them, their biases,
    parameters of their `norm`, and kernels that lead `out` of them with the bias behind these."""

    name: tuple[str, ...]
    into: Wire
    bias: Wire | None
    norm: tuple[Wire, ...]
    out: Wire
    out_bias: tuple[str, ...] | None


def wiring(arch: Architecture, shape, params) -> list[Units]:
    """The units of an architecture that have parameters of their own on both sides.

    Args:
      arch: architecture; of a resnet these are the channels inside of blocks, of transformers the
        hidden units of the feed-forward parts.
      shape: of one input.
      params: its parameters, or their shapes.

    Returns:
      One entry a layer.

    Raises:
      ConfigError: a family of which nothing is known.
    """
    if arch.family in ("mlp", "cnn"):
        return _plain(arch, shape, params)
    if arch.family == "resnet":
        pairs = [((f"{b}_conv_0",), (f"{b}_conv_1",)) for b in _blocks(params)]
    elif arch.family in ("transformer", "vit"):
        pairs = [((b, "linear_0"), (b, "linear_1")) for b in _blocks(params)]
    else:
        raise ConfigError(f"model.name={arch.name!r}: it is not known how its units are wired")
    return [_units(params, first, second) for first, second in pairs]


def _blocks(params):
    """Names of blocks, in order."""
    names = {name.removesuffix("_conv_0") for name in params if name.startswith("block_")}
    names = {name for name in names if "conv" not in name and "shortcut" not in name}
    return sorted(names, key=lambda name: [int(n) for n in name.split("_")[1:] if n.isdigit()])


def _plain(arch, shape, params):
    kind = "hidden" if arch.family == "mlp" else "conv"
    names = [f"{kind}_{i}" for i in range(len(arch.widths))]
    names += [f"dense_{i}" for i in range(len(arch.dense))] + ["head"]
    places = 1
    if arch.family == "cnn":
        sides = [pooled_sides(side, len(arch.widths))[-1] for side in shape[:2]]
        places = int(np.prod(sides))
    found = []
    for first, second in zip(names, names[1:], strict=False):
        flattened = first.startswith("conv") and not second.startswith("conv")
        found.append(_units(params, (first,), (second,), places if flattened else 1))
    return found


def _units(params, first, second, repeats=1):
    into, out = lookup(params, first), lookup(params, second)
    norm_path = (*first[:-1], f"{first[-1]}_norm")
    norm = lookup(params, norm_path) if norm_path[0] in params and len(first) == 1 else {}
    return Units(
        name=(*first[:-1], f"{first[-1]}_units"),
        into=Wire((*first, "kernel"), len(into["kernel"].shape) - 1),
        bias=Wire((*first, "bias"), 0) if "bias" in into else None,
        norm=tuple(Wire((*norm_path, part), 0) for part in norm),
        out=Wire((*second, "kernel"), len(out["kernel"].shape) - 2, repeats),
        out_bias=(*second, "bias") if "bias" in out else None,
    )


def lookup(tree, path):
    """A part of a nested dict."""
    for name in path:
        tree = tree[name]
    return tree


def replaced(tree, path, value):
    """A nested dict with one part replaced."""
    if not path:
        return value
    return tree | {path[0]: replaced(tree[path[0]], path[1:], value)}
