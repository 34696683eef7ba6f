"""A self-contained HTML page with inline tables and figures, readable on a phone and in print."""

import base64
import html
from pathlib import Path
from string import Template

import pandas as pd

from tapjax.contract.layout import write_text

PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p { max-width: 46rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; }
summary { cursor: pointer; margin: 1rem 0; font-weight: 600; }
@media print { details::details-content { content-visibility: visible; block-size: auto; }
  table { font-size: .6rem; } .wide { overflow: visible; }
  h2 { break-after: avoid; } img { break-inside: avoid; } }
</style></head><body>
<h1>$title</h1>
$body
</body></html>
"""
)


def paragraph(text: str) -> str:
    """Return plain text as an HTML paragraph."""
    return f"<p>{html.escape(text)}</p>"


def heading(text: str) -> str:
    """Return plain text as the heading of a section."""
    return f"<h2>{html.escape(text)}</h2>"


def table(frame: pd.DataFrame, digits: int = 3) -> str:
    """Return a data frame as an HTML table that scrolls on narrow screens."""
    text = frame.to_html(float_format=lambda v: f"{v:.{digits}g}", border=0, na_rep="-")
    return f'<div class="wide">{text}</div>'


def picture(path: Path, description: str) -> str:
    """Return a PNG file as an inline HTML image."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def details(title: str, *parts: str) -> str:
    """Return HTML fragments as a block that is folded on a screen and shown in print."""
    body = "\n".join(parts)
    return f"<details><summary>{html.escape(title)}</summary>\n{body}\n</details>"


def write_page(out: Path, title: str, parts: list[str]) -> Path:
    """Write the page to a file.

    Args:
      out: path of the HTML file to write.
      title: title of the page.
      parts: HTML fragments made by the functions above.

    Returns:
      The path written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out.resolve(), PAGE.substitute(title=html.escape(title), body="\n".join(parts)))
    return out
