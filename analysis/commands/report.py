"""Run every analysis that suits the runs, and write the results to one self-contained page."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis.commands.alpha import fit_alpha
from analysis.commands.credit import compare as compare_credits
from analysis.commands.emergence import find_emergence
from analysis.commands.jumps import find_jumps
from analysis.commands.mechanistic import explain
from analysis.commands.monitor import replay
from analysis.commands.output import plain
from analysis.commands.plasticity import compare as compare_plasticity
from analysis.commands.predictor import evaluate
from analysis.commands.spectra import compare as compare_spectra
from analysis.commands.summary import summary
from analysis.commands.tap import tap
from analysis.report import page
from analysis.runs.reader import RunError, find_runs, open_run
from analysis.tap import predict
from tapjax.contract import detector
from tapjax.contract.layout import write_text

TITLE = "What happened while it trained"
SECTION = "section.html"
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


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument("--out", type=Path, default=Path("out/report.html"), help="HTML file")


def run(args):
    """Run the command with its parsed flags."""
    return make_report(args.runs, args.out, args.partial)


def make_report(paths, out: Path, partial: bool = False):
    """Run every analysis that suits the runs, and write one page.

    Args:
      paths: run directories, or folders that contain them.
      out: path of the HTML file to write.
      partial: whether to read unfinished runs, too.

    Returns:
      (JSON result, table to print: the sections, and why a section was left out).

    Raises:
      RunError: `out` is a folder.
    """
    if out.is_dir():
        raise RunError(f"--out={out} is a folder; the page is one file, such as {out}/report.html")
    found = find_runs(paths)
    families = {"", *(open_run(path, partial).config.get("family", "") for path in found)}
    names = [name for name, section in SECTIONS.items() if section.family in families]
    with tempfile.TemporaryDirectory() as folder:
        left_out = write_sections(names, found, Path(folder), partial)
        join_sections(Path(folder), out)
    rows = [{"section": SECTIONS[name].title, "left out": left_out.get(name, "")} for name in names]
    table = pd.DataFrame(rows).set_index("section")
    result = {"command": "report", "page": str(out), "runs": len(found), "left_out": left_out}
    return plain(result), table


def write_sections(names: Sequence[str], paths, folder: Path, partial: bool = False) -> dict:
    """Run some of the analyses and write one fragment of the page for each.

    Args:
      names: names of the analyses, keys of `SECTIONS`.
      paths: run directories.
      folder: folder for the results; each analysis gets a folder in it.
      partial: whether to read unfinished runs, too.

    Returns:
      Dict from the name of a section that was left out to the reason.
    """
    left_out = {}
    for name in names:
        out, section = folder / name, SECTIONS[name]
        out.mkdir(parents=True, exist_ok=True)
        try:
            parts = section.write(paths, out, partial)
        except RunError as error:
            left_out[name] = str(error)
            parts = [page.paragraph(f"Left out: {error}.")]
        parts = [page.heading(section.title), *parts]
        write_text(out / SECTION, "\n".join(parts))
    return left_out


def join_sections(folder: Path, out: Path) -> Path:
    """Write the page from the fragments that exist.

    Args:
      folder: folder that `write_sections` filled.
      out: path of the HTML file to write.

    Returns:
      The path written.
    """
    fragments = [folder / name / SECTION for name in SECTIONS]
    return page.write_page(out, TITLE, [f.read_text() for f in fragments if f.exists()])


def _runs(paths, out, partial):
    _, table = summary(paths, out, partial)
    runs = [open_run(path, partial) for path in paths]
    made_up = [run for run in runs if run.model.get("synthetic")]
    notes = [f"Read in part: {run.name}, {run.extent}." for run in runs if not run.complete]
    if made_up:
        notes.append(f"{len(made_up)} of the runs are on SYNTHETIC data.")
    return [
        page.paragraph(
            f"Runs: {len(table)}, curves: {int(table['seeds'].sum())}. D is the mean over hidden "
            "layers; the head is measured and left out. Accuracy is on the whole test split."
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
            "R2 is that of the simulated curve against the measured curve's own mean. The tail is "
            "forecast from the first 40 % of the steps; its error is relative to the range of D, "
            "and persistence (the last level seen) is what a forecast has to beat."
        ),
        *_refused(result),
        page.table(scores),
        *(page.picture(out / f"fit_{v}.png", f"scores {v}") for v in ("r2", "r2_log")),
        page.details(
            "TAP with transient compression: parameters with 95 % intervals",
            page.paragraph(
                "alpha is per unit of integrated gradient norm. A fit is identified if the curve "
                "fits, the error rises on both sides of alpha and of D_max, and the first half of "
                "the run does not contradict the whole. The numbers of other fits mean nothing on "
                "their own."
            ),
            page.table(best[columns]),
        ),
        page.details("Curves", *_pictures(pictures)),
    ]


def _alpha(paths, out, partial):
    result, forms = fit_alpha(paths, out, partial)
    shares = result["variance_shares_of_ln_alpha"]
    if result["notes"]:
        return [*_notes(result), *_refused(result)]
    parts = [
        page.paragraph(
            f"alpha is identified in {result['identified']} of {result['curves']} curves. "
            "r2_loao is the score on architectures left out of the fit, and the one to believe; "
            "0 is what the mean of all architectures reaches."
        ),
        *_refused(result),
        page.table(forms),
        page.picture(out / "alpha_relationships.png", "alpha against the architecture"),
    ]
    if shares:
        text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        parts.append(page.paragraph(f"Where the variance of ln alpha lies: {text}."))
    if (out / "alpha_consistency.png").exists():
        parts.append(page.picture(out / "alpha_consistency.png", "alpha across data sets"))
    return parts


def _jumps(paths, out, partial):
    result, table = find_jumps(paths, out, partial)
    points = (table["seeds"] * table["measurements"]).sum()
    return [
        page.paragraph(
            f"{table['jumps_of_D'].sum()} jumps of D in {points:,} measurements. "
            f"{detector.by_chance(points)} (`validate-detector` measures this.)"
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
            "Which layer settles first, how many jumps there are, in how many seeds layers move "
            "together, or D with the loss, more than shifted copies do (one seed in 20 by chance). "
            "q against permuted layers, corrected over the runs."
        ),
        page.table(families),
        *(
            [
                page.paragraph(
                    "Changes around critical moments beyond what changes between ordinary pairs "
                    "of states equally far apart; p over all layers and quantities at once."
                ),
                page.table(table),
            ]
            if compared
            else []
        ),
        *(
            [
                page.paragraph(
                    f"{without} of {len(paths)} runs have no snapshots to look inside: "
                    "python -m launch.replay --run=RUN --moments takes them."
                )
            ]
            if without
            else []
        ),
        *_pictures(sorted(out.glob("*/change_map.png"))),
        *_folded("Pictures", _pictures(sorted(out.glob("*/moment_*.png")))),
        *_folded("Settling", _pictures(sorted(out.glob("*/convergence.png")))),
    ]


def _before(paths, out, partial):
    result, scores = evaluate(paths, out, partial)
    if not result["scores"]:
        return _notes(result)
    families = pd.DataFrame(result["by_family"])
    return [
        page.paragraph(
            f"{result['architectures']} architectures, each predicted from the others. r2 is on a "
            "uniform grid of steps, r2_log on a log-time grid, both of the seed mean; skill is "
            "over D at initialisation x the family's mean relative curve, a baseline that "
            "shuffled architectures may beat, too (see `python -m analysis predictor`); coverage "
            "is that of the 90 % band. Against single seeds: r2_one_seed, whose ceiling "
            "is seed_r2, how well the mean of the other seeds predicts a seed."
        ),
        page.table(scores),
        page.picture(out / "predictor.png", "R2 of held-out architectures"),
        *_folded("By family", _notes(result) + ([page.table(families)] * bool(len(families)))),
        page.picture(out / "held_out.png", "measured and predicted curves"),
        page.paragraph(
            "Bands and curves are those of the Gaussian process from the architecture alone. "
            f"{predict.COMPONENTS} components a curve."
        ),
    ]


def _monitor(paths, out, partial):
    result, table = replay(paths, out, partial)
    kinds = ", ".join(f"{kind} {n}" for kind, n in result["warnings_by_kind"].items())
    pictures = sorted(out.glob("*/seed_*/monitor_visualization.png"))
    return [
        page.paragraph(
            f"What the live monitor would have said of {result['curves']} curves, each forecast "
            "made from what came before it. error is that of ln D; skill is over persistence, "
            "which has none; the intervals claim 90 %."
        ),
        page.table(table),
        page.paragraph(
            f"{result['curves_with_a_warning']} of {result['curves']} curves raised a warning"
            f"{': ' + kinds if kinds else ''}."
        ),
        page.details("Curves", *_pictures(pictures)),
    ]


def _emergence(paths, out, partial):
    result, table = find_emergence(paths, out, partial)
    power = pd.DataFrame(result["power"]).T
    power.columns = [f"planted {float(name):g}" for name in power.columns]
    counts = ", ".join(f"{n} {name}" for name, n in result["verdicts"].items())
    late = [name for name, order in result["order"].items() if order and order["late"]]
    return [
        page.paragraph(
            f"{counts}. Compared are increments of ln D and of each capability, as differences "
            "between seeds where there are several; null_95 is the |r| that 95 % of surrogates "
            "stay below at all lags; q is corrected over all tests. leads: D moves first."
        ),
        *_refused(result),
        page.picture(out / "emergence.png", "verdicts and power"),
        page.table(table),
        page.details(
            "Power: share of planted leads found, by strength (at 0: false positives)",
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
            "Each rule's credits after training: cosine with the true gradient (gamma; dir_gamma: "
            "that of the copied output gradient in the same network), correlation with the loss's "
            "answer (rho), and what training by them is worth, seed by seed against the controls; "
            "q is that of an exact sign-flip test, corrected over the rows."
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
            "early and late: the online score in the second and in the last tenth of the tasks; "
            "over_plain: late, seed by seed, less that of the plain run; q is that of an exact "
            "sign-flip test, corrected over the rows."
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
            "How the components of the weights move, beside the same steps with random signs: "
            "slope of the power spectrum (-2: a random walk), how much of the first components "
            "cosines of time explain, variance of the first three. A map of what recurs takes "
            "minutes: python -m analysis motifs."
        ),
        *_notes(result),
        page.table(table),
        *_pictures(sorted(out.glob("*/*.png"))),
    ]


def _of_family(paths, family, partial):
    return [p for p in paths if open_run(p, partial).config.get("family") == family]


def _refused(result):
    return [page.paragraph(f"Not analysed: {line}.") for line in result.get("refused", ())]


def _notes(result):
    return [page.paragraph(f"{line}.") for line in result.get("notes", ())]


def _folded(title, parts):
    return [page.details(title, *parts)] if parts else []


def _pictures(paths):
    shown = [page.picture(path, path.stem) for path in paths[:MOST_PICTURES]]
    rest = len(paths) - len(shown)
    return [*shown, *([page.paragraph(f"{rest} more are not shown.")] if rest else [])]


SECTIONS = {
    "summary": Section("Runs", _runs),
    "tap": Section("Models of D(t)", _models),
    "alpha": Section("Is alpha a function of the architecture?", _alpha),
    "jumps": Section("Jumps", _jumps),
    "mechanistic": Section("What changes inside", _inside),
    "predictor": Section("D(t) before training", _before),
    "monitor": Section("The monitor, replayed", _monitor),
    "emergence": Section("Does D move before capabilities?", _emergence),
    "credit": Section("Credit without a backward pass", _credit, "credit"),
    "plasticity": Section("Does it go on learning?", _plasticity, "plasticity"),
    "spectra": Section("How components move", _movements, "motifs"),
}
