"""What all figures share."""

from pathlib import Path

import matplotlib.pyplot as plt

from analysis.io import Run

DPI = 130


def save(figure, out: Path) -> Path:
    """Write a figure as PNG and close it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(out, dpi=DPI)
    except ValueError:
        for text in figure.findobj(plt.Text):
            text.set_parse_math(False)  # dollars in somebody's names are no formula
        figure.savefig(out, dpi=DPI)
    plt.close(figure)
    return out


def synthetic(run: Run) -> str:
    """What a title adds for data that are not real."""
    return " (SYNTHETIC)" if run.model.get("synthetic") else ""
