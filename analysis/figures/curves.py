"""Figures of D(t) and of the models fitted to it."""

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from analysis.figures.style import EM, SMALL, legend_below, panels, save, synthetic
from analysis.runs.reader import Run

NAME = 20  # characters in a line of the name of a data set
MODEL_COLOURS = {
    "tap": "#d55e00",
    "tap_compression": "#0072b2",
    "two_phase": "#009e73",
    "two_phase_saturating": "#cc79a7",
    "logistic": "#999999",
}


def dimension_curves(run: Run, curves: dict, out: Path, metric: str | None = None) -> Path:
    """Draw D(t) of each layer, and its mean over hidden layers with the range over seeds and fits.

    Args:
      run: open run.
      curves: dict from (seed, name of the model) to the fitted curve of D [T].
      out: path of the PNG file to write.
      metric: name of a recorded dimensionality metric; None uses the metric of the run.

    Returns:
      The path written.
    """
    metric = metric or run.model["dimension"]
    t = run.steps("probe")
    layers_SxTxL = run.array("probe", metric)
    d_SxT = run.dimension(metric)
    figure, (left, right) = panels(2, (5.2, 3.9), least=3)
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, max(len(run.hidden), 2)))
    for colour, i in zip(colours, run.hidden, strict=False):
        left.plot(t, layers_SxTxL[:, :, i].mean(0), color=colour, lw=1, label=run.layer_names[i])
    if run.model["head"] is not None:
        head = run.layer_names.index(run.model["head"])
        name = f"{run.model['head']} (not in D)"
        left.plot(t, layers_SxTxL[:, :, head].mean(0), "k:", lw=1, label=name)
    left.set_title("each layer, mean over seeds")
    _band(right, t, d_SxT, run)
    for name, colour in MODEL_COLOURS.items():
        fitted = [curve for (_, model), curve in curves.items() if model == name]
        if fitted:
            right.plot(
                t, np.mean(fitted, 0), color=colour, lw=1.2, label=f"{name}, mean of the fits"
            )
    right.set_title("D, mean over hidden layers")
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=10)
        axes.set_xticks([0, *10.0 ** np.arange(1, np.floor(np.log10(t[-1])) + 1)])
        axes.set_xlim(0, t[-1])
        axes.set_xlabel("training step")
        axes.set_ylabel(metric.replace("_", " "))
        axes.grid(alpha=0.25)
    named = [axes.get_legend_handles_labels() for axes in (right, left)]
    legend_below(figure, *(sum(parts, []) for parts in zip(*named, strict=True)))
    figure.suptitle(f"{run.model['architecture']} on {run.model['data']}{synthetic(run)}")
    return save(figure, out)


def _band(axes, t, d_SxT, run):
    n, mean = len(run.seeds), d_SxT.mean(0)
    axes.plot(t, mean, color="k", lw=1.6, label=f"measured, {n} seed{'s' if n > 1 else ''}")
    if n > 1:
        axes.fill_between(
            t, d_SxT.min(0), d_SxT.max(0), color="k", alpha=0.15, lw=0, label="range over seeds"
        )


def score_heat_map(table, value: str, out: Path) -> Path:
    """Draw the median score over seeds by architecture and data set, in one panel per curve model.

    Args:
      table: data frame from `calibration.fit_table`, one row per fit.
      value: column to show, `r2` or `r2_log`.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    labels = {"r2": "R2 on a uniform grid of steps", "r2_log": "R2 on a log-time grid"}
    models = list(dict.fromkeys(table["model"]))
    grids = {
        model: rows.pivot_table(value, "architecture", "data", aggfunc="median", sort=False)
        for model, rows in table.groupby("model")
    }
    height, width = grids[models[0]].shape
    names_below = min(max(map(len, grids[models[0]].columns)), NAME) * EM * SMALL / 72
    each = (0.45 + 0.55 * width, 0.7 + names_below + 0.28 * height)
    figure, axes = panels(len(models), each, (3, 0.7), 0.5 * width, sharey=True)
    for axis, model in zip(axes, models, strict=True):
        image = _score_grid(axis, grids[model])
        axis.set_title(model.replace("_", "\n"))
    figure.colorbar(
        image, ax=axes, label=f"{labels.get(value, value)}\n(colours clipped to 0-1)", aspect=30
    )
    figure.suptitle("Fits of D(t) by model, architecture and data set: median R2 over seeds")
    return save(figure, out)


def _score_grid(axes, grid):
    shown = np.clip(grid.to_numpy(), 0, 1)
    image = axes.imshow(shown, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for (i, j), score in np.ndenumerate(grid.to_numpy()):
        if np.isfinite(score):
            colour = "w" if shown[i, j] < 0.6 else "k"
            axes.text(j, i, f"{score:.2f}", ha="center", va="center", color=colour)
    names = [textwrap.fill(name, NAME) for name in grid.columns]
    axes.set_xticks(range(grid.shape[1]), names, rotation=90)
    axes.set_yticks(range(len(grid)), grid.index)
    return image
