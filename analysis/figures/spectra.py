"""Figures of power spectra and components, each beside a random walk with the same steps."""

from pathlib import Path

import numpy as np

from analysis.figures.style import few_decades, grid, largest_width, legend_below, panels, save

POINTS = 1500  # a line has less than twice as many points
WALK = "C1"


def power(found: dict, frequency_F, epoch, every: int, title: str, out: Path) -> Path:
    """Draw the power by frequency of every group of columns, with the range over seeds.

    Args:
      found: result of `power_spectra.movements`, a dict from group to movements.
      frequency_F: frequencies in cycles per point [F].
      epoch: frequency of epochs in cycles per point, marked by a line; None for no line.
      every: number of training steps from one point to the next.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(len(found), (3.6, 3.2))
    for axis, (group, kinds) in zip(axes, found.items(), strict=True):
        for seeds, colour, label in zip(
            kinds, ("C0", WALK), ("recorded", "random walk"), strict=True
        ):
            power_SxF = np.stack([m.power_F[1:] for m in seeds])
            axis.plot(frequency_F[1:], power_SxF.mean(0), color=colour, label=label)
            axis.fill_between(
                frequency_F[1:], power_SxF.min(0), power_SxF.max(0), color=colour, alpha=0.25, lw=0
            )
        if epoch:
            axis.axvline(epoch, color="0.5", linestyle=":", label="one epoch")
        axis.set_xscale("log")
        axis.set_yscale("log")
        few_decades(axis.xaxis)
        axis.set_title(group)
        axis.set_xlabel(
            "frequency (cycles per step)" if every == 1 else f"frequency (cycles per {every} steps)"
        )
    figure.supylabel("power (weighted by share of variance)")
    legend_below(figure, *axes[0].get_legend_handles_labels())
    figure.suptitle(f"{title}; bands: range over seeds")
    return save(figure, out)


def components(found: dict, steps, title: str, out: Path) -> Path:
    """Draw three components of the first seed over time, and two as a path.

    Each is drawn for the recorded values and for their random walk.

    Args:
      found: result of `power_spectra.movements`, a dict from group to movements.
      steps: training steps of the recorded points.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    count = len(found)
    blocks = -(-count // max(int(largest_width() / 1.7), 1))
    across = -(-count // blocks)
    figure, axes = grid(3 * blocks, across, (3.6, 2.2))
    columns = [axes[3 * (i // across) : 3 * (i // across) + 3, i % across] for i in range(count)]
    for unused in axes[3 * blocks - 3 :, (count - 1) % across + 1 :].flat:
        unused.remove()
    for column, (group, (recorded, walk)) in zip(columns, found.items(), strict=True):
        for axis, own, name in (
            (column[0], recorded, "recorded"),
            (column[1], walk, "random walk"),
        ):
            score = own[0].score_TxK
            thin = max(len(score) // POINTS, 1)
            at = steps[len(steps) - len(score) :][::thin]
            for j, line in enumerate(score.T[:3]):
                axis.plot(at, line[::thin] / line.std(), linewidth=0.8, label=f"component {j + 1}")
            axis.set_ylabel(f"{name}\nscore (std)")
            axis.set_xlabel("training step")
        for own, colour, name in ((recorded, "C0", "recorded"), (walk, WALK, "random walk")):
            score = own[0].score_TxK
            if score.shape[1] > 1:
                thin = max(len(score) // POINTS, 1)
                path = (score[:, :2] / score[:, :2].std(0))[::thin]
                column[2].plot(*path.T, color=colour, linewidth=0.8, label=name)
        column[2].set_xlabel("component 1 (std)")
        column[2].set_ylabel("component 2 (std)")
        column[0].set_title(group)
    named = [axis.get_legend_handles_labels() for axis in (axes[0, 0], axes[2, 0])]
    legend_below(figure, *(sum(parts, []) for parts in zip(*named, strict=True)))
    figure.suptitle(f"{title}; first seed")
    return save(figure, out)


def shares(found: dict, title: str, out: Path) -> Path:
    """Draw the explained variance by number of components.

    Args:
      found: result of `power_spectra.movements`, a dict from group to movements.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(len(found), (3.6, 2.8))
    for axis, (group, kinds) in zip(axes, found.items(), strict=True):
        for seeds, colour, label in zip(
            kinds, ("C0", WALK), ("recorded", "random walk"), strict=True
        ):
            for i, m in enumerate(seeds):
                total = np.cumsum(m.share_K)
                axis.plot(
                    np.arange(1, len(total) + 1), total, ".-", color=colour, linewidth=0.8,
                    label=label if i == 0 else None,
                )  # fmt: skip
        axis.set_title(group)
        axis.set_xlabel("number of components")
        axis.set_ylim(0, 1.02)
    figure.supylabel("cumulative share of variance")
    legend_below(figure, *axes[0].get_legend_handles_labels())
    figure.suptitle(title)
    return save(figure, out)
