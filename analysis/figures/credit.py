"""Figures of credit runs: quality of the credits, and accuracy over training."""

from pathlib import Path

import numpy as np

from analysis.credit.quality import measure, method
from analysis.figures.style import legend_below, panels, save, synthetic
from tapjax.contract.text import plural

MOST = 10  # maximum number of methods in one figure
FEW = 20  # longest course whose points are marked


def overview(runs, setting: str, out: Path) -> Path:
    """Draw Gamma of each layer, Gamma over training, and test accuracy over training.

    Gamma is the cosine of the estimated credit with the true gradient.

    Args:
      runs: open runs of one setting, each with another method; the first 10 are drawn.
      setting: name of the setting, for the title.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(3, (4.2, 3.4), least=2.2)
    for i, run in enumerate(runs[:MOST]):
        label, colour = f"{method(run.config)}", f"C{i % 10}"
        _layers(axes[0], run, label, colour)
        _course(axes[1], run.steps("probe"), run.array("probe", "gamma")[..., :-1].mean(-1), colour)
        if run.has("eval", "accuracy"):
            _course(axes[2], run.steps("eval"), run.array("eval", "accuracy"), colour)
    axes[0].set(
        xlabel="hidden state (0: input of the first block)", ylabel="Gamma of the hidden state"
    )
    axes[1].set(xlabel="training step", ylabel="Gamma, mean over hidden states")
    axes[2].set(xlabel="training step", ylabel="test accuracy")
    for axis in axes[:2]:
        axis.set_ylim(-0.1, 1.05)
        axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    legend_below(figure, *axes[0].get_legend_handles_labels())
    axes[0].set_title("Gamma: cosine of credit and true gradient; dashed: copied output gradient")
    seeds = f"means over {plural(len(runs[0].seeds), 'seed')}; bands: range over seeds"
    figure.suptitle(f"{setting}{synthetic(runs[0])}; {seeds}")
    return save(figure, out)


def _layers(axis, run, label, colour):
    found = measure(run)
    at = np.arange(found["gamma_layers"].shape[1])
    axis.plot(at, found["gamma_layers"].mean(0), "o-", color=colour, label=label, markersize=3)
    axis.plot(at, found["dir_layers"].mean(0), "--", color=colour, linewidth=0.8)
    axis.set_xticks(at)


def _course(axis, steps, values_SxT, colour):
    axis.plot(steps, values_SxT.mean(0), "-" if len(steps) > FEW else "o-", color=colour)
    if len(values_SxT) > 1:
        axis.fill_between(steps, values_SxT.min(0), values_SxT.max(0), color=colour, alpha=0.2)
