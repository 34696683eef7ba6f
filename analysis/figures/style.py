"""What all figures share."""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt

from analysis.runs.reader import Run
from tapjax.contract.layout import replace_file

DPI = 130


def save(figure, out: Path) -> Path:
    """Write a figure as PNG and close it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        replace_file(out, partial(figure.savefig, format="png", dpi=DPI))
    except ValueError:
        for text in figure.findobj(plt.Text):
            text.set_parse_math(False)  # dollars in somebody's names are no formula
        replace_file(out, partial(figure.savefig, format="png", dpi=DPI))
    finally:
        plt.close(figure)
    return out


def synthetic(run: Run) -> str:
    """What a title adds for data that are not real."""
    return " (SYNTHETIC)" if run.model.get("synthetic") else ""
