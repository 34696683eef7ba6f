"""`jumps`: every jump of every run, and `validate-detector`: how far to trust them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import jumps
from analysis.commands.output import plain, write_results
from analysis.io import Run, RunError, find_runs, open_run

COLUMNS = ("run", "seed", "metric", "layer", "step", "size", "score")


def add_arguments(parser) -> None:
    """The command's own flags."""
    parser.add_argument("--out", type=Path, default=Path("out/jumps"), help="folder for results")
    parser.add_argument("--metric", help="dimensionality; each run's own by default")


def run(args):
    """Carry out the parsed command."""
    return find_jumps(args.runs, args.out, args.partial, args.metric)


def find_jumps(paths: Sequence, out: Path | None, partial: bool, metric: str | None = None):
    """Jumps of D and of each layer, seed by seed.

    Args:
      paths: run directories or folders of them.
      out: folder for jumps.json and jumps.csv, or None.
      partial: read unfinished runs too.
      metric: dimensionality; each run's own by default.

    Returns:
      (JSON result, table to print: jumps a run).

    Raises:
      RunError: every run is too short to judge.
    """
    rows, counts, refused = [], [], []
    for path in find_runs(paths):
        run = open_run(path, partial)
        try:
            found = jumps_of_run(run, metric)
        except RunError as error:
            refused.append(str(error))
            continue
        rows += found
        in_d = [row for row in found if row["layer"] == jumps.MEAN]
        counts.append(
            {
                "run": run.name,
                "seeds": len(run.seeds),
                "measurements": len(run.steps("probe")),
                "jumps_of_D": len(in_d),
                "jumps_of_layers": len(found) - len(in_d),
                "layers": len(run.layer_names),
            }
        )
    if not counts:
        raise RunError("no run could be judged: " + "; ".join(refused))
    result = {"command": "jumps", "runs": counts, "jumps": plain(rows), "refused": refused}
    write_results(out, "jumps", result, pd.DataFrame(rows, columns=COLUMNS).set_index("run"))
    return result, pd.DataFrame(counts).set_index("run")


def jumps_of_run(run: Run, metric: str | None = None) -> list[dict]:
    """Jumps of one run.

    Args:
      run: an open run.
      metric: dimensionality; the run's own by default.

    Returns:
      One row a jump: run, seed, metric, layer (`mean` for D), step, size, score.

    Raises:
      RunError: too few measurements.
    """
    metric = metric or run.model["dimension"]
    t, least = run.steps("probe"), jumps.LEAST_LENGTH
    if len(t) < least:
        raise RunError(f"{run.path}: {len(t)} measurements are too few for jumps, at least {least}")
    layers_SxTxL = run.array("probe", metric)
    each = np.concatenate([run.dimension(metric)[:, :, None], layers_SxTxL], 2)
    rows = []
    for seed, series_TxL in zip(run.seeds, each, strict=True):
        found = jumps.detect_each(series_TxL.T, t)
        for layer, of_layer in zip((jumps.MEAN, *run.layer_names), found, strict=True):
            rows += [
                dict(zip(COLUMNS, (run.name, seed, metric, layer, *j[1:]), strict=True))
                for j in of_layer
            ]
    return rows
