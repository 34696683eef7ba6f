"""Sections of the report: each runs one analysis and returns its HTML fragments."""

from collections.abc import Callable
from pathlib import Path
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
from analysis.commands.tap import tap
from analysis.figures.atlas import multiples
from analysis.figures.embedded import embedded
from analysis.report import page
from analysis.runs.quantities import quantities
from analysis.runs.reader import open_runs
from analysis.tap import predict
from tapjax.contract import detector
from tapjax.contract.text import plural

MOST_PICTURES = 6
# Captions: what the figures of a section show, and how to read them.
FITS = "measured D (black; band: range over seeds), its layers, and the fitted models (colours)"
CHANGES = "changes around critical steps; brighter is further beyond ordinary changes"
MOMENT = "what the network held before, during and after the critical step"
SETTLE = "step at which each layer has settled, by depth"
MONITORED = "measured D, and forecasts with 90 % intervals made during the replay"
COURSE = "D and capabilities over training (left), and their correlation by lag (right)"
CREDITS = "Gamma of each method by layer, and the test accuracy it reaches"
LEARNING = "online score over tasks, and measures of the units"
DRAWN = {
    "activation_heatmap": "mean activation of each class",
    "filter_viz": "filters",
    "attention_pattern": "attention",
}
ONE_PER_RUN = ("change_map", "convergence", "monitor_visualization")  # names of figures
MOVES = "principal components of the weights beside those of random walks"


class Section(NamedTuple):
    """One analysis on the page.

    Attributes:
      title: heading of the section, as a question.
      write: function `write(paths, out, partial)` that runs the analysis, writes its files to the
        folder `out`, and returns the conclusion as a sentence and HTML fragments.
      needs: family of experiments that the analysis needs, or `measures`, if it needs measures of
        runs. The page has the section only if there are such runs, and it covers only them. Empty
        if it suits all runs.
    """

    title: str
    write: Callable
    needs: str = ""


def _models(paths, out, partial):
    result, scores = tap(paths, out, partial)
    fits = pd.read_csv(out / "tap.csv", index_col="run")
    best = fits[fits["model"] == "tap_compression"]
    columns = ["seed", "alpha", "alpha_low", "alpha_high", "D0", "D_max", "identified", "r2"]
    columns.append("unidentified_because")
    return result["conclusion"], [
        page.paragraph(
            "R2 compares a fitted curve with the mean of the measured curve, whose R2 is 0. The "
            "tail of each curve is also forecast from the first 40 % of the steps. A useful "
            "forecast has to beat persistence, which repeats the last observed level."
        ),
        *_refused(result),
        page.table(scores, "Scores of the models"),
        *_folded(
            "Fitted curves of every run", _pictures(sorted(out.glob("*_dimension.png")), FITS)
        ),
        page.details(
            "R2 by architecture and data set",
            *(
                page.picture(out / f"fit_{v}.png", f"{t}. Yellow is a good fit, blue is none.")
                for v, t in (("r2", "R2 on all steps"), ("r2_log", "R2 on log-spaced steps"))
            ),
        ),
        page.table(best[columns], "alpha of each curve, with 95 % intervals"),
    ]


def _alpha(paths, out, partial):
    result, table = fit_alpha(paths, out, partial)
    parts = [
        page.paragraph(
            f"{result['curves']} curves, {result['identified']} with an identified alpha, from "
            f"{plural(result['architectures'], 'architecture')}. Each point of the figure is an "
            "architecture; curves whose alpha is not identified are left out."
        ),
        *_refused(result),
        page.picture(
            out / "alpha_relationships.png",
            "alpha against depth, width and number of parameters, and the R2 of the fits",
        ),
        page.table(
            table, "Forms, scored on left-out architectures" if result["forms"] else "alpha"
        ),
    ]
    shares = result["variance_shares_of_ln_alpha"]
    if shares:
        text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        parts.append(page.paragraph(f"Shares of the variance of ln alpha: {text}."))
    if (out / "alpha_consistency.png").exists():
        parts.append(page.picture(out / "alpha_consistency.png", "alpha across data sets"))
    return result["conclusion"], parts


def _jumps(paths, out, partial):
    result, table = find_jumps(paths, out, partial)
    points = int((table["seeds"] * table["measurements"]).sum())
    return result["conclusion"], [
        page.paragraph(f"{detector.by_chance(points)} `tapjax validate-detector` measures it."),
        *_refused(result),
        page.table(table, "Jumps of each run"),
    ]


