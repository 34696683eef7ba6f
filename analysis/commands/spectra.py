"""Measure how fast components move, and compare them with a random walk with the same steps."""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures import spectra as figures
from analysis.motifs import power_spectra
from analysis.motifs.channels import (
    CHANNELS,
    OF,
    Recorded,
    between,
    default_kind,
    epoch_steps,
    recorded,
)
from analysis.runs.reader import RunError, open_runs
from analysis.runs.seeds import interval
from analysis.statistics.corrections import correct, sign_flip_p
from tapjax.contract.text import plural

MODES = 10
# Each measure is compared with random walks, and corrected for multiple tests separately.
MEASURES = ("slope", "cosine", "first_3")


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "spectra")
    add_figure_flags(parser)
    parser.add_argument("--channels", help=CHANNELS)
    parser.add_argument(
        "--of",
        default="levels",
        choices=OF,
        help="what is analysed: recorded values (levels), or changes from point to point "
        "(increments)",
    )
    parser.add_argument("--modes", type=int, default=MODES, help="number of principal components")
    parser.add_argument("--start", type=int, default=0, help="first training step to use")
    parser.add_argument(
        "--stop", type=int, help="training step before which to stop; by default the end of the run"
    )
    parser.add_argument(
        "--segment", type=int,
        help=f"length of a segment of the spectrum, in points; by default {power_spectra.SEGMENT}, "
        "at most an eighth of the run",
    )  # fmt: skip


def run(args):
    """Run the command with its parsed flags."""
    if args.modes < 1:
        raise RunError(f"--modes={args.modes} must be at least 1")
    columns = args.channels, args.start, args.stop
    return compare(args.runs, args.out, args.partial, columns, args.of, args.modes, args.segment)


def compare(
    paths, out: Path, partial=False, columns=(None, 0, None), of="levels", modes=MODES, segment=None
):
    """Compare the spectra of runs with those of random walks.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for spectra.json, spectra.csv and the figures.
      partial: whether to read unfinished runs, too.
      columns: kind of channels (None for the default of each run), first step, and step after the
        last one (None for the end of the run).
      of: `levels` for the recorded values, `increments` for their changes.
      modes: number of principal components.
      segment: number of points in a segment of the spectrum; None for the default.

    Returns:
      (JSON result, table to print).

    Raises:
      RunError: the channels are not recorded or constant, or a run is too short.
    """
    kind, *part = columns
    runs, refused = open_runs(paths, partial)
    rows, drawn = [], {}
    for run in tqdm(runs, desc="spectra", unit="run", disable=None):
        own = kind or default_kind(run)
        found = between(recorded(run, own), *part)
        made, drawn[run.name] = _one(
            found, epoch_steps(run), f"{of} of {own}", of, modes, segment, out / run.name
        )
        rows += made
    told = [correct(rows, f"{measure}_p", f"{measure}_q") for measure in MEASURES]
    table = pd.DataFrame(rows).set_index("run")
    result = {"command": "spectra", "of": of, "rows": rows, "figures": drawn, "refused": refused}
    result = plain(result | {"notes": [line for line in told if line]})
    result["conclusion"] = (
        "The principal components have power spectra of slope "
        f"{np.mean([row['slope'] for row in rows]):.2f} on average; a random walk has -2."
    )
    write_results(out, "spectra", result, table)
    return result, table.drop(columns=[name for name in table if name.endswith("_half")])


def _one(columns: Recorded, epoch, what, of, modes, segment, folder):
    """Return the table rows and the figures of one run."""
    points = len(columns.steps)
    segment = segment or min(power_spectra.SEGMENT, points // 8)
    if not 16 <= segment <= points // 2:
        raise RunError(
            f"{columns.name}: segments of {segment} points: --segment must be between 16 and half "
            f"of the {points} points of the run"
        )
    found = power_spectra.movements(columns, of, modes, segment)
    frequency = power_spectra.frequencies(segment)
    rows = [_row(columns.name, group, *pair, frequency) for group, pair in found.items()]
    every = int(columns.steps[1] - columns.steps[0])
    title = f"{columns.name}: {what}, {plural(len(columns.values), 'seed')}"
    pictures = [
        figures.power(found, frequency, epoch and every / epoch, every, title, folder / "power"),
        figures.components(found, columns.steps, title, folder / "components"),
        figures.shares(found, title, folder / "shares"),
    ]
    return rows, [path.name for path in pictures]


def _row(name, group, recorded_S, walk_S, frequency):
    """Build one row of the table: means over seeds, and tests against the random walks.

    `peak` is the frequency with the most power. For levels it is mostly the lowest frequency.
    """
    measures = {
        "slope": lambda m: power_spectra.slope(frequency, m.power_F),
        "cosine": lambda m: m.cosine,
    }
    if len(recorded_S[0].share_K) > 3:
        measures["first_3"] = lambda m: float(m.share_K[:3].sum())
    row = {"run": name, "group": group, "n": len(recorded_S)}
    peak = np.mean([frequency[1 + np.argmax(m.power_F[1:])] for m in recorded_S])
    row["peak"] = float(peak)
    for measure, of in measures.items():
        own, walk = (np.array([of(m) for m in kind]) for kind in (recorded_S, walk_S))
        row[measure], row[f"{measure}_half"] = interval(own)
        row[f"{measure}_walk"], row[f"{measure}_walk_half"] = interval(walk)
        row[f"{measure}_p"] = sign_flip_p(own - walk)
    return row
