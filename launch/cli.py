"""Command `tapjax`, which runs every script and every analysis.

    tapjax run --config=configs/tap/calibration.py:quick --workdir=runs/a
    tapjax summary runs
    tapjax fields credit

The names `tap` and `monitor` have two meanings: `tapjax tap` and `tapjax monitor` run the script if
a flag follows, and the analysis if a run follows.
"""

import os
import runpy
import sys

from analysis.commands import COMMANDS
from tapjax import __version__
from tapjax.contract.text import did_you_mean

SCRIPTS = {
    "run": "train and measure one config",
    "sweep": "train a config for every combination of some of its arguments",
    "tap": "run the tap experiment in four phases, with one report at the end",
    "replay": "compute any step of a run again, and save what the network held",
    "intervene": "ask whether a change mattered, by undoing it in single units and layers",
    "measure": "measure any step of a run afterwards: curvature, noise scale, tangent kernel, ...",
    "monitor": "watch a run while it trains",
    "status": "list the runs of a sweep and their states",
    "bench": "measure speed as ratios, or kill runs and compare their ends",
    "fields": "list the fields of a config with their defaults and meanings",
}


def commands() -> str:
    """Return the list of all commands, one per line."""
    lines = ["usage: tapjax COMMAND ...", "", "experiments:"]
    lines += [f"  {name:18} {text}" for name, text in SCRIPTS.items()]
    lines += ["", "analyses of recorded runs:"]
    lines += [f"  {name:18} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "`tapjax COMMAND --help` lists the flags of a command."])


def _run_command() -> int:
    """Run the command that the first argument names, and return its exit code."""
    name, *rest = sys.argv[1:] or [""]
    if name in ("", "help", "--help", "-h"):
        print(commands())
        return 0
    if name == "--version":
        print(f"tapjax {__version__}")
        return 0
    of_runs = bool(rest) and not rest[0].startswith("-")
    if name in SCRIPTS and not (of_runs and name in COMMANDS):
        sys.argv[1:] = rest
        runpy.run_module(f"launch.{name}", run_name="__main__", alter_sys=True)
        return 0
    if name in COMMANDS:
        from analysis.__main__ import main as analyse

        return analyse("tapjax")
    known = [*SCRIPTS, *COMMANDS]
    print(f"error: {name!r} is no command{did_you_mean(name, known)}", file=sys.stderr)
    return 2


def main() -> int:
    """Run the command that the first argument names, and return its exit code."""
    try:
        try:
            return _run_command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has stopped reading: print nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
