"""Functions for configs: defaults, validation with suggestions, JSON and hash. Imports no JAX."""

import hashlib
import importlib
import json
import math
from collections.abc import Mapping

from ml_collections import ConfigDict

from tapjax.config.families import common, credit, motifs, plasticity
from tapjax.config.fields import Field, is_import_path
from tapjax.config.validate import relations, schedules_of_steps
from tapjax.contract.architectures import parse_architecture
from tapjax.contract.text import did_you_mean

# Fields of each family, without the common ones.
FAMILIES = {
    "tap": {},
    "credit": credit.FIELDS,
    "plasticity": plasticity.FIELDS,
    "motifs": motifs.FIELDS,
}
# Number of measurements from a jump to the states that count as before and after it.
PIN_MEASUREMENTS = 5
# Steps per chunk by family of architectures. The values keep the host's share of the time small and
# the delay after a signal short.
CHUNK_STEPS = {"mlp": 500, "cnn": 100, "transformer": 100, "vit": 100, "resnet": 10}
CHUNK_STEPS |= {"residual": 100, "residual_conv": 100, "residual_transformer": 100}
CHUNK_STEPS |= {"dynamics": 500, "decoder": 100}


class ConfigError(Exception):
    """Error for a config that cannot run; the message names each field and says what to do."""


def fields(family: str) -> dict[str, Field]:
    """Return the fields of a family, including the common ones.

    Args:
      family: key of `FAMILIES`.

    Returns:
      Dotted name -> Field, sorted by group.
    """
    table = common.FIELDS | FAMILIES[family]
    groups = list(dict.fromkeys(name.rpartition(".")[0] for name in table))
    return dict(sorted(table.items(), key=lambda item: groups.index(item[0].rpartition(".")[0])))


def family_of(name: str) -> str:
    """Return the family that a field belongs to.

    Args:
      name: dotted name of the field.

    Returns:
      Key of `FAMILIES`; an empty string for a common field, None for an unknown field.
    """
    if name in common.FIELDS:
        return ""
    return next((family for family, table in FAMILIES.items() if name in table), None)


def defaults(family: str = "tap") -> ConfigDict:
    """Return a config that holds the default of every field of a family.

    Args:
      family: key of `FAMILIES`.

    Returns:
      A new ConfigDict.

    Raises:
      ConfigError: if the family is unknown.

    Examples:
      >>> defaults("motifs").record.sketch
      256
    """
    if family not in FAMILIES:
        raise ConfigError(f"family={family!r} {common.RUN['family'].check.fault(family)}")
    nested = {}
    for name, field in fields(family).items():
        group, _, last = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[last] = field.default
    return ConfigDict(nested | {"family": family})


def flatten(cfg: Mapping, prefix: str = "") -> dict:
    """Flatten a nested config.

    Args:
      cfg: nested mapping.
      prefix: text put before every name.

    Returns:
      Dotted name -> value.
    """
    flat = {}
    for name, value in cfg.items():
        if isinstance(value, (Mapping, ConfigDict)) and len(value):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def problems(cfg: ConfigDict) -> list[str]:
    """Find all problems of a config.

    Args:
      cfg: any config.

    Returns:
      One line per problem; empty if the config can run.
    """
    flat = flatten(cfg)
    if not isinstance(flat.get("family"), str) or flat["family"] not in FAMILIES:
        return _problems_of_fields(flat, {"family": common.RUN["family"]})
    wanted = fields(flat["family"])
    found = [_stranger(name, flat["family"], wanted) for name in flat if name not in wanted]
    return found + _problems_of_fields(flat, wanted) or relations(flat)


def _stranger(name, family, wanted):
    other = family_of(name)
    if other:
        return f"{name} is a field of family={other!r}, not of family={family!r}"
    return f"unknown field {name!r}{did_you_mean(name, wanted)}"


def _problems_of_fields(flat, wanted):
    found = []
    for name, field in wanted.items():
        if name not in flat:
            found.append(f"missing field {name!r}")
        elif not _same_type(flat[name], field.default):
            found.append(
                f"{name}={flat[name]!r} must be {_type_name(field.default)}, "
                f"not {type(flat[name]).__name__}"
            )
        elif field.check.fault(flat[name]):
            found.append(f"{name}={flat[name]!r} {field.check.fault(flat[name])}")
    return found


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
    """Raise an error if a config cannot run.

    Args:
      cfg: any config.

    Raises:
      ConfigError: if the config has problems; the message lists all of them.
    """
    if not isinstance(cfg, ConfigDict):
        raise ConfigError(f"get_config returned {type(cfg).__name__}, not a config")
    found = problems(cfg)
    if found:
        raise ConfigError("; ".join(found))


def check_data(cfg: ConfigDict, arrays) -> None:
    """Raise an error if a config does not fit its data.

    Args:
      cfg: a valid config.
      arrays: data set with training inputs `x`, [N, height, width, channels] for images.

    Raises:
      ConfigError: if the batch size or the augmentation does not fit; the message names the field.
    """
    n, sides = len(arrays.x), arrays.x.shape[1:3]
    if cfg.data.batch_size > n and not arrays.task:
        raise ConfigError(f"data.batch_size={cfg.data.batch_size} exceeds the {n} examples")
    if cfg.data.augment and (arrays.x.ndim != 4 or arrays.task):
        raise ConfigError(f"data.augment is for images, not for {arrays.name!r}")
    if cfg.data.augment and min(sides) < 16:
        height, width = sides
        raise ConfigError(
            f"data.augment shifts by up to 4 pixels, too many for {height}x{width} images"
        )


