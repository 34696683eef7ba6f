"""Show when each probe example is learned and forgotten, and which examples jumps belong to.

The examples are measured by `tapjax measure --measures=examples`, or while the run trains, with
`--config.probe.measures=examples`.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_csv, write_results
from analysis.figures import examples as figures
from analysis.figures.style import synthetic
from analysis.mechanistic.examples import agreement, at_jumps, learning
from analysis.runs.reader import RunError, open_runs
from tapjax.contract.text import plural, shortened

ALPHA = 0.05  # of a jump that belongs to few examples, or turns unusually many


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "examples")
    add_figure_flags(parser)


def run(args):
    """Run the command with its parsed flags."""
    return describe(args.runs, args.out, args.partial)


def describe(paths, out: Path, partial=False):
    """Describe the learning of the probe examples of runs, and the examples of their jumps.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for examples.json, examples.csv, and for each run a figure, each_example.csv and
        jumps.csv.
      partial: whether to read unfinished runs, too.

    Returns:
      (JSON result, table to print): for each seed the share of examples that are learned, the
      median step at which they are, and the share that is forgotten at least once.

    Raises:
      RunError: no run has the measure `examples` at three steps or more.
    """
    runs, refused = open_runs(paths, partial)
    rows, jumps, left_out = [], [], []
    for each in runs:
        try:
            found = learning(each)
        except RunError as error:
            left_out.append(str(error))
            continue
        own_jumps, listed = at_jumps(each)
        jumps += [{"run": each.name} | jump for jump in own_jumps]
        rows += _rows(each, found)
        title = f"{each.model['architecture']} on {each.model['data']}{synthetic(each)}"
        figures.learned(found, own_jumps, title, out / each.name / "examples")
        write_csv(out / each.name / "each_example.csv", _each(each, found), index=False)
        write_csv(out / each.name / "jumps.csv", pd.DataFrame(listed), index=False)
    if not rows:
        raise RunError(f"no run has measured examples: {shortened(left_out)}")
    table = pd.DataFrame(rows).set_index("run")
    result = {
        "command": "examples",
        "rows": rows,
        "jumps": jumps,
        "conclusions": [_order(table), _of_jumps(jumps)],
        "refused": refused + left_out,
    }
    result = plain(result)
    write_results(out, "examples", result, table)
    return result, table


def _rows(each, found):
    value, p = agreement(found.learned)
    return [
        {
            "run": each.name,
            "seed": seed,
            "learned": np.isfinite(learned_P).mean(),
            "median step": np.nanmedian(learned_P) if np.isfinite(learned_P).any() else np.nan,
            "forgotten": (forgotten_P > 0).mean(),
            "agreement of seeds": value,
            "p": p,
        }
        for seed, learned_P, forgotten_P in zip(
            each.seeds, found.learned, found.forgotten, strict=True
        )
    ]


def _each(each, found):
    columns = {"example": np.arange(found.learned.shape[1])}
    for i, seed in enumerate(each.seeds):
        columns[f"learned, seed {seed}"] = found.learned[i]
        columns[f"forgotten, seed {seed}"] = found.forgotten[i]
    return pd.DataFrame(columns)


def _order(table):
    known = table[table["p"].notna()].groupby("run", sort=False).first()
    if known.empty:
        return "The order of learning is not compared: it needs two seeds or more."
    agreed = known[known["p"] * len(known) <= ALPHA]
    return (
        f"Seeds learn the examples in the same order in {len(agreed)} of "
        f"{plural(len(known), 'run')} (rank correlation {known['agreement of seeds'].min():.2f} to "
        f"{known['agreement of seeds'].max():.2f})."
    )


def _of_jumps(jumps):
    tested = [jump for jump in jumps if "why" not in jump]
    if not tested:
        lie = "jump of D lies" if len(jumps) == 1 else "jumps of D lie"
        return f"{len(jumps)} {lie} between measurements of the examples; none could be tested."
    said = {
        "turn unusually many examples": "p_turned",
        "belong to unusually few examples": "p_concentration",
        "change a single example unusually": "p_example",
    }
    parts = [f"{sum(j[key] <= ALPHA for j in tested)} {text}" for text, key in said.items()]
    return f"Of {plural(len(tested), 'jump')} of D, {', '.join(parts)} (corrected p up to {ALPHA})."
