"""Run every analysis that suits the runs, and write the results to one self-contained page."""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from analysis.commands.output import plain
from analysis.commands.report_sections import SECTIONS
from analysis.commands.summary import summary
from analysis.figures import course, embedded, interactive
from analysis.figures.overview import overview
from analysis.figures.style import look
from analysis.report import page, sentences
from analysis.runs.finding import find_runs
from analysis.runs.reader import RunError, open_runs
from tapjax.contract.files import read_json
from tapjax.contract.layout import write_json

TITLE = "What happened while the networks trained"
SECTION = "section.json"
SHOWN = (
    "Mean over seeds; bands show the range over seeds. Triangles are jumps of D, pinned "
    "checkpoints, and changes that the config asked for; point at one for its kind. Drag to zoom, "
    "press reset to see everything; the panels share their steps. The buttons hide and show runs."
)
NO = "Not answered"
PRINTED = (
    "Mean over seeds; bands show the range over seeds. Triangles are jumps of D, ticks at the foot "
    "pinned checkpoints, and dotted lines changes that the config asked for."
)


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument(
        "--out", type=Path, default=Path("out/report.html"), help="HTML file to write"
    )


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
      (JSON result, table to print: the conclusion of each section).

    Raises:
      RunError: `out` is a folder.
    """
    if out.is_dir():
        raise RunError(f"--out={out} is a folder; the page is one file, such as {out}/report.html")
    found = find_runs(paths)
    opened, _ = open_runs(found, partial)
    present = {"", *(run.config.get("family", "") for run in opened)}
    present |= {"measures"} if any(run.measured for run in opened) else set()
    names = [name for name, section in SECTIONS.items() if section.needs in present]
    with tempfile.TemporaryDirectory() as folder:
        left_out = write_sections(names, found, Path(folder), partial)
        fragments, told = _fragments(Path(folder)), conclusions(Path(folder))
        join_sections(Path(folder), out, partial)
    rows = [
        {"section": f["title"], "answered": "no" if f["verdict"].startswith(NO) else "yes"}
        for f in fragments.values()
    ]
    result = {"command": "report", "page": str(out), "runs": len(found), "left_out": left_out}
    result["conclusions"] = told
    return plain(result), pd.DataFrame(rows).set_index("section")


@look()
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
    for name in tqdm(names, desc="sections", unit="section", disable=None):
        out, section = folder / name, SECTIONS[name]
        out.mkdir(parents=True, exist_ok=True)
        try:
            verdict, parts = section.write(paths, out, partial)
        except RunError as error:
            left_out[name] = str(error)
            verdict, parts = f"{NO}: {error}.", []
        covered = [str(Path(path).resolve()) for path in paths]
        fragment = {"title": section.title, "verdict": verdict, "html": "\n".join(parts)}
        write_json(out / SECTION, fragment | {"runs": covered})
    return left_out


@look()
def join_sections(folder: Path, out: Path, partial: bool = False) -> Path:
    """Write the page from the fragments that exist.

    Args:
      folder: folder that `write_sections` filled.
      out: path of the HTML file to write.
      partial: whether to read unfinished runs, too.

    Returns:
      The path written.
    """
    fragments = _fragments(folder)
    paths = list(dict.fromkeys(path for f in fragments.values() for path in f["runs"]))
    answers = {name: (f["title"], f["verdict"]) for name, f in fragments.items()}
    parts = _first(paths, folder, answers, partial)
    for name, fragment in fragments.items():
        parts += [page.heading(fragment["title"], name)]
        parts += [page.paragraph(fragment["verdict"], "verdict"), fragment["html"]]
    return page.write_page(out, TITLE, parts, embedded.scripts())


def conclusions(folder: Path) -> list[str]:
    """Return each question with its answer.

    Args:
      folder: folder that `write_sections` filled.

    Returns:
      One line of text per section.
    """
    return [f"{f['title']} {f['verdict']}" for f in _fragments(folder).values()]


def _fragments(folder):
    """Return the fragments in a folder by name, in the order of `SECTIONS`."""
    files = {name: folder / name / SECTION for name in SECTIONS}
    return {name: read_json(file) for name, file in files.items() if file.exists()}


def _command():
    """Return the command that the user gave; of a script, the name is that of its file."""
    script = Path(sys.argv[0]).stem
    name = [] if script in ("tapjax", "__main__", "-c") else [script]
    return shlex.join(["tapjax", *name, *sys.argv[1:]])


def _first(paths, folder, answers, partial):
    """Return what precedes the sections: what was run, conclusions, curves, and all runs."""
    runs, left_out = open_runs(paths, partial)
    curves = [course.read(run) for run in runs]
    _, table = summary(paths, folder / "summary", partial)
    told = [f"Read in part: {run.name}, {run.extent}." for run in runs if not run.complete]
    command = f"Page made by: {_command()}"
    static = overview(curves, folder / "overview")
    return [
        page.bullets([*sentences.what_was_run(runs), *told, *left_out, command], "facts"),
        page.bullets(sentences.what_happened(curves)),
        page.answers(answers),
        page.heading("Curves", "curves"),
        page.screen_and_paper(
            embedded.embedded(interactive.linked(curves)), page.picture(static, PRINTED)
        ),
        page.paragraph(SHOWN, "caption screen"),
        page.table(table, "All runs"),
    ]
