"""Static figure of D, loss and accuracy of several runs, with jumps and pinned checkpoints."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D

from analysis.figures.course import Curves, accuracy_label
from analysis.figures.style import COLOURS, DASHES, TEXT, WIDTHS, grid, legend_below, save

QUANTITIES = {"D": "D", "loss": "training loss", "accuracy": "test accuracy"}


def overview(runs: list[Curves], out: Path, quantities=tuple(QUANTITIES)) -> Path:
    """Draw quantities of runs over training, one panel per quantity, with the range over seeds.

    Args:
      runs: curves of each run.
      out: path of the file to write, see `style.save`.
      quantities: names of the panels from top to bottom; those that no run has are left out.

    Returns:
      The path written.
    """
    drawn = [name for name in quantities if any(name in run.quantities for run in runs)]
    heights = [1.5 if name == "D" else 1.0 for name in drawn]
    height = 1.7 * sum(heights) / len(drawn)
    figure, panels = grid(
        len(drawn), 1, (WIDTHS["page"], height), (0, 0.5), sharex=True, height_ratios=heights
    )
    for axes, quantity in zip(panels[:, 0], drawn, strict=True):
        for i, run in enumerate(runs):
            if quantity in run.quantities:
                _draw(axes, run.quantities[quantity], i)
        label = accuracy_label(runs) if quantity == "accuracy" else QUANTITIES[quantity]
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if quantity == "loss":
            axes.set_yscale("log")
    for i, run in enumerate(runs):
        _mark(panels[0, 0], run, COLOURS[i % len(COLOURS)])
    panels[-1, 0].set_xlabel("training step")
    panels[-1, 0].set_xlim(left=0)
    _mark_planted(panels[0, 0], runs)
    handles = [Line2D([], [], color=c, linestyle=d) for c, d in map(_style, range(len(runs)))]
    names = [run.name for run in runs]
    legend_below(figure, handles, names)
    return save(figure, out)


def _style(i):
    return COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]


def _draw(axes, curve, i):
    colour, dash = _style(i)
    axes.plot(curve.step, curve.mean, color=colour, linestyle=dash, linewidth=1.5)
    axes.fill_between(curve.step, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


def _mark(axes, run, colour):
    """Mark jumps of D by triangles on its curve, and pinned checkpoints by ticks at the foot."""
    curve = run.quantities.get("D")
    jumps = [step for step, text in run.events if text.startswith("jump")]
    if curve is not None and jumps:
        height = np.interp(jumps, curve.step, curve.mean)
        axes.plot(jumps, height, "v", color=colour, markeredgecolor="k", markersize=7)
    pins = [step for step, text in run.events if text.startswith("pinned")]
    foot = axes.get_xaxis_transform()
    axes.plot(pins, [0.03] * len(pins), "|", color=colour, markersize=8, transform=foot)


def _mark_planted(axes, runs):
    """Mark what the configs changed by dotted lines; each kind of change is named once."""
    colours = {
        (step, text): COLOURS[i % len(COLOURS)]
        for i, run in enumerate(runs)
        for step, text in run.events
        if not text.startswith(("jump", "pinned"))
    }
    for (step, _), colour in colours.items():
        axes.axvline(step, color=colour, linestyle=":", linewidth=1)
    first = {text: (step, colours[step, text]) for step, text in sorted(colours, reverse=True)}
    end = axes.get_xlim()[1]
    height = 0
    for text, (step, colour) in sorted(first.items(), key=lambda item: item[1]):
        left = step < end / 2
        lines = textwrap.wrap(text, 24)
        axes.annotate(
            "\n".join(lines), (step, 0.97), xycoords=("data", "axes fraction"),
            xytext=(4 if left else -4, -1.3 * TEXT * height), textcoords="offset points",
            color=colour, ha="left" if left else "right", va="top",
        )  # fmt: skip
        height += len(lines)
