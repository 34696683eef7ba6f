"""Which parameters lead into the units of a layer and which lead out of them."""

from typing import NamedTuple

from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import Architecture


class Wire(NamedTuple):
    """Parameters by path, and the axis along which they belong to units.

    Along the axis the units come `repeats` times, one round after another: once for each place of
    an image that is flattened, and for each activation of a unit that has two (CReLU).
    """

    path: tuple[str, ...]
    axis: int
    repeats: int = 1


class Units(NamedTuple):
    """The units of a layer, as `Model.watch` names it: kernels that lead `into` them, their biases,
    parameters of their `norm`, running `stats` of it, and kernels that lead `out` of them with the
    bias behind these. A unit gives `parts` activations."""

    name: tuple[str, ...]
    into: Wire
    bias: Wire | None
    norm: tuple[Wire, ...]
    stats: tuple[Wire, ...]
    out: Wire
    out_bias: tuple[str, ...] | None
    parts: int = 1


def wiring(arch: Architecture, params, stats=None, activation: str = "own") -> list[Units]:
    """The units of an architecture that have parameters of their own on both sides.

    Args:
      arch: architecture; of a resnet these are the channels inside of blocks, of transformers the
        hidden units of the feed-forward parts.
      params: its parameters, or their shapes.
      stats: its other variables, None for none.
      activation: of its hidden units; those of `crelu` give two activations each.

    Returns:
      One entry a layer.

    Raises:
      ConfigError: a family of which nothing is known.
    """
    if arch.family in ("mlp", "cnn"):
        pairs = _plain(arch)
    elif arch.family == "resnet":
        pairs = [((f"{b}_conv_0",), (f"{b}_conv_1",)) for b in _blocks(params)]
    elif arch.family in ("transformer", "vit"):
        pairs = [((b, "linear_0"), (b, "linear_1")) for b in _blocks(params)]
    else:
        raise ConfigError(f"model.name={arch.name!r}: it is not known how its units are wired")
    parts = 2 if activation == "crelu" else 1
    return [_units(params, stats or {}, first, second, parts) for first, second in pairs]


def _blocks(params):
    """Names of blocks, in order."""
    names = {name.removesuffix("_conv_0") for name in params if name.startswith("block_")}
    names = {name for name in names if "conv" not in name and "shortcut" not in name}
    return sorted(names, key=lambda name: [int(n) for n in name.split("_")[1:] if n.isdigit()])


def _plain(arch):
    kind = "hidden" if arch.family == "mlp" else "conv"
    names = [(f"{kind}_{i}",) for i in range(len(arch.widths))]
    names += [(f"dense_{i}",) for i in range(len(arch.dense))] + [("head",)]
    return list(zip(names, names[1:], strict=False))


def _units(params, stats, first, second, parts):
    into, out = lookup(params, first), lookup(params, second)
    width = into["kernel"].shape[-1]

    def wire(tree, path, axis):
        return Wire(path, axis, lookup(tree, path).shape[axis] // width)

    def of_norm(tree, *collection):
        # A block's own norm follows the sum at its end, not these units.
        name = f"{first[-1]}_norm"
        tree_of = tree.get(collection[0], {}) if collection else tree
        if len(first) > 1 or name not in tree_of:
            return ()
        return tuple(wire(tree, (*collection, name, part), 0) for part in tree_of[name])

    return Units(
        name=(*first[:-1], f"{first[-1]}_units"),
        into=wire(params, (*first, "kernel"), len(into["kernel"].shape) - 1),
        bias=wire(params, (*first, "bias"), 0) if "bias" in into else None,
        norm=of_norm(params),
        stats=of_norm(stats, "batch_stats"),
        out=wire(params, (*second, "kernel"), len(out["kernel"].shape) - 2),
        out_bias=(*second, "bias") if "bias" in out else None,
        parts=parts,
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
