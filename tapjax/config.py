"""Configs: defaults, validation with suggestions, JSON and hash. Imports no JAX."""

import difflib
import hashlib
import importlib
import json
from collections.abc import Mapping

from ml_collections import ConfigDict

from analysis.architectures import ZOO, parse_architecture

FAMILIES = ("tap", "credit")
# What the probe measures of a spectrum, in the order of `probes.spectral_metrics`.
DIMENSIONS = (
    "stable_rank",
    "participation_ratio",
    "effective_rank_90",
    "nuclear_norm_ratio",
    "covariance_participation_ratio",
)
# What a field may hold. Names open to the user's own code also take `package.module:function`.
CHOICES = {
    "family": FAMILIES,
    "over_seeds": ("auto", "vmap", "map", "loop", "shard"),
    "loss": ("cross_entropy", "squared_error"),
    "data.shuffle": ("epoch", "replacement"),
    "model.init": ("lecun", "torch"),
    "rule.name": ("backprop", "local"),
    "rule.normalise": ("raw", "rms", "batch"),
    "credit.name": ("bp", "dfa", "dir", "state_bridge", "scalar_bridge", "vector_field"),
    "credit.field": ("plain", "residual", "bilinear", "chain"),
    "credit.code": ("error", "delta", "target", "error+h", "delta+h"),
    "credit.targets": ("tail", "joint", "block", "response"),
    "credit.mode": ("jvp", "central", "onesided"),
    "credit.distribution": ("rademacher", "gaussian"),
    "credit.schedule": ("constant", "cosine", "linear"),
    "blocks.activation": ("gelu", "tanh"),
    "optimizer.name": ("adam", "adamw", "sgd", "momentum", "rmsprop"),
    "optimizer.schedule": ("constant", "cosine", "linear"),
    "probe.tokens": ("rows", "mean", "legacy"),
    "probe.dimension": DIMENSIONS,
}
OPEN = ("loss", "rule.name", "model.name", "data.name", "probe.extra", "credit.name")
AT_LEAST_ONE = ("steps", "scalar_bin", "data.batch_size", "probe.every", "probe.size", "probe.rows")
AT_LEAST_ONE += ("checkpoint.every", "checkpoint.keep")
AT_LEAST_ONE += ("credit.width", "credit.directions", "credit.steps")
NOT_NEGATIVE = ("eval_every", "chunk_steps", "data.train_size", "data.test_size")
NOT_NEGATIVE += ("checkpoint.keep_period", "checkpoint.pin_jumps", "reset.step")
NOT_NEGATIVE += ("checkpoint.pin_window", "data.validation_size", "credit.value", "credit.terminal")
NOT_NEGATIVE += ("rule.block_lr", "rule.clip", "rule.warmup_steps", "rule.freeze_step")
NOT_NEGATIVE += ("blocks.block_scale", "blocks.noise")
NOT_NEGATIVE += ("optimizer.weight_decay", "optimizer.clip", "optimizer.warmup_steps")
BELOW_ONE = ("optimizer.b1", "optimizer.b2", "optimizer.momentum", "credit.ema")
# Families of architectures that are networks in blocks, each with its own credit.
LAYERED = ("residual", "dynamics")
# Measurements from a jump to what counts as before and after it.
PIN_MEASUREMENTS = 5
# Steps a chunk that keep the host's share small and the wait for a signal short.
CHUNK_STEPS = {"mlp": 500, "cnn": 100, "transformer": 100, "resnet": 10}
CHUNK_STEPS |= {"residual": 100, "dynamics": 500}


class ConfigError(Exception):
    """A config that cannot run; the message names each field and what to do."""