def _inside(paths, out, partial):
    result, table = explain(paths, out, partial)
    compared = any(run["moments"] for run in result["runs"].values())
    families = pd.read_csv(out / "families.csv", index_col="run")
    return result["conclusion"], [
        page.paragraph(
            "Order of settling: rho is the correlation of depth and settling step; q is based on "
            "permuted layers and corrected over the runs. The table also counts the seeds in which "
            "layers move together, or D with the loss, more than series shifted in time do (one "
            "seed in 20 does so by chance)."
        ),
        *(
            [page.paragraph("`tapjax replay --run=RUN --moments` takes snapshots.")]
            if result["not_compared"]
            else []
        ),
        *_refused({"refused": result["left_out"]}),
        *_pictures(sorted(out.glob("*/change_map.png")), CHANGES),
        *([page.table(table, "Changes that exceed those between ordinary states")] * compared),
        *_folded("Critical steps", _pictures(sorted(out.glob("*/moment_*.png")), MOMENT)),
        page.table(families, "Order of settling, and joint movement"),
        *_folded(
            "Order in which layers settle", _pictures(sorted(out.glob("*/convergence.png")), SETTLE)
        ),
    ]


def _before(paths, out, partial):
    result, scores = evaluate(paths, out, partial)
    if not result["scores"]:
        return result["conclusion"], _refused(result)
    families = pd.DataFrame(result["by_family"])
    return result["conclusion"], [
        page.paragraph(
            f"{result['architectures']} architectures, each predicted from all others. skill "
            "compares with a baseline, D at initialisation times the mean relative curve of the "
            "family; shuffled architectures may beat this baseline, too (see `tapjax predictor`)."
        ),
        *_refused(result),
        page.picture(out / "predictor.png", "R2 of held-out architectures, by predictor"),
        page.table(scores, "Scores of the predictors"),
        *_folded("By family", _notes(result) + ([page.table(families)] * bool(len(families)))),
        page.picture(
            out / "held_out.png",
            "Measured and predicted curves. Curves and 90 % bands are predicted by the Gaussian "
            f"process from the architecture alone, with {predict.COMPONENTS} components per curve.",
        ),
    ]


def _monitor(paths, out, partial):
    result, table = replay(paths, out, partial)
    kinds = ", ".join(f"{kind} {n}" for kind, n in result["warnings_by_kind"].items())
    return result["conclusion"], [
        page.paragraph(
            "The live monitor was applied to every recorded curve; each forecast uses only the "
            f"measurements before it. It warned in {result['curves_with_a_warning']} of "
            f"{plural(result['curves'], 'curve')}{': ' + kinds if kinds else ''}."
        ),
        *_refused(result),
        page.table(table, "Forecasts by the number of steps ahead"),
        page.details(
            "Monitored curves",
            *_pictures(_one_per_run(out.glob("*/seed_*/monitor_visualization.png")), MONITORED),
        ),
    ]


def _emergence(paths, out, partial):
    result, table = find_emergence(paths, out, partial)
    power = pd.DataFrame(result["power"]).T
    power.columns = [f"planted {float(name):g}" for name in power.columns]
    power.index.name = "run"
    late = [name for name, order in result["order"].items() if order and order["late"]]
    early = [name for name in result["order"] if name not in late]
    return result["conclusion"], [
        page.paragraph(
            "The test compares the increments of ln D with those of each capability, as "
            "differences between seeds if a run has several. Verdicts use q, which is corrected "
            "over all tests."
        ),
        *_refused(result),
        page.picture(
            out / "emergence.png",
            "Left: each test by its best lag; points above the dotted line exceed 95 % of the "
            "surrogates. Right: share of planted leads that the test finds.",
        ),
        page.table(table, "All tests"),
        page.table(power, "Power: share of planted leads that are found, by their correlation"),
        *_pictures([out / f"{name}_emergence.png" for name in late], COURSE),
        *_folded("All runs", _pictures([out / f"{name}_emergence.png" for name in early], COURSE)),
    ]


def _credit(paths, out, partial):
    result, table = compare_credits(_of_family(paths, "credit", partial), out, partial)
    return result["conclusion"], [
        page.paragraph(
            "The credits of each method after training. Gamma is their cosine with the true "
            "gradient. over copy and over dfa are differences in accuracy from two controls, the "
            "output gradient copied to every layer and direct feedback."
        ),
        *_refused(result),
        *_notes(result),
        *_of_settings({name: [file] for name, file in result["figures"].items()}, out, CREDITS),
        page.table(table, "Quality of the credits, and accuracy"),
    ]


