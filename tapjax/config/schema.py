"""Configs: defaults, validation with suggestions, JSON and hash. Imports no JAX."""

import hashlib
import importlib
import json
import math
from collections.abc import Mapping

from ml_collections import ConfigDict

from tapjax.config.validate import broken, did_you_mean, is_import_path, schedules_of_steps
from tapjax.contract.architectures import parse_architecture

# Measurements from a jump to what counts as before and after it.
PIN_MEASUREMENTS = 5
# Steps a chunk that keep the host's share small and the wait for a signal short.
CHUNK_STEPS = {"mlp": 500, "cnn": 100, "transformer": 100, "vit": 100, "resnet": 10}
CHUNK_STEPS |= {"residual": 100, "residual_conv": 100, "dynamics": 500}


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
            "former_steps": (),  # lengths from which the run was extended; `--extend` sets them
            "eval_every": 500,  # steps between evaluations of the whole test split; 0: at the end
            "chunk_steps": 0,  # steps a compiled call; 0: chosen by the model's family
            "over_seeds": "auto",  # how seeds run: vmap, map, loop or shard
            "scalar_bin": 1,  # steps averaged into one recorded scalar
            "loss": "cross_entropy",
            "data": {
                "name": "digits",
                "batch_size": 64,
                "train_size": 0,  # at most so many examples; 0: all
                "test_size": 0,
                "validation_size": 0,  # so many training examples stand in for the test split
                "shuffle": "epoch",
                "augment": False,
                "normalise": True,  # channels, columns of a table; else images keep their [0, 1]
                "layout": "auto",  # of images in an .npz file: channels_first or channels_last
            },
            "model": {
                "name": "mlp_medium_5",
                "init": "torch",
                "activation": "own",  # own: that of the architecture
                "norm": "own",
                "affine": True,  # normalisation with parameters of its own
                "norm_after": False,  # after the activation instead of before it
                "dropout": -1.0,  # share; -1: the architecture's own
            },
            # Task after task (family plasticity).
            "tasks": {
                "kind": "single",  # permuted pixels, random labels, classes, slowly changing bits
                "steps": 0,  # of each task; 0: one task
                "classes": 2,  # of each task of kind classes
                "masked": True,  # decide among the task's classes only
                "slow": 15,  # bits that stay during a task of kind bits
                "flips": "one",  # of them at every task; or all are drawn anew
                "head": "keep",  # or zero: at the beginning of every task
                "reset": False,  # a new network at every task
                "reset_optimizer": False,
                "matrix": True,  # evaluate every task, not only the last one learned
            },
            # A network and its wider clones in one run (family plasticity; see clone_runs.py).
            "clone": {
                "factor": 1,  # clones of every unit; 1: none
                "times": 1,  # clones of clones
                "step": 0,  # at which it happens, and as many steps later again
                "track": False,  # rates by which SGD makes the clone follow its base
            },
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
                "alternate": 0,  # steps a turn, embedding and blocks one after another; 0: all
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
                "matched": False,  # in units of the known gradient of the last hidden state
                "steps": 1,  # of the estimator, for each of the network
                "ema": 0.0,  # decay of the slow estimator that is used
            },
            "optimizer": {
                "name": "adam",
                "lr": 1e-3,
                # Counts the updates since the optimizer began: tasks.reset and
                # tasks.reset_optimizer begin it anew, cloning goes on.
                "schedule": "constant",
                "warmup_steps": 0,
                "b1": 0.9,
                "b2": 0.999,
                "momentum": -1.0,  # -1: .9 of momentum, 0 of rmsprop (PyTorch's); others: unused
                # adamw: decoupled (PyTorch's default is .01, not 0); others: L2, in the gradient.
                "weight_decay": 0.0,
                "clip": 0.0,
                "drive": 0.0,  # the rate times 1 + drive x, x chaotic, a seed's own (optimizers.py)
                # So that a network goes on learning (see mitigations.py); 0: none of it.
                "noise": 0.0,  # of each parameter's gradient, times the gradient's norm
                "noise_decay": 1.0,  # a step; 0: a single noisy step
                "l2_init": 0.0,  # pull towards the weights of the beginning
                "spectral": 0.0,  # pull of the largest singular values towards 1
                "perturb": 0.0,  # noise on every parameter after every step
            },
            # Units of little use begin anew (family plasticity; see plasticity/unit_reset.py).
            "renewal": {
                "name": "none",  # cbp, continual backprop; redo
                "rate": 1e-4,  # share of the mature units, a step (cbp)
                "maturity": 100,  # steps
                "decay": 0.99,  # of the running means of utility and activation
                "utility": "adaptable_contribution",
                # Share of the layer's mean activity over the last 512 examples (redo).
                "threshold": 0.1,
                "period": 1000,  # steps (redo); lengthened if it shows less than 512 examples
                "legacy": "none",  # faults of published code: no_correction, same_weights
            },
            "probe": {
                "every": 5,
                "size": 512,  # at most so many test examples
                "one_class": False,  # of a task's examples only a class's, as published figures
                "tokens": "rows",  # tokens as samples (rows), averaged (mean) or legacy
                "rows": 2048,  # at most so many of them
                "centred": True,
                "dimension": "participation_ratio",  # what D averages over hidden layers
                "gradients": 16,  # examples whose gradients are compared (family plasticity)
                "extra": "",  # package.module:function of a further probe
            },
            # What every step leaves behind (family motifs; see recording.py).
            "record": {
                "sketch": 256,  # numbers that stand for each weight matrix; 0: none
                "weights": 64,  # single weights of each
                "examples": 256,  # of the probe, at most: their losses, the means of all units
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
    return broken(flat)


def _same_type(value, default):
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and math.isfinite(value)
    if isinstance(default, tuple):
        return isinstance(value, (tuple, list)) and all(
            isinstance(v, int) and not isinstance(v, bool) for v in value
        )
    return isinstance(value, type(default))


def _type_name(default):
    names = {bool: "True or False", int: "an integer", float: "a finite number", str: "a name"}
    return names.get(type(default), "a tuple of integers")


def check(cfg: ConfigDict) -> None:
    """Refuse a config that cannot run.

    Args:
      cfg: a config.

    Raises:
      ConfigError: with every problem.
    """
    if not isinstance(cfg, ConfigDict):
        raise ConfigError(f"get_config returned {type(cfg).__name__}, not a config")
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
        return min(cfg.chunk_steps, cfg.tasks.steps or cfg.steps)
    name = cfg.model.name
    family = "cnn" if is_import_path(name) else parse_architecture(name).family
    every, target = cfg.probe.every, max(CHUNK_STEPS[family], cfg.probe.every)
    whole = cfg.tasks.steps or cfg.steps
    if cfg.tasks.steps:  # equal parts, so that every task ends with a chunk
        return max(n for n in range(every, min(target, whole) + 1, every) if whole % n == 0)
    chunks = -(-whole // target)
    return -(-whole // (every * chunks)) * every


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

    Raises:
      ConfigError: it is something else.
    """

    def restore(value):
        if isinstance(value, Mapping):
            return {name: restore(v) for name, v in value.items()}
        return tuple(value) if isinstance(value, list) else value

    cfg = defaults()
    try:
        with cfg.unlocked():
            cfg.update(restore(data))
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"this is no config: {error}") from error
    return cfg


def with_former_steps(cfg: ConfigDict, old: Mapping, extend: bool) -> ConfigDict:
    """A config with what a run directory remembers of extensions.

    Args:
      cfg: of the run as it is asked for.
      old: content of the run directory's config.json.
      extend: whether schedules may go on beyond the number of steps that they were made for.

    Returns:
      A new config: its `former_steps` are those of the run and, for an extension, its length.
    """
    before = from_json(old)
    former = tuple(length for length in before.former_steps if length < cfg.steps)
    if extend and before.steps < cfg.steps and schedules_of_steps(flatten(before)):
        former += (before.steps,)
    return from_json(to_json(cfg) | {"former_steps": former})


def config_hash(cfg: ConfigDict) -> str:
    """The first 16 hexadecimal digits of the sha256 of the canonical JSON."""
    fields = to_json(cfg)
    if not fields["former_steps"]:  # a field that came later than the first runs
        del fields["former_steps"]
    text = json.dumps(fields, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def diff(old: Mapping, new: Mapping) -> list[str]:
    """Fields in which two configs differ, one `name: old -> new` each."""
    a, b = flatten(old), flatten(new)
    return [
        f"{name}: {a.get(name)!r} -> {b.get(name)!r}"
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    ]
