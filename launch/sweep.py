"""Train a config file for every combination of some of its arguments.

    python -m launch.sweep --config=configs/credit/online.py --fixed=epochs=6,seeds=1 \
        --grid='method=dfa|dir;block_lr=1e-4|3e-4' --workdir=runs/rates

Each combination is a run in WORKDIR, named by its arguments. Runs that are done are skipped, so the
same command resumes; one that fails is reported and the rest go on. Exit codes: 0 all done, 1 some
failed, 2 bad usage or config, 75 preempted.
"""

import itertools
import runpy
import sys
from pathlib import Path

from absl import flags

from launch.cells import train_all
from launch.flags import main, prepare_jax
from tapjax.config import ConfigError, check

CONFIG_FILE = flags.DEFINE_string("config", None, "Config file.", required=True)
FIXED = flags.DEFINE_string("fixed", "", "Arguments of every run, as after the file's colon.")
GRID = flags.DEFINE_string("grid", "", "NAME=VALUE|VALUE;NAME=... of which all combinations run.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs.", required=True)
DRY = flags.DEFINE_bool("dry_run", False, "Only list the runs.")


def body() -> int:
    """Check every config, then train."""
    configs = {name: _config(arg) for name, arg in combinations(FIXED.value, GRID.value).items()}
    if DRY.value:
        print("\n".join(configs))
        return 0
    prepare_jax()
    failed, preempted = train_all(configs, Path(WORKDIR.value))
    for name, problem in failed.items():
        print(f"failed: {name}: {problem}", file=sys.stderr)
    return 75 if preempted else 1 if failed else 0


def combinations(fixed: str, grid: str) -> dict[str, str]:
    """The runs of a grid.

    Args:
      fixed: arguments of all.
      grid: `name=value|value;name=value|value`.

    Returns:
      Folder name -> arguments.

    Raises:
      ConfigError: not of that form.
    """
    axes = []
    for part in filter(None, grid.split(";")):
        name, equals, values = part.partition("=")
        if not (name and equals and all(values.split("|"))):
            raise ConfigError(f"--grid={part!r} is not of the form NAME=VALUE|VALUE")
        axes.append([f"{name}={value}" for value in values.split("|")])
    chosen = [",".join(parts) for parts in itertools.product(*axes)]
    return {
        (arg or "run").replace(":", "-"): ",".join(filter(None, (fixed, arg))) for arg in chosen
    }


def _config(arg):
    path = Path(CONFIG_FILE.value)
    if not path.is_file():
        raise ConfigError(f"--config={path}: no such file")
    try:
        config = runpy.run_path(str(path))["get_config"](arg)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    check(config)
    return config


if __name__ == "__main__":
    main(body)
