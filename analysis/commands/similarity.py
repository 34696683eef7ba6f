"""Compare the representations of a run between steps, seeds and layers.

The activations are made by `tapjax measure --measures=representation`.
"""

from pathlib import Path

import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures import similarity as figures
from analysis.figures.style import synthetic
from analysis.mechanistic.similarity import METRICS, SETTLED, settled, similarity
from analysis.runs.reader import RunError, open_runs
from tapjax.contract.text import shortened

LABELS = {"cka": "CKA (debiased)", "procrustes": "Procrustes similarity"}


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "similarity")
    add_figure_flags(parser)
    parser.add_argument("--metric", choices=list(METRICS), default="cka", help="similarity")


def run(args):
    """Run the command with its parsed flags."""
    return compare(args.runs, args.out, args.partial, args.metric)


def compare(paths, out: Path, partial=False, metric="cka"):
    """Compare the representations of runs.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for similarity.json, similarity.csv and the figures of each run.
      partial: whether to read unfinished runs, too.
      metric: key of `similarity.METRICS`.

    Returns:
      (JSON result, table to print): for each layer the step from which it is final, its similarity
      to the first step, and the similarity between seeds at the first and last step.

    Raises:
      RunError: no run has the measure `representation`.
    """
    runs, refused = open_runs(paths, partial)
    rows, left_out = [], []
    for each in runs:
        try:
            found = similarity(each, metric)
        except RunError as error:
            left_out.append(str(error))
            continue
        rows += _rows(each, found)
        title = f"{each.model['architecture']} on {each.model['data']}{synthetic(each)}"
        for draw in (figures.between_steps, figures.between_seeds, figures.between_layers):
            if draw is not figures.between_seeds or len(each.seeds) > 1:
                draw(found, LABELS[metric], title, out / each.name / draw.__name__)
    if not rows:
        raise RunError(f"no run can be compared: {shortened(left_out)}")
    table = pd.DataFrame(rows).set_index("run")
    result = {"command": "similarity", "metric": metric, "conclusion": _conclusion(table)}
    result = plain(result | {"rows": rows, "refused": refused + left_out})
    write_results(out, "similarity", result, table)
    return result, table


def _rows(each, found):
    return [
        {
            "run": each.name,
            "layer": name,
            "final from step": step,
            "like the first step": time_TxT[0, -1],
            "seeds, first step": seeds_T[0],
            "seeds, last step": seeds_T[-1],
            "seeds, other examples": shuffled_T[-1],
        }
        for name, step, time_TxT, seeds_T, shuffled_T in zip(
            found.names, settled(found), found.time, found.seeds, found.shuffled, strict=True
        )
    ]


def _conclusion(table):
    final = table[table["final from step"].notna()].sort_values("final from step", kind="stable")
    if final.empty:
        text = "No layer is final before the end"
    else:
        first, last = final.iloc[0], final.iloc[-1]
        text = f"{first['layer']} is final first, from step {first['final from step']:.0f}"
        if len(final) > 1:
            text += f", and {last['layer']} last, from step {last['final from step']:.0f}"
    text += f" (similarity of at least {SETTLED} with the end)"
    if table["seeds, last step"].notna().any():
        text += (
            f"; seeds agree with {table['seeds, last step'].median():.2f} at the end (median over "
            f"layers), {table['seeds, first step'].median():.2f} at the first step"
        )
    return text + "."
