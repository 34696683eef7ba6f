"""Figures of a network before, during and after a critical step, and of its whole training."""

from pathlib import Path

import numpy as np

from analysis.figures.style import grid, largest_width, legend_below, one_panel, panels, save
from analysis.mechanistic.critical_steps import SIDES

MOST_FILTERS = 16
MOST_UNITS = 64
MOST_HEADS = 8
LEAST_DRAWN = 1e-6  # smaller effects are drawn at this value


def attention_pattern(sides_PxHxQxQ, title: str, out: Path) -> Path:
    """Draw the mean attention of each head before, during and after a critical step.

    Args:
      sides_PxHxQxQ: three arrays of attention probabilities [P, H, Q, Q]: before, during and after.
        The first heads are drawn, at most 8, and fewer if the page is narrow.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    most = min(MOST_HEADS, int((largest_width() - 1.5) / 0.8))
    mean = [np.asarray(p).mean(0)[:most] for p in sides_PxHxQxQ]
    heads, top = len(mean[0]), max(m.max() for m in mean)
    side = min(1.9, (largest_width() - 2) / heads)
    figure, axes = grid(3, heads, (side, side), (2, 1))
    for row, side, maps in zip(axes, SIDES, mean, strict=True):
        for head, (cell, map_QxQ) in enumerate(zip(row, maps, strict=True)):
            image = cell.imshow(map_QxQ, vmin=0, vmax=top, cmap="magma")
            cell.set_xticks([])
            cell.set_yticks([])
            if side == SIDES[0]:
                cell.set_title(f"head {head}")
        row[0].set_ylabel(f"{side}\nquery token")
    for cell in axes[-1]:
        cell.set_xlabel("key token")
    figure.colorbar(image, ax=axes, label="attention probability, mean over examples", shrink=0.7)
    every = len(sides_PxHxQxQ[0][0])
    figure.suptitle(title if heads == every else f"{title}; the first {heads} of {every} heads")
    return save(figure, out)


def filter_viz(before_hxwxCxD, after_hxwxCxD, title: str, out: Path) -> Path:
    """Draw filters of a convolution before and after a critical step, and their change.

    Only the first input channel is drawn, of the 16 filters that changed most, or of fewer if the
    page is narrow.

    Args:
      before_hxwxCxD: kernel before, [height, width, input channels, filters].
      after_hxwxCxD: kernel after, of the same shape.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    change = after_hxwxCxD - before_hxwxCxD
    most = np.argsort(-np.abs(change).sum((0, 1, 2)), kind="stable")
    most = most[: min(MOST_FILTERS, int((largest_width() - 1.5) / 0.5))]
    shown = np.sort(most)
    side = min(0.75, (largest_width() - 1.5) / len(shown))
    figure, axes = grid(3, len(shown), (side, side), (1.5, 1.2))
    top = max(np.abs(before_hxwxCxD[:, :, 0]).max(), np.abs(after_hxwxCxD[:, :, 0]).max())
    most_changed = np.abs(change[:, :, 0, shown]).max() or 1.0
    rows = (("before", before_hxwxCxD, top), ("after", after_hxwxCxD, top))
    rows += (("change", change, most_changed),)
    for row, (name, w, most) in zip(axes, rows, strict=True):
        for cell, unit in zip(row, shown, strict=True):
            image = cell.imshow(w[:, :, 0, unit], vmin=-most, vmax=most, cmap="RdBu_r")
            cell.set_xticks([])
            cell.set_yticks([])
            if name == "before":
                cell.set_title(unit)
        row[0].set_ylabel(name)
        if name != "before":  # the scale of the change is its own
            label = "change" if name == "change" else "weight"
            figure.colorbar(image, ax=row if name == "change" else axes[:2], label=label)
    figure.suptitle(f"{title}: the {len(shown)} filters that changed most")
    return save(figure, out)


