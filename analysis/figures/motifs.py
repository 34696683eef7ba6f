"""Figures of motif maps: amplitudes over time, the map itself, and the states over time."""

from pathlib import Path

import numpy as np

from analysis.figures.style import binned, grid, legend_below, one_panel, panels, save
from analysis.motifs.regions import CELLS, Regions
from analysis.motifs.stages import occupancy
from analysis.motifs.study import Mapped

MOST_DRAWN = 6000  # maximum number of points in a scatter plot
COLUMNS = 1200  # maximum number of pixels on the time axis of a scalogram
LEAST_MOVE = 0.1  # smallest share of a state's moves that is drawn as an arrow
NUMBER = 11  # points, of a circle around the number of a state
PARTS = 60  # number of equal parts of the time in an ethogram
MOST_STATES = 25  # maximum number of states that a figure distinguishes


def learning(runs, title: str, out: Path) -> Path:
    """Draw the training loss, averaged over bins of steps, and the test accuracy of every seed.

    Args:
      runs: open runs.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(2, (4.6, 2.8), least=3)
    for i, run in enumerate(runs):
        curves = [binned(run, "loss") if run.has("scalar", "loss") else None]
        known = run.has("eval", "accuracy")
        curves += [(run.steps("eval"), run.array("eval", "accuracy")) if known else None]
        for axis, curve in zip(axes, curves, strict=True):
            for j, seed in enumerate(curve[1] if curve else ()):
                label = run.name if j == 0 else None
                axis.plot(curve[0], seed, color=f"C{i}", linewidth=0.8, label=label)
    axes[0].set_ylabel("training loss, averaged over bins")
    axes[1].set_ylabel("test accuracy")
    axes[0].set_yscale("log")
    for axis in axes:
        axis.set_xlabel("training step")
        if not axis.lines:
            axis.remove()
    named = [axis.get_legend_handles_labels() for axis in figure.axes]
    legend_below(figure, *next(iter(named), ([], [])))
    figure.suptitle(title)
    return save(figure, out)


def scalogram(steps, amplitude_TxCxF, frequency_F, epoch, title: str, out: Path) -> Path:
    """Draw the amplitudes of the first three channels over time and period.

    Args:
      steps: training steps of the points [T].
      amplitude_TxCxF: wavelet amplitudes of C channels at F frequencies [T, C, F].
      frequency_F: frequencies in cycles per point [F], ascending.
      epoch: number of points in an epoch, marked by a line; None for no line.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    shown = amplitude_TxCxF[:, :3]
    width = -(-len(shown) // COLUMNS)
    kept = len(shown) // width * width
    shown = shown[:kept].reshape(-1, width, *shown.shape[1:]).mean(1)
    figure, axes = grid(shown.shape[1], 1, (9, 2), sharex=True)
    top = np.quantile(shown, 0.995)
    for i, axis in enumerate(axes[:, 0]):
        image = axis.pcolormesh(
            steps[: kept : width], 1 / frequency_F, shown[:, i].T, vmin=0, vmax=top,
            cmap="magma", shading="nearest", rasterized=True,
        )  # fmt: skip
        axis.set_yscale("log")
        axis.set_ylabel(f"component {i + 1}\nperiod (points)")
        if epoch and epoch <= 1 / frequency_F[0]:
            axis.axhline(epoch, color="c", linewidth=0.8, linestyle="--")
    axes[-1, 0].set_xlabel("training step" + (" (dashed: one epoch)" if epoch else ""))
    figure.colorbar(image, ax=axes, label="amplitude", shrink=0.8)
    figure.suptitle(title)
    return save(figure, out)


def overview(found: Mapped, steps: list, names: list[str], title: str, out: Path) -> Path:
    """Draw the map four times: density with basins, training step, total amplitude, and series.

    Args:
      found: map to draw.
      steps: training steps of the placed points of each series.
      names: names of the series.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(4, (4.6, 3.9), least=3)
    _density(axes[0], found.regions)
    axes[0].set_title(f"density, {found.regions.count} basins")
    total = sum(map(len, found.place))
    rng = np.random.default_rng(0)
    pick = rng.permutation(total)[:MOST_DRAWN]
    z = np.concatenate(found.place)[pick]
    series = np.repeat(range(len(found.place)), [len(p) for p in found.place])[pick]
    amount = np.concatenate(found.total)[pick]
    low, high = np.quantile(amount, [0.02, 0.98])
    dots = {"s": 2, "linewidths": 0, "rasterized": True}
    image = axes[1].scatter(*z.T, c=np.concatenate(steps)[pick], cmap="viridis", **dots)
    figure.colorbar(image, ax=axes[1], label="training step", shrink=0.8)
    image = axes[2].scatter(*z.T, c=amount, cmap="magma", vmin=low, vmax=high, **dots)
    figure.colorbar(image, ax=axes[2], label="sum of all amplitudes", shrink=0.8)
    for i, name in enumerate(names):
        axes[3].scatter(*z[series == i].T, color=f"C{i % 10}", label=name, **dots)
    legend_below(figure, *axes[3].get_legend_handles_labels(), markerscale=4)
    for axis in axes:
        _square(axis, found.regions.extent)
    for axis in axes[1:]:
        _boundaries(axis, found.regions, "0.4")
    figure.suptitle(title)
    return save(figure, out)


def controls(maps: dict[str, Mapped], counts: dict[str, dict], title: str, out: Path) -> Path:
    """Draw the densities of the map and of its controls, and their numbers of basins.

    The number of basins is drawn against the ratio of the map's extent to the density's sigma.

    Args:
      maps: dict from name to map; the recorded map comes first.
      counts: dict from name to a dict from this ratio to the number of basins.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(len(maps) + 1, (3.1, 2.8), least=2.2)
    for axis, (name, found) in zip(axes, maps.items(), strict=False):
        _density(axis, found.regions)
        _square(axis, found.regions.extent)
        axis.set_title(f"{name}: {found.regions.count} basins")
    for name, found in counts.items():
        axes[-1].plot(list(found), list(found.values()), ".-", label=name)
    axes[-1].set_yscale("log")
    axes[-1].set_xlabel("extent of the map / sigma of the density")
    axes[-1].set_ylabel("number of basins")
    legend_below(figure, *axes[-1].get_legend_handles_labels())
    figure.suptitle(title)
    return save(figure, out)


def ethogram(found: Mapped, steps: list, names: list[str], title: str, out: Path) -> Path:
    """Draw which states every series visits over training.

    Args:
      found: map to draw.
      steps: training steps of the placed points of each series.
      names: names of the series.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    count = found.regions.count
    height = min(1.3, 12 / len(names))
    figure, axes = grid(len(names), 1, (9, height), (0, 1), sharex=True)
    shares = [occupancy(label, PARTS, count) for label in found.label]
    order = _by_time(np.mean(shares, axis=0))
    shown = [_gathered(share, order) for share in shares]
    top = max(share.max() for share in shown)
    for axis, share, step, name in zip(axes[:, 0], shown, steps, names, strict=True):
        image = axis.imshow(
            share.T, aspect="auto", origin="lower", cmap="viridis", vmin=0, vmax=top,
            extent=(step[0], step[-1], 0, share.shape[1]), interpolation="nearest",
        )  # fmt: skip
        axis.set_yticks([])
        axis.set_ylabel(name)
    rest = "; lowest row: all other states" if len(order) < count else ""
    axes[-1, 0].set_xlabel(
        f"training step\nrows: the {len(order)} most visited of {count} states, by mean time of "
        f"visit{rest}"
    )
    figure.colorbar(image, ax=axes, label="share of points per time bin", shrink=0.8)
    figure.suptitle(title)
    return save(figure, out)


def _most_visited(share_K):
    return np.argsort(share_K)[::-1][:MOST_STATES]


def _by_time(share_PARTSxK):
    """Return the most visited states, sorted by the mean time of their visits."""
    kept = _most_visited(share_PARTSxK.sum(0))
    kept = kept[share_PARTSxK[:, kept].sum(0) > 0]
    when = np.arange(PARTS) @ share_PARTSxK[:, kept] / share_PARTSxK[:, kept].sum(0)
    return kept[np.argsort(when)]


def _gathered(share_PARTSxK, order):
    """Sort the columns of the states; a column for all other states, if any, comes first."""
    rest = 1 - share_PARTSxK[:, order].sum(1, keepdims=True)
    own = share_PARTSxK[:, order]
    return own if len(order) == share_PARTSxK.shape[1] else np.hstack([rest, own])


def graph(found: Mapped, summary: dict, title: str, out: Path) -> Path:
    """Draw the most visited states at their places on the map, and the moves between them.

    States whose numbers would overlap are moved apart. The area of a state's marker grows with the
    share of the time that series stay in it.

    Args:
      found: map to draw.
      summary: summary of this map from `study.summary`.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axis = one_panel(6.2, 5.6)
    share = np.array([row["share"] for row in summary["by_state"]])
    kept = _most_visited(share)
    places = np.array([_peak(found.regions, k + 1) for k in kept])
    across = 72 * 0.8 * figure.get_figwidth()  # points, of the map
    places = _apart(places, NUMBER * 2 * MARGIN * found.regions.extent / across)
    moves = np.array(summary["transitions"])[np.ix_(kept, kept)]
    area_K = NUMBER**2 + 2000 * share[kept]
    radius_K = np.sqrt(area_K) / 2  # points; an arrow ends at the circle, not beneath it
    for i, j in zip(*np.nonzero(moves >= LEAST_MOVE), strict=True):
        axis.annotate(
            "", places[j], places[i], zorder=4,
            arrowprops={"arrowstyle": "-|>", "mutation_scale": 11, "lw": 0.6 + 2.4 * moves[i, j],
                        "color": "C0", "alpha": 0.7, "connectionstyle": "arc3,rad=0.15",
                        "shrinkA": radius_K[i] + 1, "shrinkB": radius_K[j] + 1},
        )  # fmt: skip
    axis.scatter(*places.T, s=area_K, color="0.8", edgecolor="0.3", zorder=3)
    for k, place in zip(kept, places, strict=True):
        axis.text(*place, str(k + 1), ha="center", va="center", zorder=4)
    _square(axis, found.regions.extent)
    figure.suptitle(
        f"{title}\nthe {len(kept)} most visited of {len(share)} states; arrows: {LEAST_MOVE:.0%} "
        "or more of the moves out of a state\narea of a circle: share of the time in the state",
    )  # fmt: skip
    return save(figure, out)


def _apart(places_Kx2, least):
    """Move places that are closer than `least` away from each other, at most 100 times."""
    places_Kx2 = places_Kx2.copy()
    for _ in range(100):
        away_KxKx2 = places_Kx2[:, None] - places_Kx2
        distance_KxK = np.linalg.norm(away_KxKx2, axis=2) + np.eye(len(places_Kx2)) * 2 * least
        lacking_KxK = np.maximum(least - distance_KxK, 0)
        if not lacking_KxK.any():
            break
        unit_KxKx2 = away_KxKx2 / np.maximum(distance_KxK, 1e-9)[:, :, None]
        places_Kx2 += (0.55 * lacking_KxK[:, :, None] * unit_KxKx2).sum(1)
    return places_Kx2


def _peak(regions: Regions, state: int):
    inside = np.where(regions.label == state, regions.density, -1.0)
    cell = np.array(np.unravel_index(inside.argmax(), inside.shape))
    return cell * 2 * regions.extent / (CELLS - 1) - regions.extent


def _density(axis, regions: Regions):
    side = (-regions.extent, regions.extent)
    top = 0.8 * regions.density.max()
    axis.imshow(regions.density.T, origin="lower", extent=side * 2, cmap="magma_r", vmax=top)
    _boundaries(axis, regions, "k")


def _boundaries(axis, regions: Regions, colour):
    """Draw the outline of every basin, one by one because there are few."""
    grid = np.linspace(-regions.extent, regions.extent, CELLS)
    for state in range(1, regions.count + 1):
        own = (regions.label == state).T.astype(float)
        axis.contour(grid, grid, own, [0.5], colors=colour, linewidths=0.4)


MARGIN = 1.04  # of the frame of a map, so that states at its edge are whole


def _square(axis, extent):
    axis.set_xlim(-MARGIN * extent, MARGIN * extent)
    axis.set_ylim(-MARGIN * extent, MARGIN * extent)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