def chunk_steps(cfg: ConfigDict) -> int:
    """Return the number of steps per compiled call.

    It is `chunk_steps` of the config. If this is 0, a length that suits the model's family is
    chosen such that the calls are about equally long.

    Args:
      cfg: a valid config.

    Returns:
      Number of steps, a multiple of `probe.every`.
    """
    whole = task_steps(cfg)
    if cfg.chunk_steps:
        return min(cfg.chunk_steps, whole)
    name = cfg.model.name
    family = "cnn" if is_import_path(name) else parse_architecture(name).family
    every, target = cfg.probe.every, max(CHUNK_STEPS[family], cfg.probe.every)
    if "tasks" in cfg and cfg.tasks.steps:  # equal chunks, so that every task ends with a chunk
        return max(n for n in range(every, min(target, whole) + 1, every) if whole % n == 0)
    chunks = -(-whole // target)
    return -(-whole // (every * chunks)) * every


def task_steps(cfg: ConfigDict) -> int:
    """Return the number of steps per task, which is `steps` for a run with a single task."""
    return ("tasks" in cfg and cfg.tasks.steps) or cfg.steps


def pin_window(cfg: ConfigDict) -> int:
    """Return the number of steps from a jump to the kept states before and after it.

    Args:
      cfg: a valid config.

    Returns:
      `checkpoint.pin_window`, or the length of five measurements if that is 0.
    """
    return cfg.checkpoint.pin_window or PIN_MEASUREMENTS * cfg.probe.every


def lookup(name: str, table: Mapping, field: str):
    """Return the object that a config names: an entry of a table or a user-defined function.

    Args:
      name: key of the table, or `package.module:function`.
      table: name -> object.
      field: name of the field that holds the name, for the error message.

    Returns:
      The object.

    Raises:
      ConfigError: if the name, module or function is unknown.
    """
    if name in table:
        return table[name]
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{field}={name!r}: {error}{did_you_mean(name, table)}") from error


def to_json(cfg: ConfigDict) -> dict:
    """Convert a config to plain JSON data."""
    return json.loads(json.dumps(cfg.to_dict()))


def from_json(data: Mapping) -> ConfigDict:
    """Restore a config from the JSON data that `to_json` returned.

    Lists become tuples again. Fields that did not exist when the config was written get their
    defaults. Fields of other families, which older configs contain, are left out.

    Args:
      data: JSON data of a config.

    Returns:
      A new ConfigDict.

    Raises:
      ConfigError: if the data is not a config.
    """

    def restore(value):
        if isinstance(value, Mapping):
            return {name: restore(v) for name, v in value.items()}
        return tuple(value) if isinstance(value, list) else value

    try:
        family = data.get("family", "tap")
        cfg = defaults(family)
        with cfg.unlocked():
            cfg.update(restore(_without_other_families(data, family)))
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"this is not a config: {error}") from error
    return cfg


def _without_other_families(data, family, prefix=""):
    kept = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            within = _without_other_families(value, family, f"{prefix}{name}.")
            kept |= {name: within} if within or not value else {}
        elif family_of(prefix + name) in (None, "", family):
            kept[name] = value
    return kept


def with_former_steps(cfg: ConfigDict, old: Mapping, extend: bool) -> ConfigDict:
    """Set the `former_steps` of a config to the lengths from which the run was extended.

    Args:
      cfg: config of the requested run.
      old: content of the run directory's config.json.
      extend: whether schedules may continue beyond the number of steps that they were made for.

    Returns:
      A new config. Its `former_steps` are those of the old config that are below `cfg.steps`. If
      this is an extension and the old config has a schedule that ends with the run, the old number
      of steps is added.
    """
    before = from_json(old)
    former = tuple(length for length in before.former_steps if length < cfg.steps)
    if extend and before.steps < cfg.steps and schedules_of_steps(flatten(before)):
        former += (before.steps,)
    return from_json(to_json(cfg) | {"former_steps": former})


def config_hash(cfg: ConfigDict) -> str:
    """Return the first 16 hexadecimal digits of the sha256 of a config's canonical JSON."""
    fields = to_json(cfg)
    # The first runs had no such field. Leaving it out where it is empty keeps their hashes valid.
    if not fields["former_steps"]:
        del fields["former_steps"]
    text = json.dumps(fields, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def diff(old: Mapping, new: Mapping) -> list[str]:
    """List the fields in which two configs differ.

    Args:
      old: nested mapping of one config.
      new: nested mapping of the other config.

    Returns:
      `name: old -> new` for each field that differs, sorted by name.
    """
    a, b = flatten(old), flatten(new)
    return [
        f"{name}: {a.get(name)!r} -> {b.get(name)!r}"
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    ]