def activation_heatmap(before_CxD, after_CxD, title: str, out: Path) -> Path:
    """Draw the mean response of units to each class before and after, and its change.

    Only the 64 units that changed most are drawn.

    Args:
      before_CxD: mean activation of each unit for each class before the critical step, [C, D].
      after_CxD: mean activations of the same units after it, [C, D].
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    change = after_CxD - before_CxD
    most = np.argsort(-np.abs(change).sum(0), kind="stable")[:MOST_UNITS]
    shown = np.sort(most)
    top = max(np.abs(before_CxD[:, shown]).max(), np.abs(after_CxD[:, shown]).max())
    figure, axes = grid(3, 1, (9, 2.1), (0, 0.8), sharex=True)
    most_changed = np.abs(change[:, shown]).max() or 1.0
    rows = (
        ("before", before_CxD, top),
        ("after", after_CxD, top),
        ("change", change, most_changed),
    )
    for cell, (name, a, most) in zip(axes[:, 0], rows, strict=True):
        image = cell.imshow(a[:, shown], vmin=-most, vmax=most, cmap="RdBu_r", aspect="auto")
        cell.set_ylabel(f"{name}\nclass")
        if name != "before":  # the scale of the change is its own
            label = "change" if name == "change" else "mean activation"
            figure.colorbar(image, ax=cell if name == "change" else list(axes[:2, 0]), label=label)
    every = -(-len(shown) // int(4 * (largest_width() - 1.5)))
    axes[-1, 0].set_xticks(range(0, len(shown), every), shown[::every], rotation=90)
    axes[-1, 0].set_xlabel(f"unit (the {len(shown)} that changed most)")
    figure.suptitle(title)
    return save(figure, out)


def entropy_evolution(steps, entropy: dict, most: float, moments, title: str, out: Path) -> Path:
    """Draw the attention entropy of every head over training.

    Args:
      steps: training steps of the snapshots [T].
      entropy: dict from layer to the entropy of its heads [T, H], in nats.
      most: entropy of uniform attention, in nats.
      moments: training steps that are critical, marked by lines.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    width = 6 if len(entropy) == 1 else 3.6
    figure, axes = panels(len(entropy), (width, 2.8), sharey=True)
    for cell, (layer, entropy_TxH) in zip(axes, entropy.items(), strict=True):
        for head, series in enumerate(np.asarray(entropy_TxH).T):
            cell.plot(steps, series, ".-", ms=4, lw=1, label=f"head {head}")
        cell.axhline(most, color="k", lw=0.8, ls=":", label="uniform attention")
        for i, step in enumerate(moments):
            cell.axvline(step, color="r", lw=1, ls="--", label=None if i else "critical step")
        cell.set_title(layer)
        cell.set_xlabel("training step")
        cell.grid(alpha=0.25)
    figure.supylabel("attention entropy (nats)")
    legend_below(figure, *axes[0].get_legend_handles_labels())
    figure.suptitle(title)
    return save(figure, out)


