"""Figures of empirical dynamic modelling: links, convergence against nulls, forecasts."""

from pathlib import Path

import numpy as np

from analysis.edm.links import UNPROVEN, UNTESTED
from analysis.figures.style import (
    few_decades,
    largest_width,
    legend_below,
    most_panels,
    one_panel,
    panels,
    save,
)

MOST = 12  # maximum number of convergence panels in one figure
MARKS = {
    "drives": "drives",
    "synchrony or reverse": "synchrony\nor reverse",
    "no evidence": "",
    UNPROVEN: "",
    UNTESTED: "untested",
}


def matrix(links: list[dict], title: str, out: Path) -> Path:
    """Draw the cross-map skill of every ordered pair of variables, with the claimed links.

    Args:
      links: rows of one run from `links.verdicts` or `links.untested`.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    names = list(dict.fromkeys(row["effect"] for row in links))
    rho = np.full((len(names), len(names)), np.nan)
    size = 1.1 * len(names)
    figure, axis = one_panel(size + 3.5, size + 2.2)
    narrow = size > largest_width() - 1.5  # the cells hold fewer words, and the bar lies below
    for row in links:
        i, j = names.index(row["cause"]), names.index(row["effect"])
        rho[i, j] = row["rho"]
        claim = MARKS[row["verdict"]][: 1 if narrow else None]
        q = "" if narrow or np.isnan(row["q"]) else f"\nq {row['q']:.2f}"
        text = f"{row['rho']:.2f}{q}" + (f"\n{claim}" if claim else "")
        dark = row["rho"] > 0.6
        axis.text(j, i, text, ha="center", va="center", color="w" if dark else "k")
    image = axis.imshow(rho, vmin=0, vmax=1, cmap="viridis_r")
    slant = {"rotation": 90} if narrow else {"rotation": 30, "ha": "right"}
    axis.set_xticks(range(len(names)), names, **slant)
    axis.set_yticks(range(len(names)), names)
    initials = "; d: drives, s: synchrony or reverse, u: untested" if narrow else ""
    axis.set_xlabel(f"effect (its states estimate the cause){initials}")
    axis.set_ylabel("cause")
    figure.colorbar(
        image, ax=axis, label="cross-map skill (rho), largest library", shrink=0.8,
        location="bottom" if narrow else "right",
    )  # fmt: skip
    figure.suptitle(title)
    return save(figure, out)


def convergence(found: dict, title: str, out: Path) -> Path:
    """Draw the skill by library size, beside that of surrogates and of causes from other runs.

    Args:
      found: dict from (cause, effect) to Evidence; the 12 pairs with the highest skill are drawn.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    pairs = sorted(found, key=lambda pair: -found[pair].rho[-1])[: min(MOST, most_panels(2.2))]
    figure, axes = panels(len(pairs), (3.2, 2.5), least=2.2, sharex=True, sharey=True)
    for axis, pair in zip(axes, pairs, strict=True):
        e = found[pair]
        low, high = np.quantile(e.null, [0.025, 0.975], axis=0)
        axis.vlines(
            e.sizes[[0, -1]], low, high, color="0.8", linewidth=5,
            label="surrogates, 95 % range",
        )  # fmt: skip
        if e.n > 1:
            axis.plot(e.sizes, e.other_runs, "C1:", label="causes of other seeds, mean")
        axis.plot(e.sizes, e.rho, "C0.-", label="recorded")
        axis.set_title(f"{pair[0]} -> {pair[1]}, best lag {e.best_lag}")
        axis.set_xscale("log")
        few_decades(axis.xaxis)
        axis.set_xlabel("library size (share of points)")
    figure.supylabel("cross-map skill (rho)")
    legend_below(figure, *axes[0].get_legend_handles_labels())
    figure.suptitle(title)
    return save(figure, out)


def forecast_skill(rows: list[dict], title: str, out: Path) -> Path:
    """Draw the error of each forecast model relative to persistence, by horizon.

    Args:
      rows: rows from `study.forecasts`.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    names = list(dict.fromkeys(row["variable"] for row in rows))
    models = [m for m in dict.fromkeys(row["model"] for row in rows) if m != "persistence"]
    figure, axes = panels(len(names), (3.4, 2.6), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        for model in models:
            own = [r for r in rows if r["variable"] == name and r["model"] == model]
            axis.plot(
                [r["horizon"] for r in own], [r["relative_rmse"] for r in own], ".-", label=model
            )
        axis.axhline(1, color="0.6", linewidth=1)
        axis.set_title(name)
        axis.set_xlabel("horizon (points)")
    figure.supylabel("RMSE / RMSE of persistence")
    legend_below(figure, *axes[0].get_legend_handles_labels())
    figure.suptitle(title)
    return save(figure, out)
