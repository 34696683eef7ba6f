"""Figures of alpha against the architecture and across data sets."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from analysis.figures.style import few_decades, save


def alpha_relationships(fits, table, out: Path) -> Path:
    """Draw alpha against depth, width and number of parameters, and the R2 of the fits.

    Args:
      fits: data frame with one row per curve and the column `r2`.
      table: data frame from `alpha.by_architecture`, one row per architecture.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, panels = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for axes, (name, label) in zip(
        panels.flat,
        (("depth", "depth"), ("width", "width"), ("num_params", "number of parameters")),
        strict=False,
    ):
        for i, (family, rows) in enumerate(table.groupby("family")):
            axes.loglog(
                rows[name], rows["alpha"], "o", ms=4, color=f"C{i}", label=family, alpha=0.8
            )
        few_decades(axes.xaxis)
        axes.set_xlabel(label)
        axes.set_ylabel("alpha (per integrated gradient norm)")
        axes.grid(alpha=0.25, which="both")
    panels[0, 0].legend(fontsize=8)
    axes = panels[1, 1]
    axes.hist(np.clip(fits["r2"], -1, 1), bins=np.linspace(-1, 1, 41), color="C7")
    axes.axvline(0.8, color="k", lw=0.8, ls=":")
    axes.set_xlabel("R2 of the fitted curve (clipped at -1; dotted: .8)")
    axes.set_ylabel("number of curves")
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
    figure, axes = plt.subplots(figsize=(7, 1.5 + 0.22 * len(names)), layout="constrained")
    groups = list(kept.groupby("data"))
    for i, (data, rows) in enumerate(groups):
        shift = 0.6 * ((i + 0.5) / len(groups) - 0.5)  # within the row of the architecture
        y = [names.index(name) + shift for name in rows["architecture"]]
        axes.semilogx(rows["alpha"], y, "o", ms=3.5, color=f"C{i}", label=data)
    few_decades(axes.xaxis)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("alpha (per integrated gradient norm), one point per seed")
    axes.set_title("Alpha of the identified curves, by architecture and data set", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return save(figure, out)
