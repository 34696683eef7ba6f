"""Architectures by name: their sizes and structural features, shared with the training code.

A name is a key of `ZOO`, or a family with user-defined sizes:
`mlp:depth=6,width=96`, `mlp:widths=128-64-32`, `cnn:channels=16-32`, `cnn:channels=64-128,fc=512`,
`resnet:channels=64-128-256-512`, `transformer:depth=3,width=96,heads=4` or
`vit:depth=6,width=384,heads=6,patch=8`. For sequences there is
`decoder:depth=2,width=64,heads=4,mlp=4,norm=pre,positions=learned`, where `mlp` is the width of the
feed-forward part relative to the model (0 for none), `norm` is `pre` or `none`, and `positions` is
`learned` or `rotary`. The credit family uses `residual:depth=4,width=256`,
`residual_conv:depth=4,width=32`, `residual_transformer:depth=2,width=64,heads=4` and
`dynamics:depth=8,width=8`.
"""

import math
from typing import NamedTuple

from tapjax.contract.text import did_you_mean

MIN_TOKENS = 16
ATTENTIVE = ("transformer", "vit", "residual_transformer", "decoder")
# Options of a decoder: allowed values, the default first.
DECODER = {"norm": ("pre", "none"), "positions": ("learned", "rotary")}
MOST_LAYERS, MOST_UNITS = 1000, 1_000_000


class Architecture(NamedTuple):
    """Name, family and sizes of one architecture.

    `widths` holds the number of hidden units per layer (mlp), the number of channels per stage
    (cnn, resnet), or the model dimension, repeated once per block (other families). `heads` is the
    number of attention heads (transformer, vit). `dense` holds the widths of the fully connected
    layers of a cnn. `patch` is the side of a patch in pixels (vit). `mlp` is the width of the
    feed-forward part relative to the model, `norm` and `positions` are options of a decoder. A size
    or option that the family does not use is 0 or empty.
    """

    name: str
    family: str
    widths: tuple[int, ...]
    heads: int = 0
    dense: tuple[int, ...] = ()
    patch: int = 0
    mlp: int = 0
    norm: str = ""
    positions: str = ""


def _zoo():
    mlps = {
        "mlp_shallow_2": (128, 64),
        "mlp_medium_5": (64, 64, 64, 64, 32),
        "mlp_deep_10": (32,) * 10,
        "mlp_verydeep_15": (24,) * 15,
        "mlp_narrow": (32,) * 4,
        "mlp_medium": (128, 128, 64, 64),
        "mlp_wide": (256, 256, 128, 128),
        "mlp_verywide": (512, 512, 256, 256),
    }
    cnns = {
        "cnn_shallow": (32, 64),
        "cnn_medium": (32, 64, 128),
        "cnn_deep": (32, 64, 128, 256),
    }
    transformers = {
        "transformer_shallow": (2, 128, 4),
        "transformer_medium": (4, 128, 4),
        "transformer_deep": (6, 128, 4),
        "transformer_narrow": (4, 64, 4),
        "transformer_wide": (4, 256, 8),
    }
    zoo = {name: Architecture(name, "mlp", widths) for name, widths in mlps.items()}
    zoo |= {name: Architecture(name, "cnn", channels) for name, channels in cnns.items()}
    zoo["resnet18"] = Architecture("resnet18", "resnet", (64, 128, 256, 512))
    for name, (depth, width, heads) in transformers.items():
        zoo[name] = Architecture(name, "transformer", (width,) * depth, heads)
    return zoo


ZOO = _zoo()