def _plasticity(paths, out, partial):
    result, table = compare_plasticity(_of_family(paths, "plasticity", partial), out, partial)
    signs = [
        {"setting": name} | row for name, rows in result["early_signs"].items() for row in rows
    ]
    return result["conclusion"], [
        page.paragraph(
            "early and late are the online score in the second and in the last tenth of the tasks."
        ),
        *_refused(result),
        *_notes(result),
        *_of_settings(result["figures"], out, LEARNING),
        page.table(table, "Learning, and the units"),
        *([page.table(pd.DataFrame(signs).set_index("setting"), "Early signs")] if signs else []),
    ]


def _movements(paths, out, partial):
    result, table = compare_spectra(_of_family(paths, "motifs", partial), out, partial)
    return result["conclusion"], [
        page.paragraph(
            "Compared with a random walk that makes the same steps with random signs. The map of "
            "recurring states is a separate command that takes minutes: `tapjax motifs`."
        ),
        *_refused(result),
        *_notes(result),
        *_pictures(sorted(out.glob("*/*.png")), MOVES),
        page.table(table, "Movement of the components"),
    ]


def _of_family(paths, family, partial):
    return [run.path for run in open_runs(paths, partial)[0] if run.config.get("family") == family]


def _refused(result):
    """Say which runs were not analysed, in one paragraph per reason."""
    runs = {}
    for line in result.get("refused", ()):
        run, _, reason = line.partition(": ")
        runs.setdefault(reason, []).append(Path(run).name if reason else run)
    told = [f"{', '.join(names)}{': ' if why else ''}{why}" for why, names in runs.items()]
    return [page.paragraph(f"Not analysed: {text}.") for text in told]


def _notes(result):
    return [page.paragraph(f"{line}.") for line in result.get("notes", ())]


def _folded(title, parts):
    return [page.details(title, *parts)] if parts else []


def _of_settings(figures, out, caption):
    """Return the figures of each setting, whose files `figures` lists."""
    drawn = [(out / file, setting) for setting, files in figures.items() for file in files]
    return _pictures([path for path, _ in drawn], caption, [setting for _, setting in drawn])


def _pictures(paths, caption, names=()):
    """Return figures with a caption that begins with a name, by default that of the run."""
    named = list(zip(paths, names or map(_named, paths), strict=True))[:MOST_PICTURES]
    shown = [page.picture(path, f"{name}: {caption}") for path, name in named]
    rest = len(paths) - len(shown)
    more = f"{plural(rest, 'more figure')}: the command of this analysis writes all of them."
    return [*shown, *([page.paragraph(more, "caption")] if rest > 0 else [])]


def _one_per_run(paths):
    """Return the figure of the first seed of each run, sorted by run."""
    return sorted({path.parent.parent: path for path in sorted(paths, reverse=True)}.values())


def _named(path):
    """Return the run that a figure is about, and what is drawn if a run has several figures."""
    folder = path.parent
    run = folder.parent.name if folder.name.startswith("seed_") else folder.name
    if run in SECTIONS:
        return path.stem.removesuffix("_dimension").removesuffix("_emergence")
    number, _, kind = path.stem.removeprefix("moment_").partition("_")
    if path.stem.startswith("moment_"):
        return f"{run}, critical step {number}, {DRAWN[kind]}"
    return run if path.stem in ONE_PER_RUN else f"{run}, {path.stem}"


def _measures(paths, out, partial):
    runs = [run for run in open_runs(paths, partial)[0] if run.measured]
    names = sorted({measure for run in runs for measure in run.measured})
    measured = [
        (run.name, [q for q in quantities(run)[0] if q.group in run.measured]) for run in runs
    ]
    text = f"{plural(len(runs), 'run')} measured: {', '.join(names)}."
    return text, [
        page.paragraph(
            "A line is a mean over seeds, a band their range. `tapjax atlas` draws all quantities, "
            "and tests which move together."
        ),
        embedded(multiples(measured, [])),
    ]


SECTIONS = {
    "tap": Section("Which equation describes D(t)?", _models),
    "alpha": Section("Is alpha a function of the architecture?", _alpha),
    "jumps": Section("Does D jump?", _jumps),
    "mechanistic": Section("What changes inside the networks?", _inside),
    "predictor": Section("Can D(t) be predicted before training?", _before),
    "monitor": Section("Can D be forecast while a network trains?", _monitor),
    "emergence": Section("Does D move before capabilities do?", _emergence),
    "credit": Section("Can a network learn without backpropagation?", _credit, "credit"),
    "plasticity": Section("Do the networks keep learning?", _plasticity, "plasticity"),
    "measures": Section("What do further measures show?", _measures, "measures"),
    "spectra": Section("How do the components of the weights move?", _movements, "motifs"),
}
