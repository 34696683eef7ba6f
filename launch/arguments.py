"""Checks of a script's arguments, which report an error in one line before JAX is loaded."""

import difflib
import itertools
from collections.abc import Sequence
from pathlib import Path

from tapjax.config.schema import FAMILIES, family_of
from tapjax.config.schema import fields as schema_fields
from tapjax.contract.text import did_you_mean

# Names that other systems use for the fields.
MEANT = {
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "lr_schedule": "optimizer.schedule",
    "wd": "optimizer.weight_decay",
    "dataset": "data.name",
    "arch": "model.name",
    "architecture": "model.name",
    "epochs": "steps",
    "num_epochs": "steps",
    "num_steps": "steps",
    "max_steps": "steps",
    "seed": "seeds",
    "rng_seed": "seeds",
    "bs": "data.batch_size",
    "name": "model.name",
}
CONFIGS = Path(__file__).parent.parent / "configs"


def problem(arguments: Sequence[str]) -> str:
    """Check the arguments `--config=FILE` and `--config.FIELD=VALUE`.

    Args:
      arguments: arguments of the command line, without the script's name.

    Returns:
      A sentence about the first argument that cannot work; empty if there is none.
    """
    found = ""
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, value = argument.lstrip("-").partition("=")
        value = value if equals else following
        if argument.startswith("-") and name == "config":
            found = _file_problem(value.partition(":")[0])
        elif argument.startswith("-") and name.startswith("config."):
            found = field_problem(name.removeprefix("config."), value)
        if found:
            break
    return found


def with_config_file(given: Sequence[str]) -> list[str]:
    """Locate config files that come with the package.

    A file in the current folder has precedence over a file of the package with the same path.

    Args:
      given: arguments of the command line, without the script's name.

    Returns:
      The same arguments. The path in `--config=configs/...` is replaced by an absolute path into
      the package if the current folder has no such file.
    """
    found, before = [], ""
    for argument in given:
        name, equals, value = argument.partition("=")
        if equals and name.lstrip("-") == "config":
            found.append(f"{name}={_located(value)}")
        else:
            found.append(_located(argument) if before.lstrip("-") == "config" else argument)
        before = argument
    return found


def _located(config):
    path, colon, text = config.partition(":")
    packaged = CONFIGS.parent / path
    if Path(path).is_file() or CONFIGS not in packaged.resolve().parents or not packaged.is_file():
        return config
    return f"{packaged}{colon}{text}"


def _file_problem(path):
    if not path or Path(path).expanduser().is_file():
        return ""
    known = [str(file.relative_to(CONFIGS.parent)) for file in CONFIGS.glob("*/[!_]*.py")]
    return f"--config={path}: there is no such file{did_you_mean(path, known)}"


def field_problem(name: str, value: str) -> str:
    """Describe what is wrong with setting a field of a config.

    Args:
      name: name of the field, such as `optimizer.lr`.
      value: value as text.

    Returns:
      A sentence; empty if nothing is wrong.
    """
    fields = [field for family in FAMILIES for field in schema_fields(family)]
    fields = list(dict.fromkeys(fields))
    if name == "family":
        return "--config.family cannot be set: choose a config file of that family"
    if name in fields:
        if name == "seeds" and value.strip().lstrip("-").isdigit():
            return (
                f"--config.seeds={value} may mean the seed {value} or {value} seeds: write "
                f"--config.seeds='({value},)' for that seed, or --config=FILE.py:seeds={value} "
                f"for {value} seeds"
            )
        return ""
    within = [field for field in fields if field.startswith(f"{name}.")]
    if within:
        return f"--config.{name} is a group of fields, such as --config.{within[0]}"
    return f"--config.{name} is no field{_meant(name, fields)}"


def other_family(arguments: Sequence[str], error: Exception) -> str:
    """Explain why a config lacks a field, if another family of experiments has that field.

    Args:
      arguments: arguments of the command line, without the script's name.
      error: error that was raised while the fields were set.

    Returns:
      A sentence; empty if the error has another cause.
    """
    if not isinstance(error, (KeyError, AttributeError)):
        return ""
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0].removeprefix("config.")
        if family_of(name) and any(part in str(error) for part in name.split(".")):
            return f"--config.{name} {needs_family(name)}"
    return ""


def needs_family(name: str) -> str:
    """Return the end of a sentence about a field that a config lacks because of its family.

    Args:
      name: name of a field that only one family has.

    Returns:
      Text that follows the name of the field.
    """
    return f"is a field of family={family_of(name)!r}, and this config is of another family"


def _meant(name, fields):
    group, _, last = name.rpartition(".")
    same = [field for field in fields if field.rpartition(".")[2] == last]
    near = difflib.get_close_matches(name, same, 1, 0.0)
    wanted = near[0] if group and near else MEANT.get(last, same[0] if len(same) == 1 else "")
    return f"; did you mean {wanted!r}?" if wanted else did_you_mean(name, fields)
