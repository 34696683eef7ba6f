"""python -m analysis COMMAND RUN... [--out DIR] [--json]"""  # noqa: D400, D415

import argparse
import importlib
import itertools
import json
import os
import sys

import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.runs.reader import RunError, find_runs, open_run
from tapjax.contract.files import printable, with_home
from tapjax.contract.layout import write_json

# Name -> (module of analysis.commands, help); those in the first table read runs.
READERS = {
    "summary": ("summary", "table of runs"),
    "tap": ("tap", "fit models of D(t)"),
    "alpha": ("alpha", "is alpha a function of the architecture?"),
    "jumps": ("jumps", "list the jumps of D and of every layer"),
    "monitor": ("monitor", "what the live monitor would have said of runs"),
    "mechanistic": ("mechanistic", "what changes inside around jumps, beyond what always does"),
    "emergence": ("emergence", "does D move before capabilities do?"),
    "credit": ("credit", "how good estimated credits are, and what training by them is worth"),
    "plasticity": ("plasticity", "does a network go on learning, what does it remember?"),
    "edm": ("edm", "which recorded variables act on each other?"),
    "motifs": ("motifs", "which movements recur while networks train, on one map?"),
    "spectra": ("spectra", "how fast components move, beside a random walk of the same steps"),
    "report": ("report", "every analysis that suits the runs, on one page"),
    "predictor": ("predictor", "how well D(t) can be predicted before training"),
}
OTHERS = {
    "predict": ("forecast", "forecast D(t) of a network that was never trained"),
    "import": ("importing", "foreign arrays into runs"),
    "validate-detector": ("detector", "recall and false positives of jump detectors"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    reads = argparse.ArgumentParser(add_help=False, parents=[common])
    reads.add_argument("runs", nargs="+", help="run directories, or folders that hold them")
    reads.add_argument("--partial", action="store_true", help="read unfinished or damaged runs")
    subparsers = top.add_subparsers(dest="command", required=True)
    for parent, table in ((reads, READERS), (common, OTHERS)):
        for name, (module, text) in table.items():
            command = subparsers.add_parser(name, parents=[parent], help=text)
            if name in sys.argv[1:2]:  # the libraries of the others would take seconds to load
                _module(module).add_arguments(command)
    return top


def _module(name):
    return importlib.import_module(f"analysis.commands.{name}")


def main() -> int:
    """Parse, run, print."""
    args = parser().parse_args(list(map(with_home, sys.argv[1:])))
    try:
        _check_out(args.out if "out" in args else None)
        with threadpool_limits(1, user_api="blas"):  # see predict.leave_one_out
            module, _ = (READERS | OTHERS)[args.command]
            result, table = _module(module).run(args)
        _note_parts(args, result)
        _print(args, result, table)
    except RunError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough: nothing may be printed at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _check_out(out):
    """Refuse a place where nothing can be written, before anything is computed."""
    if out is None:
        return
    if "--out=" in sys.argv or ("--out", "") in itertools.pairwise(sys.argv):
        raise RunError("--out= names no folder")
    kind = "file" if out.suffix == ".html" else "folder"
    if out.exists() and out.is_dir() != (kind == "folder"):
        raise RunError(f"--out={out} is no {kind}: name another")


def _note_parts(args, result):
    """Say of which runs only a part was read: on stderr, in the result and beside the files."""
    if not getattr(args, "partial", False):
        return
    runs = [open_run(path, partial=True) for path in find_runs(args.runs)]
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
    with pd.option_context("display.width", 160, "display.max_columns", 30):
        print(printable(table.to_string(float_format=lambda v: f"{v:.3g}", na_rep="-")))
    if args.out:
        print(f"written to {args.out}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
