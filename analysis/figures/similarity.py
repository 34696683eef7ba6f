"""Figures of the similarity of representations between steps, seeds and layers."""

from pathlib import Path

import numpy as np

from analysis.figures.style import COLOURS, legend_below, one_panel, panels, save

MOST_LAYERS = 12


def between_steps(found, label: str, title: str, out: Path) -> Path:
    """Draw the similarity of every layer between all steps.

    Args:
      found: `mechanistic.similarity.Similarity` of a run.
      label: name of the similarity.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    shown = _spread(len(found.names))
    figure, axes = panels(len(shown), (2.6, 2.6), (1.0, 0.9), sharex=True, sharey=True)
    for axis, i in zip(axes, shown, strict=True):
        image = axis.imshow(found.time[i], vmin=0, vmax=1, cmap="viridis", origin="lower")
        axis.set_title(found.names[i])
        ticks = np.unique(np.linspace(0, len(found.steps) - 1, 4).astype(int))
        axis.set_xticks(ticks, found.steps[ticks], rotation=45)
        axis.set_yticks(ticks, found.steps[ticks])
    figure.colorbar(image, ax=list(axes), label=label)
    figure.supxlabel("training step")
    figure.supylabel("training step")
    figure.suptitle(title)
    return save(figure, out)


def between_seeds(found, label: str, title: str, out: Path) -> Path:
    """Draw how similar the seeds are over training, beside different examples.

    Args:
      found: `mechanistic.similarity.Similarity` of a run.
      label: name of the similarity.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = one_panel(7, 4)
    for place, i in enumerate(_spread(len(found.names))):
        colour = COLOURS[place % len(COLOURS)]
        dash = "-" if place < len(COLOURS) else "--"
        axes.plot(found.steps, found.seeds[i], dash, marker=".", color=colour, label=found.names[i])
        axes.plot(found.steps, found.shuffled[i], color=colour, linewidth=0.7, alpha=0.5)
    axes.set_xlabel("training step")
    axes.set_ylabel(f"{label}\nbetween seeds (thin: other examples)")
    least = found.shuffled[np.isfinite(found.shuffled)].min(initial=0.0)
    axes.set_ylim(min(-0.05, 1.1 * least), 1.02)
    axes.grid(alpha=0.25)
    legend_below(figure, *axes.get_legend_handles_labels())
    figure.suptitle(title)
    return save(figure, out)


def between_layers(found, label: str, title: str, out: Path) -> Path:
    """Draw the similarity of all layers at the last step.

    Args:
      found: `mechanistic.similarity.Similarity` of a run.
      label: name of the similarity.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    count = len(found.names)
    figure, axes = one_panel(2.5 + 0.4 * count, 1.8 + 0.4 * count)
    image = axes.imshow(found.layers, vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(count), found.names, rotation=90)
    axes.set_yticks(range(count), found.names)
    figure.colorbar(image, label=label)
    figure.suptitle(title)
    return save(figure, out)


def _spread(count):
    """Return the indices of at most 12 layers, evenly spaced over depth."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_LAYERS)).astype(int))
