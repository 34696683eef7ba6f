"""Parameters that lead into the units of a layer, and parameters that lead out of them."""

from typing import NamedTuple

from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import Architecture


class Wire(NamedTuple):
    """Path of a parameter array, and the axis along which its entries belong to units.

    Along this axis the sequence of all units is repeated `repeats` times: once per position of a
    flattened image, and once per activation of a unit that has two activations (CReLU).
    """

    path: tuple[str, ...]
    axis: int
    repeats: int = 1


class Units(NamedTuple):
    """Parameters of the units of a layer.

    `name` is the path of the layer's activations in the output of `Model.watch`. `into` is the
    kernel that leads into the units and `bias` their bias. `norm` are the parameters of their
    normalisation layer and `stats` its running statistics. `out` is the kernel that leads out of
    the units, and `out_bias` is the path of the bias that is added after this kernel. Each unit has
    `parts` activations.
    """

    name: tuple[str, ...]
    into: Wire
    bias: Wire | None
    norm: tuple[Wire, ...]
    stats: tuple[Wire, ...]
    out: Wire
    out_bias: tuple[str, ...] | None
    parts: int = 1


def wiring(arch: Architecture, params, stats=None, activation: str = "own") -> list[Units]:
    """List the units of an architecture that have incoming and outgoing parameters of their own.

    For a resnet these are the channels inside blocks. For transformers they are the hidden units of
    the feed-forward parts.

    Args:
      arch: architecture of the network.
      params: parameters of the network, or their shapes.
      stats: other variables of the network; None if it has none.
      activation: activation function of the hidden units; units with `crelu` have two activations
        each.

    Returns:
      A list with one entry per layer.

    Raises:
      ConfigError: if the wiring of this family of architectures is not known.
    """
    if arch.family in ("mlp", "cnn"):
        pairs = _plain(arch)
    elif arch.family == "resnet":
        pairs = [((f"{b}_conv_0",), (f"{b}_conv_1",)) for b in _blocks(params)]
    elif arch.family in ("transformer", "vit") or arch.mlp:
        pairs = [((b, "linear_0"), (b, "linear_1")) for b in _blocks(params)]
    else:
        raise ConfigError(
            f"model.name={arch.name!r}: tapjax does not know how its units are connected"
        )
    parts = 2 if activation == "crelu" else 1
    return [_units(params, stats or {}, first, second, parts) for first, second in pairs]


def _blocks(params):
    """Return the names of the blocks in order."""
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
        # The normalisation of a transformer's block does not act on these units.
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
    """Return the part of a nested dict at a path."""
    for name in path:
        tree = tree[name]
    return tree


def replaced(tree, path, value):
    """Return a copy of a nested dict in which the part at a path is replaced."""
    if not path:
        return value
    return tree | {path[0]: replaced(tree[path[0]], path[1:], value)}
