"""Run every analysis that suits the runs, and write the results to one self-contained page."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.commands.output import plain
from analysis.commands.report_sections import SECTIONS
from analysis.report import page
from analysis.runs.reader import RunError, find_runs, open_runs
from tapjax.contract.layout import write_text

TITLE = "What happened while the networks trained"
SECTION = "section.html"


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
      (JSON result, table to print: the sections, and why a section was left out).

    Raises:
      RunError: `out` is a folder.
    """
    if out.is_dir():
        raise RunError(f"--out={out} is a folder; the page is one file, such as {out}/report.html")
    found = find_runs(paths)
    opened, _ = open_runs(found, partial)
    families = {"", *(run.config.get("family", "") for run in opened)}
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
