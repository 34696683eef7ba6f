r"""Train a config file for every combination of some of its arguments, here or on many machines.

    tapjax sweep --config=configs/credit/online.py --fixed=epochs=6,seeds=1 \
        --grid='method=dfa,dir;block_lr=1e-4,3e-4;seed_block=0:4' --workdir=runs/rates
    tapjax sweep ... --engine=dask --scheduler=tcp://127.0.0.1:8786
    tapjax sweep ... --engine=dask --scheduler=tls://HOST:8786 \
        --tls_ca_file=ca.pem --tls_cert=cert.pem --tls_key=key.pem

Each combination is a run in a folder of WORKDIR that is named by its arguments. Runs that are done
are skipped, so the same command resumes a sweep. A run that fails three times is reported, and the
other runs continue. Besides the arguments of the file, the grid may name fields, as in
config.optimizer.lr=1e-3,3e-4, and `seed_block`. Block B of a config with S seeds has the seeds of
the config plus B * S. Values that contain commas are separated by `|`. Exit codes: 0 all done,
1 some failed, 2 bad usage or config, 75 preempted.
"""

import itertools
import re
import runpy
import sys
from pathlib import Path

from absl import flags

from configs.common import read_value
from launch.arguments import field_problem, needs_family
from launch.flags import main, said_by
from launch.training import define_processes, here, train_all
from tapjax.config.schema import ConfigError, check, flatten
from tapjax.contract import lease
from tapjax.contract.layout import write_json
from tapjax.run.limits import check_addresses
from tapjax.sweep.engines import Certificates, dask
from tapjax.sweep.jobs import SWEEP, Policy, alone, make_job, planned

CONFIG_FILE = flags.DEFINE_string("config", None, "Config file, without arguments.", required=True)
FIXED = flags.DEFINE_string(
    "fixed", "", "Arguments that all runs share, as in quick,dataset=digits."
)
GRID = flags.DEFINE_string(
    "grid",
    "",
    "Arguments or fields with several values, as in "
    "arch=mlp_wide,cnn_deep;lr=1e-3,3e-4;seed_block=0:4; all combinations are run.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder in which each combination gets a run directory.", required=True
)
ENGINE = flags.DEFINE_enum(
    "engine",
    "local",
    ["local", "dask"],
    "Train on this machine (local), or on the workers of a Dask scheduler (dask).",
)
SCHEDULER = flags.DEFINE_string(
    "scheduler", None, "Address of the Dask scheduler, as in tcp://HOST:8786."
)
TLS = [
    flags.DEFINE_string(
        "tls_ca_file",
        None,
        "For tls:// addresses: file with the certificate of the authority (PEM).",
    ),
    flags.DEFINE_string(
        "tls_cert", None, "For tls:// addresses: file with the certificate of this process (PEM)."
    ),
    flags.DEFINE_string(
        "tls_key", None, "For tls:// addresses: file with the key of that certificate (PEM)."
    ),
]
DRIFT = flags.DEFINE_bool(
    "allow_numeric_drift",
    False,
    "Resume although the bits may differ, for example with another number of cores or other "
    "versions.",
)
EXTEND = flags.DEFINE_bool(
    "extend",
    False,
    "Continue a finished run with more steps although a schedule depends on their number.",
)
LEASE = flags.DEFINE_integer(
    "lease", lease.LEASE,
    "Seconds without a heartbeat after which a run is taken over from the process that trains it.",
    lower_bound=3 * lease.BEAT,
)  # fmt: skip
PROCESSES = define_processes()
DRY = flags.DEFINE_bool("dry_run", False, "Print the names of the runs, and train nothing.")
BLOCK, FIELD = "seed_block", "config."
LONGEST = 240  # bytes of a run's name: file systems allow 255, and related files have longer names


def body() -> int:
    """Check every config, train the runs and return the exit code."""
    if (ENGINE.value == "dask") != bool(SCHEDULER.value):
        raise ConfigError("--engine=dask and --scheduler=tcp://HOST:PORT go together")
    certificates = _certificates()
    grid, folder = combinations(GRID.value), Path(WORKDIR.value)
    jobs = [make_job(name, _config(chosen), folder) for name, chosen in grid.items()]
    if DRY.value:
        print("\n".join(grid))
        return 0
    policy = Policy(DRIFT.value, EXTEND.value, LEASE.value)
    if SCHEDULER.value:
        engine = dask(SCHEDULER.value, policy, certificates)
    else:
        check_addresses()
        engine = here(jobs, PROCESSES.value, policy)
    long = [name for name in grid if len(name.encode()) > LONGEST]
    if long:
        raise ConfigError(
            f"--grid: {long[0][:60]}... is no name for a folder, {len(long[0].encode())} bytes are "
            f"more than {LONGEST}: pass what all runs share by --fixed"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):  # another sweep may use the same folder
        runs = planned(folder) | {job.name: job.config["steps"] for job in jobs}
        write_json(folder / SWEEP, {"argv": sys.argv[1:], "steps": runs})
    failed, preempted = train_all(jobs, engine)
    for name, problem in failed.items():
        print(f"failed: {name}: {problem}", file=sys.stderr)
    return 75 if preempted else 1 if failed else 0


