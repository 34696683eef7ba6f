"""Fit alpha, the rate of the TAP equation, to every run and regress it on the architecture."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures.alpha import alpha_consistency, alpha_relationships
from analysis.mechanistic.critical_steps import jumps_of_run
from analysis.runs.reader import RunError, open_runs
from analysis.statistics.corrections import LEAST_GROUPS, too_few
from analysis.tap import alpha
from analysis.tap.calibration import fit_runs, fit_table
from tapjax.contract.detector import LEAST_LENGTH, MEAN
from tapjax.contract.layout import write_json, write_text
from tapjax.contract.text import shortened

CURVES = ("tap_compression", "tap")


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "alpha")
    add_figure_flags(parser)
    parser.add_argument(
        "--metric", help="recorded metric that D is computed from; by default that of each run"
    )
    parser.add_argument(
        "--model", choices=CURVES, default=CURVES[0], help="curve model whose alpha is used"
    )


def run(args):
    """Run the command with its parsed flags."""
    return fit_alpha(args.runs, args.out, args.partial, args.metric, args.model)


def fit_alpha(
    paths, out: Path, partial: bool = False, metric: str | None = None, model: str = CURVES[0]
):
    """Fit alpha to every curve and regress it on the architecture.

    With fewer than 15 architectures there is no regression and no score. A note then says so.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for alpha_summary.csv, alpha_models.json, figures and phase1_report.md.
      partial: whether to read unfinished runs, too.
      metric: name of a recorded dimensionality metric; None uses the metric of each run.
      model: curve model whose alpha is used, `tap_compression` or `tap`.

    Returns:
      (JSON result, table to print).

    Raises:
      RunError: no run could be fitted, or alpha is not identified in any curve.
    """
    runs, refused = open_runs(paths, partial)
    rows = []
    for run, found in zip(runs, fit_runs(runs, metric, (model,)), strict=True):
        try:
            if isinstance(found, RunError):
                raise found
            facts = _facts(run, metric)
            rows += [facts | row for row in found[0]]
        except RunError as error:
            refused.append(str(error))
    if not rows:
        raise RunError("no run could be fitted: " + shortened(refused))
    fits = fit_table(rows)
    known, table = fits["identified"].sum(), alpha.by_architecture(fits)
    if not len(table):
        raise RunError(
            f"alpha is identified in none of the {len(fits)} curves: `tap` writes the reasons to "
            "tap.csv, column unidentified_because"
        )
    few = too_few(len(table), LEAST_GROUPS, "architectures with an identified alpha")
    forms, shares = ([], None) if few else (alpha.regress(table), alpha.variance_shares(fits))
    result = {
        "command": "alpha",
        "model": model,
        "curves": len(fits),
        "identified": int(known),
        "architectures": len(table),
        "forms": plain(forms),
        "variance_shares_of_ln_alpha": shares,
        "conclusion": _conclusion(few, forms),
        "refused": refused,
        "notes": [few] if few else [],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_results(out, "alpha_summary", result, fits.set_index("architecture"))
    write_json(
        out / "alpha_models.json", result | {"table": plain(table.reset_index().to_dict("records"))}
    )
    alpha_relationships(fits, table, out / "alpha_relationships")
    if fits["data"].nunique() > 1:
        alpha_consistency(fits, out / "alpha_consistency")
    shown = table[["curves", "alpha"]]
    if not few:
        shown = pd.DataFrame(forms).drop(columns="coefficients").set_index("form")
    write_text(out / "phase1_report.md", _report(result, fits, shown))
    return result, shown


def _conclusion(few, forms):
    if few:
        return f"Not answered: {few}."
    best = max(forms, key=lambda form: form["r2_loao"])
    return (
        f"The best form ({best['form']}) predicts ln alpha of architectures that were left out "
        f"with an R2 of {best['r2_loao']:.2f}; 0 is the mean of the others."
    )


def _facts(run, metric):
    structure = run.structure((*alpha.SIZES, "num_params"))
    jumps = None
    if len(run.steps("probe")) >= LEAST_LENGTH:
        found = [row for row in jumps_of_run(run, metric) if row["layer"] == MEAN]
        jumps = len(found) / len(run.seeds)
    accuracy = run.array("eval", "accuracy")[:, -1].mean() if run.has("eval", "accuracy") else None
    return structure | {"jumps_a_seed": jumps, "test_accuracy": accuracy}


def _report(result, fits, forms):
    shares = result["variance_shares_of_ln_alpha"]
    variance = (
        "Each architecture has one curve, so the variance between architectures cannot be "
        "separated from that between seeds."
    )
    if shares:
        variance = (
            f"Variance of ln alpha: {shares['architecture']:.0%} between architectures, "
            f"{shares['data']:.0%} between data sets of one architecture, {shares['seed']:.0%} "
            "between seeds of one architecture on one data set."
        )
    lines = [
        "# Phase 1: alpha",
        "",
        f"{result['curves']} curves of {fits['architecture'].nunique()} architectures on "
        f"{', '.join(sorted(set(fits['data'])))} are fitted with the model {result['model']}. The "
        f"median R2 is {fits['r2'].median():.3f}; R2 is above .8 in "
        f"{(fits['r2'] > 0.8).mean():.0%} of the curves. Alpha is identified in "
        f"{result['identified']} curves of {result['architectures']} architectures. Only these "
        "curves are used below.",
        "",
    ]
    if result["notes"]:
        lines += [f"alpha = f(architecture): {result['notes'][0]}.", ""]
    else:
        lines += [
            "R2 of ln alpha for several forms of alpha = f(architecture). Only the held-out score "
            "counts, because the architecture that is predicted was left out of the fit:",
            "",
            "| form | n | in sample | held out |",
            "|---|---|---|---|",
            *(
                f"| {row.Index} | {row.n} | {row.r2_in_sample:.2f} | {row.r2_loao:.2f} |"
                for row in forms.itertuples()
            ),
            "",
            variance,
            "",
        ]
    jumps = fits.groupby("run")["jumps_a_seed"].first().astype(float).mean()
    if np.isfinite(jumps):
        lines += [f"Jumps of D: {jumps:.2f} per run and seed.", ""]
    return "\n".join(lines)