def parse_architecture(name: str) -> Architecture:
    """Return the architecture that has a given name.

    Args:
      name: a key of `ZOO`, or `family:size=value,...`.

    Returns:
      The Architecture.

    Raises:
      ValueError: if the name or a size is unknown or a size is not allowed; the message names it.

    Examples:
      >>> parse_architecture("mlp:depth=2,width=64").widths
      (64, 64)
    """
    if name in ZOO:
        return ZOO[name]
    family, _, sizes = name.partition(":")
    fields = dict(part.partition("=")[::2] for part in sizes.split(",") if part)
    allowed = {
        "mlp": {"depth", "width", "widths"},
        "cnn": {"channels", "fc"},
        "resnet": {"channels"},
        "transformer": {"depth", "width", "heads"},
        "vit": {"depth", "width", "heads", "patch"},
        "residual": {"depth", "width"},
        "residual_conv": {"depth", "width"},
        "residual_transformer": {"depth", "width", "heads"},
        "dynamics": {"depth", "width"},
        "decoder": {"depth", "width", "heads", "mlp", *DECODER},
    }
    if family not in allowed:
        meant = did_you_mean(name, ZOO) or did_you_mean(family, allowed)
        raise ValueError(f"unknown family {family!r}{meant}")
    if not sizes:
        raise ValueError(f"{family} needs sizes: {', '.join(sorted(allowed[family]))}")
    unknown = set(fields) - allowed[family]
    if unknown:
        raise ValueError(
            f"{name!r}: {family} has no size {sorted(unknown)[0]!r}; it takes "
            f"{', '.join(sorted(allowed[family]))}"
        )
    try:
        if "widths" in fields or "channels" in fields:
            listed = fields.get("widths", fields.get("channels"))
            widths = tuple(int(w) for w in listed.split("-"))
        else:
            widths = (int(fields["width"]),) * min(int(fields["depth"]), MOST_LAYERS + 1)
        heads = int(fields.get("heads", 4)) if family in ATTENTIVE else 0
        dense = tuple(int(w) for w in fields["fc"].split("-")) if "fc" in fields else ()
        patch = int(fields.get("patch", 4)) if family == "vit" else None
        mlp = int(fields.get("mlp", 4)) if family == "decoder" else 0
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{name!r}: write mlp:depth=4,width=64, mlp:widths=64-32, cnn:channels=16-32,fc=64, "
            "resnet:channels=16-32-64-128, transformer:depth=2,width=64,heads=4, "
            "vit:depth=2,width=64,heads=4,patch=4, residual:depth=4,width=256, "
            "residual_conv:depth=4,width=32, residual_transformer:depth=2,width=64,heads=4, "
            "decoder:depth=2,width=64,heads=4,mlp=4 or dynamics:depth=8,width=8"
        ) from error
    if len(widths) > MOST_LAYERS or max((*widths, *dense), default=0) > MOST_UNITS:
        raise ValueError(f"{name!r}: at most {MOST_LAYERS} layers of {MOST_UNITS} units")
    attentive = (heads,) if family in ATTENTIVE else ()
    if not widths or min(*widths, *dense, *attentive, 1 if patch is None else patch) < 1:
        raise ValueError(f"{name!r}: every size must be at least 1")
    if heads and widths[0] % heads:
        raise ValueError(f"{name!r}: width {widths[0]} is not a multiple of {heads} heads")
    if family != "decoder":
        return Architecture(name, family, widths, heads, dense, patch or 0)
    if mlp < 0:
        raise ValueError(f"{name!r}: mlp must be at least 0")
    options = {option: fields.get(option, values[0]) for option, values in DECODER.items()}
    for option, values in DECODER.items():
        if options[option] not in values:
            raise ValueError(f"{name!r}: {option} is one of {', '.join(values)}")
    if options["positions"] == "rotary" and widths[0] // heads % 2:
        raise ValueError(f"{name!r}: rotary positions need heads of an even width")
    return Architecture(name, family, widths, heads, mlp=mlp, **options)


def token_count(input_dim: int) -> int:
    """Compute the number of tokens that a flat input is cut into.

    It is the divisor of the input's length that is nearest to 16; of two that are equally near, the
    smaller one.

    Args:
      input_dim: number of values in one example, e.g. 784.

    Returns:
      The number of tokens, e.g. 16.
    """
    divisors = [d for d in range(1, input_dim + 1) if input_dim % d == 0]
    return min(divisors, key=lambda d: (abs(d - MIN_TOKENS), d))