def _certificates():
    """Return the TLS files that the flags name; None if they name none."""
    named = {flag.name: flag.value for flag in TLS}
    if not any(named.values()):
        return None
    if not (SCHEDULER.value or "").startswith("tls://"):
        raise ConfigError(
            "--tls_ca_file, --tls_cert and --tls_key need --scheduler=tls://HOST:PORT"
        )
    for name, path in named.items():
        if not Path(path or "").is_file():
            raise ConfigError(f"--{name}={path or ''}: there is no such file; all three are needed")
    return Certificates(*named.values())


def combinations(grid: str) -> dict[str, dict[str, str]]:
    """List the runs of a grid.

    Args:
      grid: text of the form `name=value,value;name=start:stop`.

    Returns:
      Folder name -> argument -> value, one folder per combination.

    Raises:
      ConfigError: the text is not of that form, names an argument twice or holds a run twice.
    """
    axes = []
    for part in filter(None, grid.split(";")):
        name, equals, text = part.partition("=")
        values = _values(text)
        if not (name and equals and values and all(values)):
            raise ConfigError(f"--grid={part!r} is not of the form NAME=VALUE,VALUE")
        axes.append([(name, value) for value in values])
    names = [axis[0][0] for axis in axes]
    if len(set(names)) < len(names):
        raise ConfigError(f"--grid={grid!r} names an argument twice")
    runs = {}
    for chosen in itertools.product(*axes):
        folder = ",".join(map("=".join, chosen)) or "run"
        runs[re.sub("[:/]", "-", folder)] = dict(chosen)
    if len(runs) < len(list(itertools.product(*axes))):
        raise ConfigError(f"--grid={grid!r} holds a run twice")
    return runs


def _values(text) -> list[str]:
    """Split the values of an axis; a setting such as width=8 belongs to the value before it."""
    if re.fullmatch(r"\d+:\d+", text):
        return [str(number) for number in range(*map(int, text.split(":")))]
    if "|" in text:
        return text.split("|")
    values = []
    for part in text.split(","):
        if "=" in part and ":" not in part and values:
            values[-1] += f",{part}"
        else:
            values.append(part)
    return values


def _config(chosen: dict[str, str]):
    """Return the checked config of one combination."""
    path = Path(CONFIG_FILE.value)
    if not path.is_file():
        file, colon, given = str(path).partition(":")
        how = f"; pass {given!r} by --fixed or --grid" if colon and Path(file).is_file() else ""
        raise ConfigError(f"--config={path}: there is no such file{how}")
    fields = {name: value for name, value in chosen.items() if name.startswith(FIELD)}
    arguments = [f"{n}={v}" for n, v in chosen.items() if n != BLOCK and n not in fields]
    try:
        module = runpy.run_path(str(path))
        if "get_config" not in module:
            raise ValueError("it has no get_config")
        config = module["get_config"](",".join([FIXED.value, *arguments]))
        check(config)
        for name, value in fields.items():
            _set(config, name.removeprefix(FIELD), value)
        block = read_value(BLOCK, chosen.get(BLOCK, "0"), "=", 0)
    except ConfigError:
        raise
    except Exception as error:  # a config file is code and may raise any error
        raise ConfigError(f"{path}: {said_by(error)}") from error
    config.seeds = tuple(seed + block * len(config.seeds) for seed in config.seeds)
    check(config)
    return config


def _set(config, name, value):
    """Set a field, such as optimizer.lr, from text."""
    flat = flatten(config)
    if name == "seeds":
        raise ConfigError("--grid: seeds of a run are set by --fixed=seeds=N, and seed_block=0:4")
    problem = field_problem(name, value)
    if problem:
        raise ConfigError(f"--grid: {problem.removeprefix('--')}")
    if name not in flat:
        raise ConfigError(f"--grid: config.{name} {needs_family(name)}")
    config.update_from_flattened_dict({name: read_value(name, value, "=", flat[name])})


if __name__ == "__main__":
    main(body)
