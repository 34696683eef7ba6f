"""A self-contained HTML page with inline tables and figures, for screens, phones and paper."""

import base64
import html
import io
from pathlib import Path
from string import Template

import pandas as pd
from PIL import Image

from analysis.report.columns import COLUMNS
from tapjax.contract.layout import write_text

WIDTH, QUALITY = 1000, 60  # of pictures
PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { --text: #1a1a1a; --muted: #595959; --ground: #fff; --line: #ddd; --link: #0060a8; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --muted: #a8a8a8;
  --ground: #16181b; --line: #3a3d42; --link: #6cb8f0; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; color: var(--text); background: var(--ground); }
a { color: var(--link); }
h1 { font-size: 1.6rem; line-height: 1.25; }
h2 { font-size: 1.25rem; margin-top: 2.6rem; border-top: 1px solid var(--line);
  padding-top: .8rem; }
p, li, dl { max-width: 46rem; } dd { margin: 0 0 .5rem 0; } .verdict { font-weight: 600; }
.facts, .caption { color: var(--muted); font-size: .9rem; } ul.facts { padding-left: 1.1rem; }
figure { margin: 1rem 0; } figcaption { max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; max-width: 12rem; white-space: normal;
  overflow-wrap: anywhere; }
th abbr { text-decoration: underline dotted; cursor: help; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
summary { cursor: pointer; margin: .8rem 0; font-weight: 600; }
.paper { display: none; }
@media (max-width: 40rem) { .wide img { max-width: none; }
  th:first-child, td:first-child { max-width: 7rem; } }
@media print { :root { --text: #000; --muted: #444; --ground: #fff; --line: #bbb; }
  @page { size: A4; margin: 14mm; } body { margin: 0; font-size: 10.5pt; }
  .screen { display: none; } .paper { display: block; }
  details::details-content { content-visibility: visible; block-size: auto; }
  table { font-size: 6.5pt; } th, td { white-space: normal; padding: .1rem .3rem; }
  .wide { overflow: visible; } .wide img { width: auto; max-width: 100%; }
  h2, summary { break-after: avoid; } img, tr { break-inside: avoid; } }
</style>
$head
</head><body>
$body
</body></html>
"""
)


def paragraph(text: str, kind: str = "") -> str:
    """Return plain text as an HTML paragraph, with an optional CSS class."""
    return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def heading(text: str, anchor: str) -> str:
    """Return plain text as the heading of a section, with the name that links to it."""
    return f'<h2 id="{html.escape(anchor)}">{html.escape(text)}</h2>'


def bullets(lines: list[str], kind: str = "") -> str:
    """Return lines of plain text as an HTML list, with an optional CSS class."""
    items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">\n{items}\n</ul>'


def answers(found: dict[str, tuple[str, str]]) -> str:
    """Return questions and answers as an HTML list whose questions link to their sections.

    Args:
      found: name of a section -> (question, answer in a sentence).

    Returns:
      HTML fragment.
    """
    items = "\n".join(
        f'<dt><a href="#{name}">{html.escape(question)}</a></dt><dd>{html.escape(answer)}</dd>'
        for name, (question, answer) in found.items()
    )
    return f"<dl>\n{items}\n</dl>"


def table(frame: pd.DataFrame, title: str = "Table", digits: int = 3) -> str:
    """Return a data frame as a folded HTML table that scrolls on narrow screens.

    A header that `columns.COLUMNS` defines is replaced by its short form, and shows the definition
    where the pointer is.

    Args:
      frame: data frame.
      title: text of the line that unfolds the table.
      digits: number of significant digits of each number.

    Returns:
      HTML fragment.
    """
    text = frame.reset_index().to_html(
        float_format=lambda v: f"{v:.{digits}g}", border=0, na_rep="-", index=False
    )
    for name in map(str, [*filter(None, frame.index.names), *frame.columns]):
        plain = html.escape(name)
        short, definition = COLUMNS.get(name, (name.replace("_", " "), ""))
        shown = html.escape(short)
        if definition:
            shown = f'<abbr title="{html.escape(definition)}">{shown}</abbr>'
        text = text.replace(f"<th>{plain}</th>", f"<th>{shown}</th>", 1)
    return details(f"{title} ({len(frame)} rows)", f'<div class="wide">{text}</div>')


def picture(path: Path, caption: str) -> str:
    """Return a PNG file as an inline HTML figure; its caption is its alternative text, too.

    The picture is reduced to 1000 pixels in width and compressed, which makes the page several
    times smaller.
    """
    small = io.BytesIO()
    with Image.open(path) as image:
        image = image.convert("RGB")
        image.thumbnail((WIDTH, 10 * WIDTH))
        image.save(small, "WEBP", quality=QUALITY, method=6)
    data = base64.b64encode(small.getvalue()).decode()
    text = html.escape(caption)
    image = f'<img alt="{text}" src="data:image/webp;base64,{data}">'
    return (
        f'<figure><div class="wide">{image}</div><figcaption class="caption">{text}</figcaption>'
        "</figure>"
    )


def details(title: str, *parts: str) -> str:
    """Return HTML fragments as a block that is folded on a screen and shown in print."""
    body = "\n".join(parts)
    return f"<details><summary>{html.escape(title)}</summary>\n{body}\n</details>"


def screen_and_paper(screen: str, paper: str) -> str:
    """Return a fragment that is shown on screens, and another one that is printed instead."""
    return f'<div class="screen">{screen}</div>\n<div class="paper">{paper}</div>'


def write_page(out: Path, title: str, parts: list[str], head: str = "") -> Path:
    """Write the page to a file.

    Args:
      out: path of the HTML file to write.
      title: title of the page.
      parts: HTML fragments made by the functions above.
      head: HTML of scripts that the fragments need.

    Returns:
      The path written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    heading = f"<h1>{html.escape(title)}</h1>"
    body = "\n".join([heading, *parts])
    write_text(out.resolve(), PAGE.substitute(title=html.escape(title), body=body, head=head))
    return out