def defaults() -> ConfigDict:
    """Every field with its default: the schema of a config.

    Returns:
      A new ConfigDict.
    """
    return ConfigDict(
        {
            "family": "tap",
            "seeds": (0, 1, 2),
            "steps": 2000,
            "eval_every": 500,  # steps between evaluations of the whole test split; 0: at the end
            "chunk_steps": 0,  # steps a compiled call; 0: chosen by the model's family
            "over_seeds": "auto",  # how seeds run: vmap, map, loop or shard
            "scalar_bin": 1,  # steps averaged into one recorded scalar
            "loss": "cross_entropy",
            "data": {
                "name": "digits",
                "batch_size": 64,
                "train_size": 0,  # 0: all
                "test_size": 0,
                "validation_size": 0,  # so many training examples stand in for the test split
                "shuffle": "epoch",
                "augment": False,
            },
            "model": {"name": "mlp_medium_5", "init": "torch"},
            # Networks in blocks: h -> skip h + F(h).
            "blocks": {
                "activation": "gelu",  # or tanh, mixed with the identity by alpha
                "alpha": 1.0,
                "skip": 1.0,
                "block_scale": 0.1,  # of F's last matrix, or of the matrices of linear dynamics
                "embed": True,  # False: the input is the first hidden state
                "noise": 0.0,  # standard deviation a step of linear dynamics
                "constant": False,  # the same linear dynamics at every step
            },
            "rule": {
                "name": "backprop",  # or local: each block learns from its own credit
                "block_lr": 0.0,  # of blocks and embedding; 0: that of the head, optimizer.lr
                "normalise": "raw",
                "shift": 1,  # 1: a block follows the credit of its output, 0: of its input
                "exact_last": True,  # the credit of the last hidden state is known
                "clip": 0.0,  # of each part's gradient norm; 0: none
                "gate": False,
                "warmup_steps": 0,  # of direct feedback before a learned credit is used
                "freeze_step": 0,  # from then on only the credit learns, anew; 0: never
            },
            "credit": {
                "name": "bp",
                "field": "bilinear",
                "code": "error",
                "layer_norm": True,
                "width": 256,
                "lr": 1e-3,
                "schedule": "constant",
                "directions": 4,
                "targets": "tail",
                "mode": "jvp",
                "distribution": "rademacher",
                "shared": False,  # one direction for all layers
                "terminal": 0.0,  # weight of the known gradient of the last hidden state
                "value": 1.0,  # weight of the loss itself (scalar bridge)
                "shuffle": False,  # a control: the targets of other examples
                "quiet": True,  # start with no output
                "steps": 1,  # of the estimator, for each of the network
                "ema": 0.0,  # decay of the slow estimator that is used
            },
            "optimizer": {
                "name": "adam",
                "lr": 1e-3,
                "schedule": "constant",
                "warmup_steps": 0,
                "b1": 0.9,
                "b2": 0.999,
                "momentum": 0.9,
                "weight_decay": 0.0,
                "clip": 0.0,
            },
            "probe": {
                "every": 5,
                "size": 512,  # at most so many test examples
                "tokens": "rows",  # tokens as samples (rows), averaged (mean) or legacy
                "rows": 2048,  # at most so many of them
                "centred": True,
                "dimension": "participation_ratio",  # what D averages over hidden layers
                "extra": "",  # package.module:function of a further probe
            },
            "checkpoint": {
                "every": 500,
                "keep": 2,  # so many of the latest
                "keep_period": 0,  # besides, one every so many steps: bounds the cost of a replay
                "pin_jumps": 5,  # besides, those around the strongest jumps
                "pin_window": 0,  # steps before and after a jump; 0: five measurements
            },
            # Draw a layer anew at a step, or one of its units: a channel, a head (0: never).
            "reset": {"step": 0, "layer": "", "unit": -1},
        }
    )


