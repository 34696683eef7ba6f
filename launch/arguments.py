"""What is wrong with the arguments of a script, said in one line before JAX is loaded."""

import difflib
import itertools
from collections.abc import Sequence
from pathlib import Path

from tapjax.config.fields import did_you_mean
from tapjax.config.schema import defaults, flatten

# Other systems' names of fields.
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
    """Look at `--config=FILE` and `--config.FIELD=VALUE`.

    Args:
      arguments: of the command line, without the script's name.

    Returns:
      A sentence about the first that cannot work; empty if there is none.
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


def _file_problem(path):
    if not path or Path(path).expanduser().is_file():
        return ""
    known = [str(file.relative_to(CONFIGS.parent)) for file in CONFIGS.glob("*/[!_]*.py")]
    return f"--config={path}: there is no such file{did_you_mean(path, known)}"


def field_problem(name: str, value: str) -> str:
    """What is wrong with setting a field of a config, in a sentence; empty if nothing is."""
    fields = flatten(defaults())
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


def _meant(name, fields):
    group, _, last = name.rpartition(".")
    same = [field for field in fields if field.rpartition(".")[2] == last]
    near = difflib.get_close_matches(name, same, 1, 0.0)
    wanted = near[0] if group and near else MEANT.get(last, same[0] if len(same) == 1 else "")
    return f"; did you mean {wanted!r}?" if wanted else did_you_mean(name, fields)
