"""python -m analysis COMMAND RUN... [--out DIR] [--json]"""  # noqa: D400, D415

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from analysis import commands
from analysis.io import RunError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    subparsers = top.add_subparsers(dest="command", required=True)

    reads = argparse.ArgumentParser(add_help=False, parents=[common])
    reads.add_argument("runs", nargs="+", help="run directories, or folders that hold them")
    reads.add_argument("--partial", action="store_true", help="read unfinished or damaged runs")

    one = subparsers.add_parser("summary", parents=[reads], help="table of runs")
    one.add_argument("--out", type=Path, help="folder for summary.json and summary.csv")

    two = subparsers.add_parser("tap", parents=[reads], help="fit models of D(t)")
    two.add_argument("--out", type=Path, default=Path("out/tap"), help="folder for the results")
    two.add_argument("--metric", help="dimensionality to average over hidden layers")

    three = subparsers.add_parser("import", parents=[common], help="foreign arrays into runs")
    three.add_argument("arrays", nargs="+", help=".npz files")
    three.add_argument("--out", type=Path, required=True, help="run directory to make")
    three.add_argument("--head", default="none", help="last, none or a layer's name")
    return top


def run(args) -> tuple[dict, pd.DataFrame]:
    """Carry out the parsed command."""
    if args.command == "summary":
        return commands.summary(args.runs, args.out, args.partial)
    if args.command == "tap":
        return commands.tap(args.runs, args.out, args.partial, args.metric)
    return commands.import_runs(args.arrays, args.out, args.head)


def main() -> int:
    """Parse, run, print."""
    args = parser().parse_args()
    try:
        result, table = run(args)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    for line in result.get("refused", ()):
        print(f"not fitted: {line}", file=sys.stderr)
    if args.json:
        print(json.dumps(result, allow_nan=False))
    else:
        with pd.option_context("display.width", 160, "display.max_columns", 30):
            print(table.to_string(float_format=lambda v: f"{v:.3g}"))
        if getattr(args, "out", None):
            print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
