"""Figures of power spectra and components, each beside a random walk with the same steps."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from analysis.figures.style import save

POINTS = 1500  # a line has less than twice as many points
WALK = "C1"


def _panels(count, width=3.6, height=3.2, rows=1):
    return plt.subplots(
        rows, count, figsize=(width * count + 0.6, height * rows + 0.8), layout="constrained",
        squeeze=False,
    )  # fmt: skip


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
    figure, axes = _panels(len(found))
    for axis, (group, kinds) in zip(axes[0], found.items(), strict=True):
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
        axis.set_title(group, fontsize=9)
        axis.set_xlabel(
            "frequency (cycles per step)" if every == 1 else f"frequency (cycles per {every} steps)"
        )
    axes[0, 0].set_ylabel("power (weighted by share of variance)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"{title}; bands: range over seeds", fontsize=9)
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
    figure, axes = _panels(len(found), rows=3, height=2.6)
    for column, (group, (recorded, walk)) in zip(axes.T, found.items(), strict=True):
        for axis, own, name in (
            (column[0], recorded, "recorded"),
            (column[1], walk, "random walk"),
        ):
            score = own[0].score_TxK
            thin = max(len(score) // POINTS, 1)
            at = steps[len(steps) - len(score) :][::thin]
            for j, line in enumerate(score.T[:3]):
                axis.plot(at, line[::thin] / line.std(), linewidth=0.8, label=f"component {j + 1}")
            axis.set_ylabel(f"{name}\nscore (std)", fontsize=8)
            axis.set_xlabel("training step", fontsize=8)
        for own, colour, name in ((recorded, "C0", "recorded"), (walk, WALK, "random walk")):
            score = own[0].score_TxK
            if score.shape[1] > 1:
                thin = max(len(score) // POINTS, 1)
                path = (score[:, :2] / score[:, :2].std(0))[::thin]
                column[2].plot(*path.T, color=colour, linewidth=0.8, label=name)
        column[2].set_xlabel("component 1 (std)", fontsize=8)
        column[2].set_ylabel("component 2 (std)", fontsize=8)
        column[0].set_title(group, fontsize=9)
    for axis in (axes[0, 0], axes[2, 0]):
        if axis.lines:
            axis.legend(fontsize=7, frameon=False)
    figure.suptitle(f"{title}; first seed", fontsize=9)
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
    figure, axes = _panels(len(found), height=2.8)
    for axis, (group, kinds) in zip(axes[0], found.items(), strict=True):
        for seeds, colour, label in zip(
            kinds, ("C0", WALK), ("recorded", "random walk"), strict=True
        ):
            for i, m in enumerate(seeds):
                total = np.cumsum(m.share_K)
                axis.plot(
                    np.arange(1, len(total) + 1), total, ".-", color=colour, linewidth=0.8,
                    label=label if i == 0 else None,
                )  # fmt: skip
        axis.set_title(group, fontsize=9)
        axis.set_xlabel("number of components")
        axis.set_ylim(0, 1.02)
    axes[0, 0].set_ylabel("cumulative share of variance")
    axes[0, 0].legend(fontsize=7, frameon=False)
    figure.suptitle(title, fontsize=9)
    return save(figure, out)
