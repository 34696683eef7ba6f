"""Measure the recall and the false positives of jump detectors on synthetic series."""

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from analysis.commands.output import add_out, plain, write_results
from analysis.runs.reader import RunError
from analysis.tap.detector_validity import validate
from tapjax.contract import detector

FIRST_SEED = 1000  # the thresholds were chosen on batteries with seeds below 100


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "detector")
    parser.add_argument(
        "--seeds",
        type=int,
        default=20,
        help="number of batteries of synthetic series, each with its own random seed",
    )


def run(args):
    """Run the command with its parsed flags.

    Raises:
      RunError: fewer than one battery was requested.
    """
    if args.seeds < 1:
        raise RunError(f"--seeds={args.seeds} must be at least 1")
    rows = []
    for name, find in tqdm(detectors().items(), desc="detectors", disable=None):
        scores = validate(find, args.seeds, FIRST_SEED)
        rows += [{"detector": name, **score} for score in scores]
    table = pd.DataFrame(rows)
    worst = worst_null(rows)
    result = {
        "command": "validate-detector",
        "seeds": args.seeds,
        "first_seed": FIRST_SEED,
        "worst_null": plain(worst),
        "scores": plain(rows),
    }
    write_results(args.out, "detector", result, table.set_index("detector"))
    wide = table.assign(shown=table["recall"].fillna(table["false_per_1000"]))
    shown = wide.pivot_table("shown", "fixture", "detector", sort=False)
    null = table.groupby("fixture", sort=False)["recall"].first().isna()
    shown.insert(0, "shows", np.where(null.loc[shown.index], "false per 1000", "recall"))
    return result, shown


def worst_null(rows: list[dict]) -> dict:
    """Find the null on which the detector of tapjax has its highest rate of false positives.

    A null is a synthetic series without jumps.

    Args:
      rows: rows from `validate`, each with the name of its `detector`.

    Returns:
      `fixture`, the name of the null; `false_per_1000`, its false positives per 1000 measurements;
      `nulls`, the number of nulls.
    """
    nulls = [row for row in rows if row["detector"] == "tapjax" and row["recall"] is None]
    worst = max(nulls, key=lambda row: row["false_per_1000"])
    return {
        "fixture": worst["fixture"],
        "false_per_1000": worst["false_per_1000"],
        "nulls": len(nulls),
    }


def detectors() -> dict[str, Callable]:
    """Return the detectors to compare: that of tapjax, a plain z-score, and PELT.

    PELT is left out if the package ruptures is not installed.

    Returns:
      Dict from name to a function that takes series [N, T] and returns N lists of indices.
    """
    table = {"tapjax": _ours, "upward z-score": _one_by_one(_z_score)}
    try:
        import ruptures
    except ImportError:
        print(
            "PELT is left out, because ruptures is not installed: pip install 'tapjax[jumps]'",
            file=sys.stderr,
        )
        return table
    return table | {"PELT": _one_by_one(lambda series: _pelt(ruptures, series))}


def _ours(series_NxT):
    found = detector.detect_each(series_NxT, np.arange(series_NxT.shape[1]))
    return [[jump.index for jump in of_one] for of_one in found]


def _one_by_one(find):
    return lambda series_NxT: [find(series) for series in series_NxT]


def _z_score(series):
    """Return the indices where the smoothed slope is over 2 standard deviations above its mean.

    The recorded runs were analysed with this rule.
    """
    slope = gaussian_filter1d(np.gradient(series), 3)
    return np.flatnonzero((slope - slope.mean()) / (slope.std() + 1e-10) > 2)


def _pelt(ruptures, series):
    """Segment a series optimally into constant levels, with the penalty for white noise.

    With the linear kernel the cost is the squared distance from the mean of a segment. This is the
    cost of model l2 in `ruptures.Pelt`, but `KernelCPD` is a thousand times as fast.
    """
    centred = series - series.mean()
    noise = 1.4826 * np.median(np.abs(np.diff(series))) / np.sqrt(2)
    rounding = 1e-9 * (centred**2).sum()  # the noise of constant levels can be 0
    penalty = max(3 * np.log(len(series)) * noise**2, rounding)
    search = ruptures.KernelCPD(kernel="linear", min_size=5).fit(centred[:, None])
    return search.predict(pen=penalty)[:-1]
