"""Command line of the analyses: `python -m analysis COMMAND RUN... [--out DIR] [--json]`."""

import argparse
import contextlib
import importlib
import itertools
import json
import os
import sys
import textwrap

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.commands import COMMANDS, OTHERS, READERS
from analysis.runs.reader import RunError, open_runs
from tapjax.contract.layout import write_json
from tapjax.contract.text import did_you_mean, printable, with_home

WRITE_A_FILE = ("report", "curves")  # commands whose --out is a file, not a folder
WIDTH = 98  # columns of printed tables and sentences


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help formatter that omits the defaults None and False, which would tell the user nothing."""

    def _get_help_string(self, action):
        silent = any(action.default is value for value in (None, False, argparse.SUPPRESS))
        if silent or "%(default)" in action.help:
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Parser that reports wrong usage in one line."""

    def error(self, message):
        """Print one line on stderr and exit with code 2."""
        unknown = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
        known = [name for action in self._actions for name in action.option_strings]
        if message.startswith("unrecognized") and unknown.startswith("-"):
            message = f"{unknown} is no flag{did_you_mean(unknown, known)}"
        self.exit(2, f"error: {printable(message)}; `{self.prog} --help` lists the flags\n")


def parser(program: str, command: str) -> argparse.ArgumentParser:
    """Return the argument parser of one command.

    Args:
      program: name under which the program was called, such as `python -m analysis`.
      command: name of the command, a key of `COMMANDS`.

    Returns:
      Parser of the arguments that follow the command's name.
    """
    module = _module(COMMANDS[command][0])
    made = Parser(prog=f"{program} {command}", description=module.__doc__, formatter_class=Help)
    if command in READERS:
        made.add_argument("runs", nargs="+", help="run directories, or folders that hold them")
        made.add_argument("--partial", action="store_true", help="read unfinished or damaged runs")
    made.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    module.add_arguments(made)
    return made


def commands(program: str) -> str:
    """Return the list of all commands as text, one per line.

    Args:
      program: name under which the program was called.

    Returns:
      Text with a line on usage, the commands and their help.
    """
    lines = [f"usage: {program} COMMAND ...", "", "analyses of recorded runs:"]
    lines += [f"  {name:18} {text}" for name, (_, text) in READERS.items()]
    lines += ["", "other commands:"]
    lines += [f"  {name:18} {text}" for name, (_, text) in OTHERS.items()]
    return "\n".join([*lines, "", f"`{program} COMMAND --help` lists the flags of a command."])


def _module(name):
    return importlib.import_module(f"analysis.commands.{name}")


def main(program: str = "python -m analysis") -> int:
    """Parse the command line, run the command and print its result.

    Args:
      program: name under which the program was called.

    Returns:
      Exit code: 0 for success, 1 if output cannot be written, 2 for wrong usage or unusable data,
      130 if the user interrupted the command.
    """
    command, *given = sys.argv[1:] or [""]
    if command in ("", "help", "--help", "-h"):
        print(commands(program))
        return 0
    if command not in COMMANDS:
        problem = f"{command!r} is no command{did_you_mean(command, COMMANDS)}"
        print(f"error: {printable(problem)}; `{program}` lists them", file=sys.stderr)
        return 2
    args = parser(program, command).parse_args(list(map(with_home, given)))
    try:
        _check_out(command, args.out if "out" in args else None)
        # A single thread is faster here, see held_out.leave_one_out.
        with threadpool_limits(1, user_api="blas"), _look(args):
            result, table = _module(COMMANDS[command][0]).run(args)
        _note_parts(args, result)
        _print(args, result, table)
    except RunError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout, such as `head`, has closed the pipe. Python flushes stdout once more
        # at exit, and that must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _look(args):
    """Return the context that gives figures the format and width that the flags ask for."""
    if "width" not in args:
        return contextlib.nullcontext()
    return _module("figure_flags").look_of(args)  # imports Matplotlib, which takes .3 s


def _check_out(command, out):
    """Raise an error if nothing can be written to `out`, before anything is computed."""
    if out is None:
        return
    if "--out=" in sys.argv or ("--out", "") in itertools.pairwise(sys.argv):
        raise RunError("--out= names no folder")
    kind = "file" if command in WRITE_A_FILE else "folder"
    if out.exists() and out.is_dir() != (kind == "folder"):
        example = f"a file, such as {out / command}" if kind == "file" else "another"
        raise RunError(f"--out={out} is no {kind}: name {example}")


def _note_parts(args, result):
    """Report runs that were read only in part: on stderr, in the result and in partial.json."""
    if not getattr(args, "partial", False):
        return
    runs, _ = open_runs(args.runs, partial=True)
    result["partial"] = {run.name: run.extent for run in runs if not run.complete}
    for name, extent in result["partial"].items():
        print(f"partial: {name}: {extent}", file=sys.stderr)
    if args.out:
        folder = args.out if args.out.is_dir() else args.out.parent
        write_json(folder / "partial.json", result["partial"])


def _print(args, result, table):
    for line in result.get("refused", ()):
        print(f"left out: {printable(line)}", file=sys.stderr)
    for line in result.get("notes", ()):
        print(f"note: {printable(line)}", file=sys.stderr)
    if args.json:
        print(json.dumps(result, allow_nan=False), flush=True)
        return
    if len(table):
        print(printable(_shown(table)))
    for line in filter(None, (result.get("conclusion"), *result.get("conclusions", ()))):
        print(printable(textwrap.fill(line, WIDTH, subsequent_indent="  ")))
    if args.out:
        print(f"written to {result.get('written', args.out)}", flush=True)


def _shown(table):
    """Return a table as text. An index that is the same in all rows is written above the table."""
    above = ""
    table = table.loc[:, [not table[name].isin([None, "", np.nan]).all() for name in table]]
    if len(table) > 1 and table.index.name and table.index.nunique() == 1:
        above = textwrap.fill(f"{table.index.name}: {table.index[0]}", WIDTH) + "\n"
        table = table.set_index(table.columns[0]) if len(table.columns) > 1 else table
    with pd.option_context("display.max_columns", 30, "display.max_colwidth", 40):
        return above + table.to_string(
            float_format=lambda v: f"{v:.3g}", na_rep="-", line_width=WIDTH
        )


if __name__ == "__main__":
    sys.exit(main())
