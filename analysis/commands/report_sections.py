"""Sections of the report: each runs one analysis and returns its HTML fragments."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from analysis.commands.alpha import fit_alpha
from analysis.commands.credit import compare as compare_credits
from analysis.commands.emergence import find_emergence
from analysis.commands.jumps import find_jumps
from analysis.commands.mechanistic import explain
from analysis.commands.monitor import replay
from analysis.commands.plasticity import compare as compare_plasticity
from analysis.commands.predictor import evaluate
from analysis.commands.spectra import compare as compare_spectra
from analysis.commands.summary import summary
from analysis.commands.tap import tap
from analysis.report import page
from analysis.runs.reader import open_runs
from analysis.tap import predict
from tapjax.contract import detector
from tapjax.contract.text import plural

MOST_PICTURES = 24


class Section(NamedTuple):
    """One analysis on the page.

    Attributes:
      title: heading of the section.
      write: function `write(paths, out, partial)` that runs the analysis, writes its files to the
        folder `out`, and returns HTML fragments.
      family: family of experiments that the analysis needs. The page has the section only if there
        are runs of this family, and it covers only them. Empty if it suits all runs.
    """

    title: str
    write: Callable
    family: str = ""


def _runs(paths, out, partial):
    _, table = summary(paths, out, partial)
    runs, _ = open_runs(paths, partial)
    made_up = [run for run in runs if run.model.get("synthetic")]
    notes = [f"Read in part: {run.name}, {run.extent}." for run in runs if not run.complete]
    if made_up:
        notes.append(f"{len(made_up)} of the runs were trained on SYNTHETIC data.")
    return [
        page.paragraph(
            f"{plural(len(table), 'run')} with {plural(int(table['seeds'].sum()), 'curve')}, one "
            "per seed. D is the mean dimensionality of the hidden layers; the head is measured but "
            "left out of D. Accuracy is that on the whole test split. Values are means over seeds."
        ),
        *map(page.paragraph, notes),
        page.table(table),
    ]


def _models(paths, out, partial):
    result, scores = tap(paths, out, partial)
    fits = pd.read_csv(out / "tap.csv", index_col="run")
    best = fits[fits["model"] == "tap_compression"]
    columns = ["seed", "alpha", "alpha_low", "alpha_high", "D0", "D_max", "identified", "r2"]
    pictures = sorted(out.glob("*_dimension.png"))
    return [
        page.paragraph(
            "R2 compares the fitted curve with the mean of the measured curve, whose R2 is 0. The "
            "tail of each curve is also forecast from the first 40 % of the steps; the error of "
            "this forecast is given relative to the range of D. A useful forecast has to beat "
            "persistence, which repeats the last observed level."
        ),
        *_refused(result),
        page.table(scores),
        *(
            page.picture(
                out / f"fit_{v}.png", f"{v} of the fits by model, architecture and data set"
            )
            for v in ("r2", "r2_log")
        ),
        page.details(
            "TAP with transient compression: fitted parameters with 95 % intervals",
            page.paragraph(
                "The unit of alpha is 1 / integrated gradient norm. The parameters of a fit are "
                "identified if three conditions hold: the curve fits the data, the error rises on "
                "both sides of alpha and of D_max, and the first half of the run agrees with the "
                "whole run. Do not interpret the parameters of other fits."
            ),
            page.table(best[columns]),
        ),
        page.details("Fitted curves", *_pictures(pictures)),
    ]


def _alpha(paths, out, partial):
    result, forms = fit_alpha(paths, out, partial)
    shares = result["variance_shares_of_ln_alpha"]
    if result["notes"]:
        return [*_notes(result), *_refused(result)]
    parts = [
        page.paragraph(
            f"alpha is identified in {result['identified']} of {result['curves']} curves. Only "
            "r2_loao, the R2 on architectures that were left out of the fit, shows whether alpha "
            "can be predicted; predicting the mean of all architectures gives 0."
        ),
        *_refused(result),
        page.table(forms),
        page.picture(out / "alpha_relationships.png", "alpha against the architecture"),
    ]
    if shares:
        text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        parts.append(page.paragraph(f"Shares of the variance of ln alpha: {text}."))
    if (out / "alpha_consistency.png").exists():
        parts.append(page.picture(out / "alpha_consistency.png", "alpha across data sets"))
    return parts


def _jumps(paths, out, partial):
    result, table = find_jumps(paths, out, partial)
    points = (table["seeds"] * table["measurements"]).sum()
    return [
        page.paragraph(
            f"{plural(int(table['jumps_of_D'].sum()), 'jump')} of D in {points:,} measurements. "
            f"{detector.by_chance(points)} (`validate-detector` measures this rate.)"
        ),
        *_refused(result),
        page.table(table),
    ]


def _inside(paths, out, partial):
    result, table = explain(paths, out, partial)
    compared = any(run["moments"] for run in result["runs"].values())
    families = pd.read_csv(out / "families.csv", index_col="run")
    without = len(result["refused"])
    return [
        page.paragraph(
            "One row per run: jumps per 1000 measurements; the order in which layers settle (rho "
            "is the correlation of depth and settling step; q is based on permuted layers and "
            "corrected over the runs); and the number of seeds in which layers move together, or D "
            "with the loss, more than series shifted in time do (one seed in 20 does so by chance)."
        ),
        page.table(families),
        *(
            [
                page.paragraph(
                    "Changes around critical steps that exceed the changes between ordinary pairs "
                    "of states, equally far apart. p is corrected for all layers and quantities."
                ),
                page.table(table),
            ]
            if compared
            else []
        ),
        *(
            [
                page.paragraph(
                    f"Runs or critical steps that were not compared: {without}. A comparison needs "
                    "snapshots: `tapjax replay --run=RUN --moments` takes them."
                )
            ]
            if without
            else []
        ),
        *_pictures(sorted(out.glob("*/change_map.png"))),
        *_folded("Critical steps", _pictures(sorted(out.glob("*/moment_*.png")))),
        *_folded("Order in which layers settle", _pictures(sorted(out.glob("*/convergence.png")))),
    ]


def _before(paths, out, partial):
    result, scores = evaluate(paths, out, partial)
    if not result["scores"]:
        return _notes(result)
    families = pd.DataFrame(result["by_family"])
    return [
        page.paragraph(
            f"{result['architectures']} architectures, each predicted from all others. r2 and "
            "r2_log score the prediction of the mean over seeds, on a uniform and on a "
            "logarithmic grid of steps. skill compares with a baseline, D at initialisation times "
            "the mean relative curve of the family; shuffled architectures may beat this baseline, "
            "too (see `tapjax predictor`). coverage is the share of points inside the "
            "90 % band. r2_one_seed scores the prediction of single seeds; its ceiling is "
            "seed_r2, the R2 with which the mean of the other seeds predicts a seed."
        ),
        page.table(scores),
        page.picture(out / "predictor.png", "R2 of held-out architectures"),
        *_folded("By family", _notes(result) + ([page.table(families)] * bool(len(families)))),
        page.picture(out / "held_out.png", "measured and predicted curves"),
        page.paragraph(
            "Curves and 90 % bands are predicted by the Gaussian process from the architecture "
            f"alone, with {predict.COMPONENTS} components per curve."
        ),
    ]


def _monitor(paths, out, partial):
    result, table = replay(paths, out, partial)
    kinds = ", ".join(f"{kind} {n}" for kind, n in result["warnings_by_kind"].items())
    pictures = sorted(out.glob("*/seed_*/monitor_visualization.png"))
    return [
        page.paragraph(
            f"The live monitor was applied to {result['curves']} recorded curves. Each forecast "
            "uses only the measurements before it. error is the error of ln D; skill compares it "
            "with persistence, whose skill is 0; coverage should be .9, because the intervals are "
            "90 % intervals."
        ),
        page.table(table),
        page.paragraph(
            f"The monitor warned in {result['curves_with_a_warning']} of {result['curves']} curves"
            f"{': ' + kinds if kinds else ''}."
        ),
        page.details("Monitored curves", *_pictures(pictures)),
    ]


def _emergence(paths, out, partial):
    result, table = find_emergence(paths, out, partial)
    power = pd.DataFrame(result["power"]).T
    power.columns = [f"planted {float(name):g}" for name in power.columns]
    counts = ", ".join(f"{n} {name}" for name, n in result["verdicts"].items())
    late = [name for name, order in result["order"].items() if order and order["late"]]
    return [
        page.paragraph(
            f"Verdicts: {counts}. The test compares the increments of ln D with those of each "
            "capability, as differences between seeds if a run has several. null_95 is the |r| "
            "that 95 % of surrogates do not exceed at any lag; q is corrected over all tests. "
            "`leads` means that D changes first, `lags` that the capability does."
        ),
        *_refused(result),
        page.picture(out / "emergence.png", "verdicts of all tests, and power of the test"),
        page.table(table),
        page.details(
            "Power: share of planted leads that are found, by their correlation (at 0: false "
            "positives)",
            page.table(power),
        ),
        *_pictures([out / f"{name}_emergence.png" for name in late]),
        page.details(
            "All runs",
            *_pictures([out / f"{n}_emergence.png" for n in result["order"] if n not in late]),
        ),
    ]


def _credit(paths, out, partial):
    result, table = compare_credits(_of_family(paths, "credit", partial), out, partial)
    return [
        page.paragraph(
            "The credits of each method after training. gamma is their cosine with the true "
            "gradient, and dir_gamma that of the output gradient copied to every layer of the same "
            "network. rho is the correlation of the changes of the loss that credits and true "
            "gradients predict along random directions. over_dir and over_dfa are differences in "
            "accuracy from the controls, seed by seed; their q is that of a sign-flip "
            "test, corrected over the rows."
        ),
        *_notes(result),
        page.table(table),
        *_pictures(sorted(out.glob("setting_*.png"))),
    ]


def _plasticity(paths, out, partial):
    result, table = compare_plasticity(_of_family(paths, "plasticity", partial), out, partial)
    signs = [
        {"setting": name} | row for name, rows in result["early_signs"].items() for row in rows
    ]
    return [
        page.paragraph(
            "early and late are the online score in the second and in the last tenth of the "
            "tasks. over_plain is late minus late of the plain run, seed by seed; its q is that of "
            "a sign-flip test, corrected over the rows."
        ),
        *_notes(result),
        page.table(table),
        *_pictures(sorted(out.glob("*.png"))),
        *([page.details("Early signs", page.table(pd.DataFrame(signs)))] if signs else []),
    ]


def _movements(paths, out, partial):
    result, table = compare_spectra(_of_family(paths, "motifs", partial), out, partial)
    return [
        page.paragraph(
            "How the principal components of the weights move, compared with a random walk that "
            "makes the same steps with random signs. slope is that of the power spectrum (-2 for a "
            "random walk), cosine the mean R2 of the first components with one cosine of time "
            "each, and first_3 the share of variance of the first three components. The map of "
            "recurring states is a separate command that takes minutes: `tapjax "
            "motifs`."
        ),
        *_notes(result),
        page.table(table),
        *_pictures(sorted(out.glob("*/*.png"))),
    ]


def _of_family(paths, family, partial):
    return [run.path for run in open_runs(paths, partial)[0] if run.config.get("family") == family]


def _refused(result):
    return [page.paragraph(f"Not analysed: {line}.") for line in result.get("refused", ())]


def _notes(result):
    return [page.paragraph(f"{line}.") for line in result.get("notes", ())]


def _folded(title, parts):
    return [page.details(title, *parts)] if parts else []


def _pictures(paths):
    shown = [page.picture(path, path.stem) for path in paths[:MOST_PICTURES]]
    rest = len(paths) - len(shown)
    return [*shown, *([page.paragraph(f"{rest} more figures are not shown.")] if rest else [])]


SECTIONS = {
    "summary": Section("Runs", _runs),
    "tap": Section("Models of D(t)", _models),
    "alpha": Section("Is alpha a function of the architecture?", _alpha),
    "jumps": Section("Jumps", _jumps),
    "mechanistic": Section("What changes inside the networks", _inside),
    "predictor": Section("Prediction of D(t) before training", _before),
    "monitor": Section("Replayed live monitor", _monitor),
    "emergence": Section("Does D move before capabilities do?", _emergence),
    "credit": Section("Credit without a backward pass", _credit, "credit"),
    "plasticity": Section("Do the networks keep learning?", _plasticity, "plasticity"),
    "spectra": Section("How the components of the weights move", _movements, "motifs"),
}
