"""Figures of alpha against the architecture and across data sets."""

from pathlib import Path

import numpy as np

from analysis.figures.style import NEUTRAL, few_decades, legend_below, one_panel, panels, save


def alpha_relationships(fits, table, out: Path) -> Path:
    """Draw alpha against depth, width and number of parameters, and the R2 of the fits.

    Args:
      fits: data frame with one row per curve and the column `r2`.
      table: data frame from `alpha.by_architecture`, one row per architecture.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(4, (4.2, 3.1), least=3)
    features = {"depth": "depth", "width": "width", "num_params": "number of parameters"}
    for axis, (name, label) in zip(axes[:3], features.items(), strict=True):
        for i, (family, rows) in enumerate(table.groupby("family")):
            axis.loglog(
                rows[name], rows["alpha"], "o", ms=4, color=f"C{i}", label=family, alpha=0.8
            )
        few_decades(axis.xaxis)
        axis.set_xlabel(label)
        axis.set_ylabel("alpha (per integrated gradient norm)")
        axis.grid(alpha=0.25, which="both")
    legend_below(figure, *axes[0].get_legend_handles_labels())
    axes[3].hist(np.clip(fits["r2"], -1, 1), bins=np.linspace(-1, 1, 41), color=NEUTRAL)
    axes[3].axvline(0.8, color="k", lw=0.8, ls=":")
    axes[3].set_xlabel("R2 of the fitted curve (clipped at -1; dotted: .8)")
    axes[3].set_ylabel("number of curves")
    figure.suptitle("Alpha of each architecture, geometric mean over its identified curves")
    return save(figure, out)


def alpha_consistency(fits, out: Path) -> Path:
    """Draw alpha of each architecture on each data set, for the identified curves only.

    Args:
      fits: data frame with one row per curve: `architecture`, `data`, `alpha` and `identified`.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    kept = fits[fits["identified"]]
    names = list(dict.fromkeys(kept["architecture"]))
    figure, axes = one_panel(7, 1.8 + 0.22 * len(names))
    groups = list(kept.groupby("data"))
    for i, (data, rows) in enumerate(groups):
        shift = 0.6 * ((i + 0.5) / len(groups) - 0.5)  # within the row of the architecture
        y = [names.index(name) + shift for name in rows["architecture"]]
        axes.semilogx(rows["alpha"], y, "o", ms=3.5, color=f"C{i}", label=data)
    few_decades(axes.xaxis)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("alpha (per integrated gradient norm), one point per seed")
    figure.suptitle("Alpha of the identified curves, by architecture and data set")
    axes.grid(alpha=0.25)
    legend_below(figure, *axes.get_legend_handles_labels())
    return save(figure, out)
