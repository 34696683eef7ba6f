"""Figure of the signals that move before an ability emerges."""

from pathlib import Path

import numpy as np

from analysis.figures.style import COLOURS, NEUTRAL, grid, save

MOST = 30  # signals
LINES = 5  # signals of which the area is drawn by distance
LEVEL = 0.05


def precursors(table, by_distance, about: dict, title: str, out: Path) -> Path:
    """Draw for each signal by how many steps it moves before the ability, and how well it warns.

    Args:
      table: rows of one run from `commands.precursors`.
      by_distance: rows of one run of the areas by the distance of the warning.
      about: its ability, with the median `step` of emergence.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    order = table["area"].fillna(-1).sort_values(ascending=True, kind="stable").index[-MOST:]
    table = table.loc[order]
    height = 1.6 + 0.22 * len(table)
    figure, axes = grid(1, 3, (3.6, height), (1.6, 0.6))
    left, middle, right = axes[0]
    _leads(left, table)
    _areas(middle, table)
    _distances(right, table, by_distance)
    for axis in (left, middle, right):
        axis.grid(alpha=0.2)
        axis.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1))
    figure.suptitle(f"{title}: {about['ability']}, step {about['step']:.0f}")
    return save(figure, out)


def _leads(axis, table):
    place, ordered = np.arange(len(table)), (table["q"] <= LEVEL).to_numpy()
    for chosen, colour, label in (
        (ordered, COLOURS[0], f"tells the order of seeds (q <= {LEVEL:g})"),
        (~ordered, NEUTRAL, "does not"),
    ):
        rows = table[chosen]
        axis.hlines(place[chosen], rows["low"], rows["high"], color=colour, lw=1.2)
        axis.plot(rows["lead"], place[chosen], "o", color=colour, ms=4, label=label)
    axis.axvline(0, color=NEUTRAL, lw=0.7)
    axis.set_yticks(place, table["signal"])
    axis.set_xlabel("steps before the ability\n(bars: 80 % of seeds)")


def _areas(axis, table):
    place = np.arange(len(table))
    for kind, q, marker, label in (
        ("area", "q_warning", "o", "against controls"),
        ("next", "q_next", "s", "against later seeds"),
    ):
        found = (table[q] <= LEVEL).to_numpy()
        axis.plot(table[kind], place, marker, color=COLOURS[1], mfc="none", ms=4, label=label)
        axis.plot(table[kind][found], place[found], marker, color=COLOURS[1], ms=4)
    axis.axvline(0.5, color=NEUTRAL, lw=0.7)
    axis.set_xlim(-0.05, 1.05)
    axis.set_yticks(place, [])
    axis.set_xlabel(f"area under the ROC curve of a warning\n(filled: q <= {LEVEL:g})")


def _distances(axis, table, by_distance):
    known = by_distance[by_distance["area"].notna()]
    best = known.groupby("signal")["area"].mean().nlargest(LINES).index
    for signal, colour in zip(best, COLOURS, strict=False):
        rows = known[known["signal"] == signal]
        axis.plot(rows["steps"], rows["area"], "o-", color=colour, ms=3, lw=1, label=signal)
    axis.axhline(0.5, color=NEUTRAL, lw=0.7)
    axis.set_ylim(-0.05, 1.05)
    axis.set_xlabel("steps before the onset")
    axis.set_ylabel("area, against controls")
    if not len(best):
        axis.plot([], [], label="no controls")
