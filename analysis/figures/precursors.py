"""Figure of the signals that move before an ability emerges."""

from pathlib import Path

import numpy as np

from analysis.figures.style import COLOURS, NEUTRAL, grid, save

MOST = 30  # signals


def precursors(table, about: dict, title: str, out: Path) -> Path:
    """Draw for each signal by how many steps it moves before the ability, and how well it warns.

    Args:
      table: rows of one run from `commands.precursors`.
      about: its ability, with the median `step` of emergence.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    order = table["area"].fillna(-1).sort_values(ascending=True, kind="stable").index[-MOST:]
    table = table.loc[order]
    place = np.arange(len(table))
    figure, axes = grid(1, 2, (4.2, 1.2 + 0.22 * len(table)), (1.6, 0.6), sharey=True)
    left, right = axes[0]
    ordered = (table["q"] <= 0.05).to_numpy()
    for chosen, colour, label in (
        (ordered, COLOURS[0], "tells the order of seeds (q <= .05)"),
        (~ordered, NEUTRAL, "does not"),
    ):
        rows = table[chosen]
        left.hlines(place[chosen], rows["low"], rows["high"], color=colour, lw=1.2)
        left.plot(rows["lead"], place[chosen], "o", color=colour, ms=4, label=label)
    left.axvline(0, color=NEUTRAL, lw=0.7)
    left.set_yticks(place, table["signal"])
    left.set_xlabel("steps before the ability\n(median and 80 % of seeds)")
    warns = (table["q_warning"] <= 0.05).to_numpy()
    for chosen, colour, label in (
        (warns, COLOURS[1], "warns (q <= .05)"), (~warns, NEUTRAL, "does not"),
    ):  # fmt: skip
        right.plot(table["area"][chosen], place[chosen], "o", color=colour, ms=4, label=label)
    right.axvline(0.5, color=NEUTRAL, lw=0.7)
    right.set_xlim(-0.05, 1.05)
    right.set_xlabel("area under the ROC curve\nof a warning, against controls")
    for axis in (left, right):
        axis.grid(alpha=0.2)
        axis.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1))
    figure.suptitle(f"{title}: {about['ability']}, step {about['step']:.0f}")
    return save(figure, out)
