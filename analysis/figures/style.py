"""Style of all figures: format, width, fonts, colours, panels, legends.

Figures take their format and their largest width from Matplotlib's settings `savefig.format` and
`figure.figsize`, which `look` sets for a command. No text is smaller than 8 points.
"""

import textwrap
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.ticker import EngFormatter, FixedFormatter, LogLocator, NullFormatter

from analysis.runs.reader import Run
from tapjax.contract.layout import replace_file

DPI = 130
FORMATS = ("png", "svg", "pdf")
WIDTHS = {"page": 10.0, "double": 7.2, "single": 3.5}  # inches: a screen; columns of a paper
TEXT, SMALL = 9, 8  # points
HELD_ROWS = 3  # rows of a legend for which figures have room; more rows make them taller
EM = 0.55  # mean width of a character, as a fraction of the size of the font
PAGE_HEIGHT = 11.0  # inches; panels become lower, down to LEAST_HEIGHT, to stay below it
LEAST_HEIGHT = 1.5
BESIDE = 0.6  # inches, of the numbers and the label beside a panel
# Colours that colour-blind readers distinguish, legible on white and on black (Okabe and Ito 2008,
# https://jfly.uni-koeln.de/color).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = ("solid", "dashed", "dotted", "dashdot", (0, (8, 1, 1, 1, 1, 1)))  # beyond 6 curves
NEUTRAL = "#777777"  # axes and text, legible on white and on black
# Ten colours, C0 to C9, for figures that distinguish more curves (Petroff 2021,
# https://arxiv.org/abs/2107.02270).
CYCLE = ("#3f90da", "#bd1f01", "#ffa90e", "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70",
         "#717581", "#92dadd")  # fmt: skip


def look(file_format: str = "png", width: str = "page"):
    """Return a context in which figures have a format, a largest width and the project's fonts.

    Args:
      file_format: one of `FORMATS`.
      width: key of `WIDTHS`.

    Example:
        with look("pdf", "double"):
            figures.memory(run, "my run", Path("out/memory"))  # writes out/memory.pdf
    """
    small = ("legend.fontsize", "xtick.labelsize", "ytick.labelsize")
    text = ("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize", "figure.labelsize")
    return plt.rc_context(
        {
            "savefig.format": file_format,
            "figure.figsize": (WIDTHS[width], 4.0),
            "axes.prop_cycle": cycler(color=CYCLE),
            "pdf.fonttype": 42,  # text that editors can change
        }
        | dict.fromkeys(text, TEXT)
        | dict.fromkeys(small, SMALL)
    )


def largest_width() -> float:
    """Return the width in inches that no figure exceeds."""
    return plt.rcParams["figure.figsize"][0]


def one_panel(width: float, height: float):
    """Make a figure of one panel, narrower than `width` if the page is.

    Args:
      width: wanted width in inches.
      height: height in inches.

    Returns:
      (figure, axes).
    """
    size = (min(width, largest_width()), height)
    return plt.subplots(figsize=size, layout="constrained")


def grid(rows: int, columns: int, each: tuple, around=(0.6, 0.8), **more):
    """Make a figure with rows and columns of panels, which become smaller if the page is small.

    Args:
      rows: number of rows.
      columns: number of columns.
      each: wanted (width, height) of one panel in inches.
      around: (width, height) in inches for what all panels share, such as a colour bar.
      **more: further arguments of `matplotlib.pyplot.subplots`.

    Returns:
      (figure, axes [rows, columns]).
    """
    width = min(each[0] * columns + around[0], largest_width())
    height = min(each[1], max((PAGE_HEIGHT - around[1]) / rows, LEAST_HEIGHT))
    return plt.subplots(
        rows, columns, figsize=(width, height * rows + around[1]), layout="constrained",
        squeeze=False, **more,
    )  # fmt: skip


def most_panels(least: float = 2.3, around=(0.6, 0.8)) -> int:
    """Return how many panels of `panels` fit on a page.

    Args:
      least: smallest width of a panel in inches.
      around: see `grid`.

    Returns:
      Number of panels, 1 or more.
    """
    across = max(int((largest_width() - around[0]) / least), 1)
    return across * int((PAGE_HEIGHT - around[1]) / LEAST_HEIGHT)