def pooled_sides(side: int, stages: int) -> list[int]:
    """Compute the side of an image after each stage of 2x2 pooling.

    A side of 1 pixel does not shrink further.

    Args:
      side: number of pixels along one side of the input.
      stages: number of pooling stages.

    Returns:
      One side per stage in pixels, e.g. 28 -> [14, 7, 3, 1].
    """
    sides = []
    for _ in range(stages):
        side = max(side // 2, 1)
        sides.append(side)
    return sides


def count_params(arch: Architecture, shape: tuple[int, int, int], classes: int) -> int:
    """Count the trainable parameters of an architecture.

    Args:
      arch: the architecture.
      shape: height, width and number of channels of the input, or its length if it consists of
        tokens.
      classes: number of outputs C.

    Returns:
      The number of trainable scalars of the architecture with its default normalisation.
    """
    if arch.family == "decoder":
        return _count_decoder(arch, shape, classes)
    height, width, channels = shape
    input_dim = height * width * channels
    if arch.family == "mlp":
        sizes = (input_dim, *arch.widths, classes)
        return sum((i + 1) * o for i, o in zip(sizes, sizes[1:], strict=False))
    if arch.family == "cnn":
        sizes = (channels, *arch.widths)
        convs = sum((9 * i + 1) * o for i, o in zip(sizes, sizes[1:], strict=False))
        stages = len(arch.widths)
        flat = pooled_sides(height, stages)[-1] * pooled_sides(width, stages)[-1] * sizes[-1]
        sizes = (flat, *arch.dense, classes)
        return convs + sum((i + 1) * o for i, o in zip(sizes, sizes[1:], strict=False))
    if arch.family == "residual":
        width = arch.widths[0]
        embed = 0 if input_dim == width else (input_dim + 1) * width
        return embed + len(arch.widths) * 2 * (width + 1) * width + (width + 1) * classes
    if arch.family == "residual_conv":
        width = arch.widths[0]
        blocks = len(arch.widths) * 2 * (9 * width + 1) * width
        return (16 * channels + 1) * width + blocks + (width + 1) * classes
    if arch.family == "residual_transformer":
        width = arch.widths[0]
        block = 4 * (width + 1) * width + (width + 1) * 2 * width + (2 * width + 1) * width
        embed = (input_dim // height + height + 1) * width
        return embed + len(arch.widths) * block + (width + 1) * classes
    if arch.family == "dynamics":
        return len(arch.widths) * arch.widths[0] ** 2
    if arch.family == "resnet":
        total, inputs = (9 * channels + 2) * arch.widths[0], arch.widths[0]
        for i, outputs in enumerate(arch.widths):
            halved = i > 0 and max(height, width) > 1
            shortcut = (inputs + 2) * outputs if inputs != outputs or halved else 0
            height, width = (-(-height // 2), -(-width // 2)) if i else (height, width)
            total += (9 * inputs + 2) * outputs + 3 * (9 * outputs + 2) * outputs + shortcut
            inputs = outputs
        return total + (inputs + 1) * classes
    if arch.family == "vit":
        dim, tokens = arch.widths[0], -(-height // arch.patch) * -(-width // arch.patch)
        block = 12 * dim**2 + 13 * dim
        embed = (arch.patch**2 * channels + 1) * dim + (tokens + 2) * dim
        return embed + len(arch.widths) * block + 2 * dim + (dim + 1) * classes
    dim, tokens = arch.widths[0], token_count(input_dim)
    block = 4 * (dim + 1) * dim + (dim + 1) * 4 * dim + (4 * dim + 1) * dim + 4 * dim
    embed = (input_dim // tokens + 1) * dim + tokens * dim
    return embed + len(arch.widths) * block + (dim + 1) * classes


def _count_decoder(arch, shape, classes):
    dim, positions = arch.widths[0], shape[0] if arch.positions == "learned" else 0
    embed = classes * dim if len(shape) == 1 else (shape[1] * math.prod(shape[2:]) + 1) * dim
    norm = 2 * dim if arch.norm == "pre" else 0
    inner = arch.mlp * dim
    feed_forward = (dim + 1) * inner + (inner + 1) * dim + norm if inner else 0
    block = 4 * (dim + 1) * dim + norm + feed_forward
    return embed + positions * dim + len(arch.widths) * block + norm + (dim + 1) * classes


def structure(arch: Architecture, shape: tuple[int, int, int], classes: int) -> dict:
    """Compute the structural features that the fit alpha = f(architecture) uses.

    Depth, width and connectivity follow the conventions of each family. For an mlp, depth is the
    number of hidden layers and connectivity is the number of parameters per unit (input, hidden
    and output). For a cnn, depth includes the head and connectivity is the number of parameters
    per channel. For a transformer, depth is the number of blocks and connectivity is the number of
    parameters divided by d_model times the number of blocks. Connectivity is therefore comparable
    only within a family.

    Args:
      arch: the architecture.
      shape: see `count_params`.
      classes: number of outputs C.

    Returns:
      A dict with the keys family, depth, width (the mean width), min_width, max_width, num_params
      and connectivity.
    """
    params = count_params(arch, shape, classes)
    widths, depth = arch.widths, len(arch.widths)
    mean = sum(widths) / depth
    low, high = min(widths), max(widths)
    if arch.family == "mlp":
        units = shape[0] * shape[1] * shape[2] + sum(widths) + classes
    elif arch.family == "cnn":
        depth, units = depth + 1, shape[2] + sum(widths) + classes
    elif arch.family == "resnet":
        depth, mean, units = 18, widths[0], shape[2] + classes + high
    elif arch.family == "transformer":
        high, units = 4 * widths[0], widths[0] * depth
    else:
        units = widths[0] * depth
    return {
        "family": arch.family,
        "depth": depth,
        "width": float(mean),
        "min_width": low,
        "max_width": high,
        "num_params": params,
        "connectivity": params / units,
    }


def rectified_layers(family: str | None, layer_names) -> list[str]:
    """Return the measured layers whose output goes directly into a ReLU.

    A unit of such a layer is dead if it is never above zero.

    Args:
      family: family of the architecture; None for a user-defined network, whose activation
        functions are unknown.
      layer_names: names of the measured layers, the head last.

    Returns:
      A list of layer names. It is empty for None and for families other than mlp, cnn and
      transformer.
    """
    hidden = list(layer_names)[:-1]
    if family == "transformer":
        return [name for name in hidden if name.endswith("_linear_0")]
    return hidden if family in ("mlp", "cnn") else []