def flatten(cfg: Mapping, prefix: str = "") -> dict:
    """A nested config as dotted names.

    Args:
      cfg: mapping of mappings.
      prefix: put before every name.

    Returns:
      Dotted name -> value.
    """
    flat = {}
    for name, value in cfg.items():
        if isinstance(value, (Mapping, ConfigDict)):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def did_you_mean(name: str, known) -> str:
    """A suggestion to append to an error message, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def is_import_path(name: str) -> bool:
    """Whether a name has the form `package.module:function`."""
    module, colon, function = name.partition(":")
    parts = [*module.split("."), function]
    return bool(colon) and all(part.isidentifier() for part in parts)


def problems(cfg: ConfigDict) -> list[str]:
    """Everything that is wrong with a config.

    Args:
      cfg: a config.

    Returns:
      One line a problem; empty if it can run.
    """
    flat, wanted = flatten(cfg), flatten(defaults())
    found = [f"unknown field {n!r}{did_you_mean(n, wanted)}" for n in flat if n not in wanted]
    found += [f"missing field {name!r}" for name in wanted if name not in flat]
    for name, default in wanted.items():
        if name in flat and not _same_type(flat[name], default):
            found.append(
                f"{name}={flat[name]!r} must be {_type_name(default)}, "
                f"not {type(flat[name]).__name__}"
            )
    if found:
        return found
    for name, choices in CHOICES.items():
        value = flat[name]
        if value not in choices and not (name in OPEN and is_import_path(value)):
            found.append(
                f"{name}={value!r} is not one of {', '.join(choices)}"
                + did_you_mean(value, choices)
            )
    found += [f"{n}={flat[n]} must be at least 1" for n in AT_LEAST_ONE if flat[n] < 1]
    found += [f"{n}={flat[n]} must not be negative" for n in NOT_NEGATIVE if flat[n] < 0]
    found += [f"{n}={flat[n]} must be in [0, 1)" for n in BELOW_ONE if not 0 <= flat[n] < 1]
    if not flat["optimizer.lr"] > 0:
        found.append(f"optimizer.lr={flat['optimizer.lr']} must be above 0")
    if flat["probe.extra"] and not is_import_path(flat["probe.extra"]):
        found.append(f"probe.extra={flat['probe.extra']!r} must be package.module:function")
    return found + _model_problems(flat["model.name"]) + _relations(flat)


def _model_problems(name):
    if is_import_path(name):
        return []
    try:
        parse_architecture(name)
    except ValueError as error:
        return [f"model.name: {error}{did_you_mean(name, ZOO)}"]
    return []


def _relations(flat):
    found = []
    seeds, every = flat["seeds"], flat["probe.every"]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        found.append(f"seeds={seeds} must be one or more different integers, 0 or above")
    if every < 1:
        return found
    for name in ("steps", "chunk_steps", "reset.step", "checkpoint.pin_window", "rule.freeze_step"):
        if flat[name] % every:
            near = max(round(flat[name] / every), 1) * every
            found.append(
                f"{name}={flat[name]} must be a multiple of probe.every={every}, for example {near}"
            )
    found += _credit_relations(flat)
    if flat["scalar_bin"] > 0 and every % flat["scalar_bin"]:
        found.append(f"scalar_bin={flat['scalar_bin']} must divide probe.every={every}")
    if flat["reset.step"] >= flat["steps"]:
        found.append("reset.step must be below steps")
    if flat["optimizer.warmup_steps"] >= flat["steps"]:
        found.append("optimizer.warmup_steps must be below steps")
    return found


def _credit_relations(flat):
    found, name = [], flat["model.name"]
    layered = not is_import_path(name) and name.partition(":")[0] in LAYERED
    if layered != (flat["family"] == "credit"):
        found.append(
            f"model.name={name!r} does not go with family={flat['family']!r}: family=credit trains "
            "residual:depth=4,width=256 or dynamics:depth=8,width=8, and only it does"
        )
    if flat["family"] == "tap" and flat["rule.name"] == "local":
        found.append("rule.name='local' needs family=credit")
    if flat["rule.shift"] not in (0, 1):
        found.append(f"rule.shift={flat['rule.shift']} must be 0 or 1")
    for field in ("rule.freeze_step", "rule.warmup_steps"):
        if flat[field] >= flat["steps"]:
            found.append(f"{field}={flat[field]} must be below steps={flat['steps']}")
    if name.startswith("dynamics") and flat["checkpoint.pin_jumps"]:
        found.append(
            "checkpoint.pin_jumps must be 0: linear dynamics have no dimensionality to watch"
        )
    return found


def _same_type(value, default):
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and value == value
    if isinstance(default, tuple):
        return isinstance(value, (tuple, list)) and all(
            isinstance(v, int) and not isinstance(v, bool) for v in value
        )
    return isinstance(value, type(default))


def _type_name(default):
    names = {bool: "True or False", int: "an integer", float: "a number", str: "a name"}
    return names.get(type(default), "a tuple of integers")


def check(cfg: ConfigDict) -> None:
    """Refuse a config that cannot run.

    Args:
      cfg: a config.

    Raises:
      ConfigError: with every problem.
    """
    found = problems(cfg)
    if found:
        raise ConfigError("; ".join(found))


def check_data(cfg: ConfigDict, arrays) -> None:
    """Refuse a config that does not fit its data.

    Args:
      cfg: a valid config.
      arrays: the data set, with `x [N, H, W, C]`.

    Raises:
      ConfigError: naming the field.
    """
    n, (height, width, _) = len(arrays.x), arrays.x.shape[1:]
    if cfg.data.batch_size > n:
        raise ConfigError(f"data.batch_size={cfg.data.batch_size} exceeds the {n} examples")
    if cfg.data.augment and min(height, width) < 16:
        raise ConfigError(
            f"data.augment shifts by up to 4 pixels, too many for {height}x{width} images"
        )


def chunk_steps(cfg: ConfigDict) -> int:
    """Steps a compiled call: the config's own, or equal parts that suit the model's family.

    Args:
      cfg: a valid config.

    Returns:
      A multiple of `probe.every`.
    """
    if cfg.chunk_steps:
        return min(cfg.chunk_steps, cfg.steps)
    name = cfg.model.name
    family = "cnn" if is_import_path(name) else parse_architecture(name).family
    every, target = cfg.probe.every, max(CHUNK_STEPS[family], cfg.probe.every)
    chunks = -(-cfg.steps // target)
    return -(-cfg.steps // (every * chunks)) * every


def pin_window(cfg: ConfigDict) -> int:
    """Steps from a jump to the states before and after it: what the config says, or its default."""
    return cfg.checkpoint.pin_window or PIN_MEASUREMENTS * cfg.probe.every


def lookup(name: str, table: Mapping, field: str):
    """The object that a config names: an entry of a table, or the user's own function.

    Args:
      name: key of the table or `package.module:function`.
      table: name -> object.
      field: where the name stands, for the error message.

    Returns:
      The object.

    Raises:
      ConfigError: unknown name, module or function.
    """
    if name in table:
        return table[name]
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{field}={name!r}: {error}{did_you_mean(name, table)}") from error


def to_json(cfg: ConfigDict) -> dict:
    """A config as plain JSON data."""
    return json.loads(json.dumps(cfg.to_dict()))


def from_json(data: Mapping) -> ConfigDict:
    """The config that `to_json` wrote, lists turned back into tuples.

    Fields that came into being after it was written get their defaults.
    """

    def restore(value):
        if isinstance(value, Mapping):
            return {name: restore(v) for name, v in value.items()}
        return tuple(value) if isinstance(value, list) else value

    cfg = defaults()
    with cfg.unlocked():
        cfg.update(restore(data))
    return cfg


def config_hash(cfg: ConfigDict) -> str:
    """The first 16 hexadecimal digits of the sha256 of the canonical JSON."""
    text = json.dumps(to_json(cfg), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def diff(old: Mapping, new: Mapping) -> list[str]:
    """Fields in which two configs differ, one `name: old -> new` each."""
    a, b = flatten(old), flatten(new)
    return [
        f"{name}: {a.get(name)!r} -> {b.get(name)!r}"
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    ]
