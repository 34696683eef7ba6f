"""Figure of when each probe example is learned."""

from pathlib import Path

import numpy as np

from analysis.figures.style import grid, save


def learned(found, jumps: list[dict], title: str, out: Path) -> Path:
    """Draw which examples are correct over training, those that are learned first at the bottom.

    Args:
      found: `mechanistic.examples.Learning` of a run.
      jumps: rows of `mechanistic.examples.at_jumps`, whose steps are marked.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    steps, share_TxP = found.steps, found.correct.mean(0)
    late_P = np.where(np.isnan(found.learned), 2 * steps[-1], found.learned).mean(0)
    order = np.lexsort((-share_TxP.mean(0), late_P))
    figure, axes = grid(2, 1, (7, 2.2), sharex=True)
    top, below = axes[:, 0]
    # Cells are centred on their steps, which need not be evenly spaced.
    image = top.pcolormesh(
        steps, np.arange(len(order)), share_TxP[:, order].T, vmin=0, vmax=1, cmap="viridis"
    )
    top.set_ylabel("probe example\n(in order of learning)")
    figure.colorbar(image, ax=top, label="share of seeds\nthat are correct")
    for seed_TxP in found.correct:
        turned_T = np.diff(seed_TxP, axis=0)
        below.plot(steps[1:], (turned_T > 0.5).mean(1), color="tab:blue", linewidth=0.9)
        below.plot(steps[1:], (turned_T < -0.5).mean(1), color="tab:orange", linewidth=0.9)
    for line, label in zip(below.lines, ("become correct", "become wrong"), strict=False):
        line.set_label(label)
    for jump in jumps:
        for axis in (top, below):
            axis.axvline(jump["step"], color="tab:red", linewidth=0.8, linestyle=":")
    if jumps:
        below.lines[-1].set_label("jump of D")
    below.set_yscale("symlog", linthresh=0.01)
    below.set_ylabel("share of examples")
    below.set_xlabel("training step")
    below.legend(loc="upper right", fontsize="small")
    figure.suptitle(title)
    return save(figure, out)