def panels(count: int, each: tuple, around=(0.6, 0.8), least: float = 2.3, **more):
    """Make a figure with panels side by side, in several rows if the page is narrow.

    Args:
      count: number of panels.
      each: wanted (width, height) of one panel in inches.
      around: see `grid`.
      least: smallest width of a panel in inches, unless the whole page is narrower.
      **more: further arguments of `matplotlib.pyplot.subplots`.

    Returns:
      (figure, axes [count]).
    """
    most = max(int((largest_width() - around[0]) / min(least, each[0])), 1)
    rows = -(-count // most)
    columns = -(-count // rows)
    figure, axes = grid(rows, columns, each, around, **more)
    for axis in axes.flat[count:]:
        axis.remove()
    for axis in axes.flat[max(count - columns, 0) : count]:  # the lowest of each column
        axis.tick_params(labelbottom=True)
    return figure, axes.flat[:count]


def legend_below(figure, handles, labels, **more) -> None:
    """Draw a legend below all panels, in as many columns as the width holds."""
    if not labels:
        return
    characters = int(figure.get_size_inches()[0] * 72 / (SMALL * EM))
    labels = ["\n".join(textwrap.wrap(label, characters - 10)) for label in labels]
    columns = characters // (max(map(len, labels)) + 9)
    columns = min(max(columns, 1), len(labels), 6)
    rows = -(-sum(label.count("\n") + 1 for label in labels) // columns)
    taller = max(rows - HELD_ROWS, 0) * 1.6 * SMALL / 72
    figure.set_figheight(figure.get_figheight() + taller)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, **more)


def save(figure, out: Path) -> Path:
    """Write a figure to a file and close the figure.

    Titles and labels that are wider than their panel are broken into lines.

    Args:
      figure: Matplotlib figure.
      out: path of the file to write, without the ending. That of Matplotlib's `savefig.format` is
        added.

    Returns:
      The path written.
    """
    file_format = plt.rcParams["savefig.format"]
    out = out.with_name(f"{out.name}.{file_format}")
    out.parent.mkdir(parents=True, exist_ok=True)
    _break_lines(figure)
    _without_formulas(figure)
    try:
        replace_file(out, partial(figure.savefig, format=file_format, dpi=DPI))
    finally:
        plt.close(figure)
    return out


def _without_formulas(figure):
    """Draw dollar signs in names as they are. Only numbers of axes, such as 10^3, are formulas."""
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]
    numbered = [axis for axis in axes if not isinstance(axis.get_major_formatter(), FixedFormatter)]
    numbers = [text for axis in numbered for text in axis.get_ticklabels(which="both")]
    for text in set(figure.findobj(plt.Text)).difference(numbers):
        text.set_parse_math(False)


def _break_lines(figure):
    width, height = figure.get_size_inches()
    _broken(figure._suptitle, width)
    for axes in figure.axes:
        place = axes.get_subplotspec()
        if place is None:  # a colour bar
            _broken(axes.yaxis.label, height)
            continue
        rows, columns = place.get_gridspec().get_geometry()
        names = [len(label.get_text()) for label in axes.get_yticklabels()]
        beside = BESIDE + max(names, default=0) * EM * SMALL / 72
        for text in (axes.title, axes.xaxis.label):
            _broken(text, width * len(place.colspan) / columns - beside)
        _broken(axes.yaxis.label, 0.6 * height * len(place.rowspan) / rows)


def _broken(text, inches):
    """Break the lines of a text that are longer than a number of inches."""
    if text is None:
        return
    characters = max(int(inches * 72 / (text.get_fontsize() * EM)), 12)
    lines = text.get_text().splitlines()
    text.set_text("\n".join(part for line in lines for part in textwrap.wrap(line, characters)))


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
    """Label a logarithmic axis with plain numbers, at 1, 2 and 5 of each of at most two decades."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    thousands = EngFormatter(sep="")  # as in 20k
    axis.set_major_formatter(lambda x, at: thousands(x) if x >= 1000 else f"{x:g}")
    axis.set_minor_formatter(NullFormatter())