def change_map(layers, results, title: str, out: Path) -> Path:
    """Draw the most unusual change of each layer at each critical step.

    A star marks a change beyond the null. If a single unit is beyond the null, its number is
    written below the star.

    Args:
      layers: names of the layers from input to output.
      results: AnalysisResult of each critical step.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    z_LxM, star_LxM = (np.full((len(layers), len(results)), fill) for fill in (np.nan, False))
    unit = {}
    for j, result in enumerate(results):
        for row in result.measurements["changes"]:
            if row["layer"] in layers:
                i = layers.index(row["layer"])
                z_LxM[i, j] = np.fmax(z_LxM[i, j], row["z"])
                star_LxM[i, j] |= row["p"] <= 0.05
                if row["p"] <= 0.05 and row["unit"] is not None:
                    unit[i, j] = row["unit"]
    figure, axes = one_panel(3.6 + 1.1 * len(results), 2 + 0.32 * len(layers))
    image = axes.imshow(np.maximum(z_LxM, 0.1), norm="log", cmap="viridis", aspect="auto")
    for i, j in zip(*np.nonzero(star_LxM), strict=True):
        axes.plot(j, i - 0.1, "*", color="r", markersize=7)
        axes.text(j, i + 0.45, str(unit.get((i, j), "")), ha="center", color="r")
    about = [result.measurements for result in results]
    crowded = 0.6 * len(results) > largest_width() - 3
    between = ": " if crowded else "\n"
    names = [f"{m['number']}{between}step {m['steps'][1]}" for m in about]
    axes.set_xticks(range(len(results)), names, rotation=90 if crowded else 0)
    axes.set_yticks(range(len(layers)), layers)
    axes.set_xlabel("critical step" + (" (numbers below stars: units)" if unit else ""))
    low = max(np.nanmin(z_LxM), 0.1)
    ticks = [tick for tick in (0.1, 0.3, 1, 3, 10, 30) if low <= tick < np.nanmax(z_LxM)]
    bar = figure.colorbar(image, label="largest change z\n(in spreads of ordinary changes)")
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks], minor=False)
    bar.minorticks_off()
    figure.suptitle(title)
    return save(figure, out)


def interventions(effects, title: str, out: Path) -> Path:
    """Draw the effect of every unit and layer at a critical step, beside its ordinary effect.

    Units and layers whose effect is beyond the null are red, and the number of a unit is written
    beside it.

    Args:
      effects: Intervention of the critical step.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    keys = list(effects.units)
    figure, axes = one_panel(6.5, 1.9 + 0.32 * len(keys))
    beyond = {(r["layer"], r["intervention"], r["unit"]) for r in effects.rows if r["p"] <= 0.05}
    drawn = np.concatenate([np.concatenate(pair) for pair in effects.units.values()])
    low = max(drawn[drawn > 0].min(initial=1.0), LEAST_DRAWN)
    for i, key in enumerate(keys):
        own, ordinary = (np.maximum(each, low) for each in effects.units[key])
        axes.plot(ordinary[:-1], np.full(len(own) - 1, i + 0.18), ".", color="0.7", markersize=4)
        axes.plot(own[:-1], np.full(len(own) - 1, i - 0.18), ".", color="#0072b2", markersize=5)
        axes.plot(ordinary[-1], i + 0.18, "D", color="0.7", markersize=5)
        axes.plot(own[-1], i - 0.18, "D", color="#0072b2", markersize=5)
        for unit in range(len(own)):
            last = unit == len(own) - 1
            if (*key, None if last else unit) in beyond:
                axes.plot(own[unit], i - 0.18, "D" if last else ".", color="r", markersize=7)
                if not last:
                    axes.annotate(
                        str(unit), (own[unit], i - 0.18), (4, 2), textcoords="offset points",
                        color="r",
                    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yticks(range(len(keys)), [f"{layer}, {what}" for layer, what in keys])
    axes.invert_yaxis()
    axes.set_xlabel("absolute effect on the loss")
    axes.grid(alpha=0.25)
    marks = [
        (".", "#0072b2", "unit"),
        ("D", "#0072b2", "whole layer"),
        ("D", "r", "beyond the null"),
    ]
    marks.append((".", "0.7", "same unit or layer, ordinary pairs (median)"))
    handles = [axes.plot([], [], m, color=color, label=label)[0] for m, color, label in marks]
    legend_below(figure, handles, [handle.get_label() for handle in handles])
    about = effects.about
    figure.suptitle(f"{title}\ninterventions at step {about['step']}, seed {about['seed']}")
    return save(figure, out)


def settling(steps_SxL, layers, verdict: dict, title: str, out: Path) -> Path:
    """Draw when each layer settled, seed by seed.

    Args:
      steps_SxL: training step from which each layer stays near its final D [S, L].
      layers: names of the layers from input to output.
      verdict: result of `convergence.settling_order`.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = one_panel(7, 2 + 0.3 * len(layers))
    depth = np.arange(len(layers))
    for seed, row in enumerate(steps_SxL):
        axes.plot(row, depth, ".", color="0.6", label=None if seed else "one seed")
    axes.plot(np.median(steps_SxL, 0), depth, "o-", color="#0072b2", label="median over seeds")
    axes.set_yticks(depth, layers)
    axes.invert_yaxis()
    axes.set_xlabel("step from which D stays near its final value (within 10 % of its range)")
    axes.grid(alpha=0.25)
    legend_below(figure, *axes.get_legend_handles_labels())
    told = "" if verdict["rho"] is None else f" (rho {verdict['rho']:.2f})"
    if verdict["p"] is not None:
        told = f"{told[:-1]}, p {verdict['p']:.3f})"
    figure.suptitle(f"{title}\n{verdict['pattern']}{told}")
    return save(figure, out)
