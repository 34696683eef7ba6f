"""`validate-detector`: how far to trust a jump detector."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from analysis import jumps
from analysis.commands.output import plain, write_results
from analysis.io import RunError
from analysis.validity import validate

FIRST_SEED = 1000  # the thresholds were chosen on batteries below 100


def add_arguments(parser) -> None:
    """The command's own flags."""
    parser.add_argument("--out", type=Path, default=Path("out/detector"), help="for the results")
    parser.add_argument("--seeds", type=int, default=20, help="batteries to try")


def run(args):
    """Carry out the parsed command.

    Raises:
      RunError: fewer than one battery.
    """
    if args.seeds < 1:
        raise RunError(f"--seeds={args.seeds} must be at least 1")
    rows = []
    for name, find in tqdm(detectors().items(), desc="detectors", disable=None):
        scores = validate(find, args.seeds, FIRST_SEED)
        rows += [{"detector": name, **score} for score in scores]
    table = pd.DataFrame(rows)
    result = {"command": "validate-detector", "seeds": args.seeds, "scores": plain(rows)}
    write_results(args.out, "detector", result, table.set_index("detector"))
    wide = table.assign(shown=table["recall"].fillna(table["false_per_1000"]))
    shown = wide.pivot_table("shown", "fixture", "detector", sort=False)
    null = table.groupby("fixture", sort=False)["recall"].first().isna()
    shown.insert(0, "shows", np.where(null.loc[shown.index], "false per 1000", "recall"))
    return result, shown


def detectors() -> dict[str, Callable]:
    """Ours, PELT where ruptures is installed, and a plain z-score.

    Returns:
      Name -> (series [T] -> indices).
    """
    table = {"tapjax": _ours, "upward z-score": _z_score}
    try:
        import ruptures
    except ImportError:
        print("PELT is left out: pip install 'tapjax[jumps]'", file=sys.stderr)
        return table
    return table | {"PELT": lambda series: _pelt(ruptures, series)}


def _ours(series):
    return [jump.index for jump in jumps.detect(series, np.arange(len(series)))]


def _z_score(series):
    """What the recorded runs were analysed with: smoothed slopes over 2 standard deviations."""
    slope = gaussian_filter1d(np.gradient(series), 3)
    return np.flatnonzero((slope - slope.mean()) / (slope.std() + 1e-10) > 2)


def _pelt(ruptures, series):
    """Optimal segmentation into constant levels, penalised as white noise would need."""
    noise = 1.4826 * np.median(np.abs(np.diff(series))) / np.sqrt(2)
    penalty = 3 * np.log(len(series)) * noise**2
    return ruptures.Pelt(model="l2", min_size=5, jump=1).fit_predict(series, penalty)[:-1]
