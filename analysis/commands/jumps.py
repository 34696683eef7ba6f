"""Find the jumps of D and of every layer in every run, seed by seed.

`validate-detector` measures how far the detected jumps can be trusted.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.commands.output import add_out, plain, write_results
from analysis.mechanistic.critical_steps import COLUMNS, jumps_of_run, searched
from analysis.runs.measures import of_measure
from analysis.runs.reader import RunError, open_runs
from tapjax.contract import detector
from tapjax.contract.text import plural, shortened


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "jumps")
    parser.add_argument(
        "--metric",
        help="recorded metric that D is computed from, by default that of each run; or a quantity "
        "of a measure that is searched instead, MEASURE/QUANTITY",
    )


def run(args):
    """Run the command with its parsed flags."""
    return find_jumps(args.runs, args.out, args.partial, args.metric)


def find_jumps(paths: Sequence, out: Path | None, partial: bool, metric: str | None = None):
    """Find the jumps of D and of each layer, seed by seed.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for jumps.json and jumps.csv; None to write no files.
      partial: whether to read unfinished runs, too.
      metric: name of a recorded dimensionality metric; None uses the metric of each run.

    Returns:
      (JSON result, table to print: number of jumps per run).

    Raises:
      RunError: every run is too short for the detector.
    """
    runs, refused = open_runs(paths, partial)
    rows, counts, total = [], [], 0
    for run in runs:
        try:
            found = jumps_of_run(run, metric)
        except RunError as error:
            refused.append(str(error))
            continue
        rows += found
        measurements, series = searched(run, metric)
        values = len(run.seeds) * measurements * series
        total += values
        in_d = [row for row in found if row["layer"] == detector.MEAN]
        counts.append(
            {
                "run": run.name,
                "seeds": len(run.seeds),
                "measurements": measurements,
                "jumps_of_D": len(in_d),
                "jumps_of_layers": len(found) - len(in_d),
                "layers": series - 1 if not of_measure(metric) else series,
                "false_on_worst_null": detector.FALSE_PER_1000 * values / 1000,
            }
        )
    if not counts:
        raise RunError("no run could be searched for jumps: " + shortened(refused))
    result = {
        "command": "jumps",
        "runs": counts,
        "jumps": plain(rows),
        "conclusion": _conclusion(counts, metric),
        "by_chance": detector.by_chance(total),
        "refused": refused,
    }
    write_results(out, "jumps", result, pd.DataFrame(rows, columns=COLUMNS).set_index("run"))
    return result, pd.DataFrame(counts).set_index("run")


def _conclusion(counts, metric):
    measured = of_measure(metric)
    series = "layers" if measured else None
    points = sum(row["seeds"] * row["measurements"] * row.get(series, 1) for row in counts)
    found = sum(row["jumps_of_layers" if measured else "jumps_of_D"] for row in counts)
    return (
        f"{plural(found, 'jump')} of {metric if measured else 'D'} in "
        f"{plural(points, 'measurement')}; {detector.FALSE_PER_1000 * points / 1000:.1f} would be "
        "found on the worst kind of series without jumps."
    )
