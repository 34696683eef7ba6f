"""Measure how well D(t) can be predicted before training, and store the table to predict from."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures.prediction import (
    held_out_curves,
    prediction_scores,
    skill_beside_shuffled,
)
from analysis.runs.reader import RunError, open_runs
from analysis.statistics.corrections import LEAST_GROUPS, too_few
from analysis.statistics.parallel import in_processes
from analysis.tap import held_out, predict
from tapjax.contract.layout import write_json
from tapjax.contract.text import shortened

BY_FAMILY = ["predictor", "use_init", "family"]


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "predictor")
    add_figure_flags(parser)
    parser.add_argument(
        "--metric", help="recorded metric that D is computed from; by default that of each run"
    )
    parser.add_argument(
        "--shuffles",
        type=int,
        default=19,
        help="number of permutations of the architectures that the skill is compared with; 0 omits "
        "the comparison, and fewer than 19 cannot reach p = .05",
    )


def run(args):
    """Run the command with its parsed flags."""
    return evaluate(args.runs, args.out, args.partial, args.metric, args.shuffles)


def evaluate(paths, out: Path, partial: bool = False, metric: str | None = None, shuffles: int = 0):
    """Score every predictor, leaving out one architecture at a time.

    With fewer than 15 architectures the calibration is written, but nothing is scored. A family
    with fewer than 15 architectures has no separate scores.

    Args:
      paths: run directories, or folders that contain them; all runs must follow one protocol.
      out: folder for predictor.json (the calibration), loao.csv, loao.json and figures.
      partial: whether to read unfinished runs, too.
      metric: name of a recorded dimensionality metric; None uses the metric of each run.
      shuffles: number of permutations of the architectures that the skill is compared with; 0 for
        no comparison.

    Returns:
      (JSON result, table to print: medians and shares per predictor).

    Raises:
      RunError: there are too few architectures, the runs cannot be combined in one calibration, or
        `shuffles` is negative.
    """
    runs, refused = open_runs(paths, partial)
    examples, measured = [], []
    for run in runs:
        try:
            examples.append(predict.example(run, metric))
            measured.append(run)
        except RunError as error:
            refused.append(str(error))
    if not examples:
        raise RunError(f"no run can be an example: {shortened(refused)}")
    predict.check_examples(examples)
    if shuffles < 0:
        raise RunError(f"--shuffles={shuffles} must be 0 or more")
    architectures = sorted({e.architecture for e in examples})
    out.mkdir(parents=True, exist_ok=True)
    write_json(
        out / "predictor.json",
        {
            "metric": metric or measured[0].model["dimension"],
            "shapes": {
                run.model["data"]: [run.data["shape"], run.data["classes"]]
                for run in measured
                if "shape" in run.data  # imported runs do not record it
            },
            "examples": predict.to_table(examples),
        },
    )
    few = too_few(len(architectures), LEAST_GROUPS, "architectures")
    if few:
        table = pd.DataFrame({"scores": ["none"] * len(architectures)}, index=architectures)
        table.index.name = "architecture"
        result = {"command": "predictor", "architectures": len(architectures), "scores": []}
        result |= {"by_family": [], "bracketed_by_family": [], "examples": [], "notes": [few]}
        result |= {"refused": refused, "conclusion": f"Not answered: {few}."}
        write_results(out, "loao", result, table)
        return result, table
    cases = [(name, init) for name in predict.PREDICTORS for init in (False, True)]
    judge = functools.partial(_judged, examples=examples, shuffles=shuffles)
    scored, forecasts, nulls = zip(*in_processes(judge, cases, "predictors"), strict=True)
    held_out_curves(examples, scored[0], forecasts[0], out / "held_out")
    rows, nulls = sum(scored, []), [null for null in nulls if null]
    table = pd.DataFrame(rows)
    scores = _summary(table, BY_FAMILY[:2])
    if nulls:
        scores = scores.join(pd.DataFrame(nulls).set_index(BY_FAMILY[:2]))
    families = _summary(table, BY_FAMILY).reset_index()
    inside = _summary(table[table["bracketed"]], BY_FAMILY).reset_index()
    small = _small_families(examples)
    families, inside = (t[~t["family"].isin(list(small))] for t in (families, inside))
    result = {
        "command": "predictor",
        "conclusion": _conclusion(scores),
        "architectures": len(architectures),
        "seeds": sorted({len(e.log_d_SxG) for e in examples}),
        "shuffles": shuffles,
        "scores": plain(scores.reset_index().to_dict("records")),
        "by_family": plain(families.to_dict("records")),
        "bracketed_by_family": plain(inside.to_dict("records")),
        "examples": plain(rows),
        "refused": refused,
        "notes": [f"{family}: {why}" for family, why in small.items()],
    }
    write_results(out, "loao", result, table.set_index("architecture"))
    prediction_scores(table, out / "predictor")
    if nulls:
        skill_beside_shuffled(nulls, out / "skill")
    return result, scores


def _judged(case, examples, shuffles):
    """Return the rows and forecasts of a predictor, and its skill beside shuffled architectures."""
    name, init = case
    scored, forecasts = held_out.leave_one_out(examples, name, init)
    if not shuffles:
        return scored, forecasts, {}
    null = held_out.skill_of_shuffled(examples, name, init, shuffles)
    return scored, forecasts, {"predictor": name, "use_init": init} | null


def _conclusion(scores):
    best = scores.reset_index().dropna(subset=["r2"]).sort_values("r2").iloc[-1]
    return (
        f"The best predictor ({best['predictor']}) reaches a median R2 of {best['r2']:.2f} on "
        "architectures that were left out"
        + (f"; seeds limit it to {best['seed_r2']:.2f}." if pd.notna(best["seed_r2"]) else ".")
    )


def _small_families(examples) -> dict[str, str]:
    """Return the families with too few architectures for separate scores, and the reasons."""
    members = {}
    for e in examples:
        members.setdefault(e.structure["family"], set()).add(e.architecture)
    said = {f: too_few(len(own), LEAST_GROUPS, "architectures") for f, own in members.items()}
    return {family: why for family, why in said.items() if why}


def _summary(table, by):
    """Compute medians and shares over examples; `seed_r2` is the ceiling that seeds set."""
    grouped = table.groupby(by, sort=False)
    columns = {
        "n": grouped.size(),
        "r2": grouped["r2"].median(),
        "r2_above_.8": grouped["r2"].agg(lambda v: np.mean(v > 0.8)),
        "r2_above_.5": grouped["r2"].agg(lambda v: np.mean(v > 0.5)),
        "r2_log": grouped["r2_log"].median(),
        "log_above_.8": grouped["r2_log"].agg(lambda v: np.mean(v > 0.8)),
        "mape": grouped["mape"].median(),
        "shape": grouped["shape"].median(),
        "skill": grouped["skill"].median(),
        "coverage": grouped["coverage"].agg(lambda v: v.astype(float).mean()),
        "r2_one_seed": grouped["r2_one_seed"].median(),
        "seed_r2": grouped["seed_r2"].agg(lambda v: v.astype(float).median()),
    }
    return pd.DataFrame(columns)
