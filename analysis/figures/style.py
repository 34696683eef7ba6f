"""Functions that all figures share."""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from analysis.runs.reader import Run
from tapjax.contract.layout import replace_file

DPI = 130
# Colours that colour-blind readers distinguish, legible on white and on black (Okabe and Ito 2008,
# https://jfly.uni-koeln.de/color).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = ("solid", "dashed", "dotted")  # for more curves than colours
NEUTRAL = "#777777"  # axes and text, legible on white and on black


def save(figure, out: Path) -> Path:
    """Write a figure to a file and close the figure.

    Args:
      figure: Matplotlib figure.
      out: path of the file to write; it ends in .png, .svg or .pdf.

    Returns:
      The path written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    write = partial(figure.savefig, format=out.suffix[1:], dpi=DPI)
    try:
        replace_file(out, write)
    except ValueError:
        for text in figure.findobj(plt.Text):
            text.set_parse_math(False)  # dollar signs in names are not formulas
        replace_file(out, write)
    finally:
        plt.close(figure)
    return out


def synthetic(run: Run) -> str:
    """Return the mark that titles of runs on synthetic data get, empty for other runs."""
    return " (SYNTHETIC)" if run.model.get("synthetic") else ""


def binned(run, name: str, most: int = 200):
    """Average a scalar over bins of equal width, so that a curve has at most `most` points.

    Args:
      run: open run.
      name: name of the scalar.
      most: largest number of bins. Steps after the last whole bin are left out.

    Returns:
      (mean step of each bin [N], values [S, N]).
    """
    step, values_SxT = run.steps("scalar"), run.array("scalar", name)
    width = -(-len(step) // most)
    whole = len(step) // width * width
    values_SxN = values_SxT[:, :whole].reshape(len(values_SxT), -1, width).mean(-1)
    return step[:whole].reshape(-1, width).mean(1), values_SxN


def few_decades(axis) -> None:
    """Label a logarithmic axis at 1, 2 and 5 of every decade, for ranges of one or two decades."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
