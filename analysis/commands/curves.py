"""Draw D, loss and accuracy of runs over training, with jumps and pinned checkpoints.

Bands show the range over seeds. The file is a picture (.png) or a vector graphic (.svg, .pdf).
"""

from pathlib import Path

import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import plain
from analysis.figures import course
from analysis.figures.overview import QUANTITIES, overview
from analysis.figures.style import FORMATS, look
from analysis.report import sentences
from analysis.runs.reader import RunError, open_runs
from tapjax.contract.text import did_you_mean


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument(
        "--out", type=Path, default=Path("out/curves"),
        help="file to write; an ending .png, .svg or .pdf sets the format",
    )  # fmt: skip
    parser.add_argument(
        "--quantities", help="panels from top to bottom, as in D,accuracy; by default all recorded"
    )
    add_figure_flags(parser, "double")


def run(args):
    """Run the command with its parsed flags.

    Raises:
      RunError: the file name has another ending, or a quantity is unknown or in no run.
    """
    if args.out.suffix[1:] not in ("", *FORMATS):
        raise RunError(f"--out={args.out} must end in .{', .'.join(FORMATS)}")
    names = [name.strip() for name in (args.quantities or ",".join(QUANTITIES)).split(",")]
    for name in names:
        if name not in QUANTITIES:
            known = f"is not one of {', '.join(QUANTITIES)}{did_you_mean(name, QUANTITIES)}"
            raise RunError(f"--quantities={name!r} {known}")
    runs, refused = open_runs(args.runs, args.partial)
    curves = [course.read(run) for run in runs]
    for name in names:
        if args.quantities and not any(name in one.quantities for one in curves):
            raise RunError(f"--quantities={name!r} was recorded in none of the runs")
    out, ending = args.out, args.out.suffix[1:]
    with look(ending or args.format, args.width):
        drawn = overview(curves, out.with_suffix("") if ending else out, names)
    rows = [{"run": c.name, "step": step, "event": text} for c in curves for step, text in c.events]
    table = pd.DataFrame(rows, columns=["run", "step", "event"]).set_index("run")
    said = sentences.what_happened(curves)
    result = {"command": "curves", "events": rows, "conclusions": said, "refused": refused}
    result |= {"written": str(drawn), "notes": [] if rows else ["no jump, no pinned checkpoint"]}
    return plain(result), table
