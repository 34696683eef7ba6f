"""One function a figure; each writes a PNG and returns its path."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from analysis.io import Run

MODEL_COLOURS = {
    "tap": "#d55e00",
    "tap_compression": "#0072b2",
    "two_phase": "#009e73",
    "two_phase_saturating": "#cc79a7",
    "logistic": "#999999",
}
DPI = 130


def dimension_curves(run: Run, curves: dict, out: Path, metric: str | None = None) -> Path:
    """D(t) over layers, its mean over hidden layers with a band over seeds, and fits.

    Args:
      run: an open run.
      curves: {(seed, model): simulated D [T]}.
      out: PNG to write.
      metric: dimensionality; the run's own by default.

    Returns:
      The path written.
    """
    metric = metric or run.model["dimension"]
    t = run.steps("probe")
    layers_SxTxL = run.array("probe", metric)
    d_SxT = run.dimension(metric)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, max(len(run.hidden), 2)))
    for colour, i in zip(colours, run.hidden, strict=False):
        left.plot(t, layers_SxTxL[:, :, i].mean(0), color=colour, lw=1, label=run.layer_names[i])
    if run.model["head"] is not None:
        head = run.layer_names.index(run.model["head"])
        name = f"{run.model['head']} (not in D)"
        left.plot(t, layers_SxTxL[:, :, head].mean(0), "k:", lw=1, label=name)
    left.set_title("layers, mean over seeds")
    _band(right, t, d_SxT, run)
    for name, colour in MODEL_COLOURS.items():
        fitted = [curve for (_, model), curve in curves.items() if model == name]
        if fitted:
            right.plot(t, np.mean(fitted, 0), color=colour, lw=1.2, label=f"{name}, mean of fits")
    right.set_title("D, mean over hidden layers")
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=10)
        axes.set_xticks([0, *10.0 ** np.arange(1, np.floor(np.log10(t[-1])) + 1)])
        axes.set_xlim(0, t[-1])
        axes.set_xlabel("training step")
        axes.set_ylabel(metric.replace("_", " "))
        axes.grid(alpha=0.25)
        # Below the axes: inside, a legend of many layers always covers some curve.
        axes.legend(
            fontsize=7, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14)
        )
    figure.suptitle(f"{run.model['architecture']} on {run.model['data']}{_synthetic(run)}")
    return _save(figure, out)


def _band(axes, t, d_SxT, run):
    n, mean = len(run.seeds), d_SxT.mean(0)
    axes.plot(t, mean, color="k", lw=1.6, label=f"measured, {n} seed{'s' if n > 1 else ''}")
    if n > 1:
        axes.fill_between(
            t, d_SxT.min(0), d_SxT.max(0), color="k", alpha=0.15, lw=0, label="range over seeds"
        )


def score_heat_map(table, value: str, out: Path) -> Path:
    """The median score over seeds, architecture x data set, one panel a fit model.

    Args:
      table: from `tap.fit_table`.
      value: column to show, e.g. `r2`.
      out: PNG to write.

    Returns:
      The path written.
    """
    names = {"r2": "R2, uniform grid", "r2_log": "R2, log-time grid"}
    models = list(dict.fromkeys(table["model"]))
    grids = {
        model: rows.pivot_table(value, "architecture", "data", aggfunc="median", sort=False)
        for model, rows in table.groupby("model")
    }
    height, width = grids[models[0]].shape
    figure, panels = plt.subplots(
        1,
        len(models),
        figsize=(3 + len(models) * (0.45 + 0.55 * width), 1.9 + 0.28 * height),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, model in zip(panels[0], models, strict=True):
        image = _score_grid(axes, grids[model])
        axes.set_title(model.replace("_", "\n"), fontsize=9)
    figure.colorbar(
        image, ax=panels, label=f"{names.get(value, value)}\n(colour clipped to 0-1)", aspect=30
    )
    figure.suptitle("Fit of D(t), median over seeds", fontsize=10)
    return _save(figure, out)


def _score_grid(axes, grid):
    shown = np.clip(grid.to_numpy(), 0, 1)
    image = axes.imshow(shown, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for (i, j), score in np.ndenumerate(grid.to_numpy()):
        if np.isfinite(score):
            colour = "w" if shown[i, j] < 0.6 else "k"
            axes.text(j, i, f"{score:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(grid.shape[1]), grid.columns, rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(grid)), grid.index, fontsize=8)
    return image


def alpha_relationships(fits, table, out: Path) -> Path:
    """Alpha against depth, width and parameters, and how well the curves are fitted.

    Args:
      fits: one row a curve, with `r2`.
      table: from `alpha.by_architecture`.
      out: PNG to write.

    Returns:
      The path written.
    """
    figure, panels = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for axes, (name, label) in zip(
        panels.flat,
        (("depth", "depth"), ("width", "width"), ("num_params", "parameters")),
        strict=False,
    ):
        for i, (family, rows) in enumerate(table.groupby("family")):
            axes.loglog(
                rows[name], rows["alpha"], "o", ms=4, color=f"C{i}", label=family, alpha=0.8
            )
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_xlabel(label)
        axes.set_ylabel("alpha (per integrated gradient norm)")
        axes.grid(alpha=0.25, which="both")
    panels[0, 0].legend(fontsize=8)
    axes = panels[1, 1]
    axes.hist(np.clip(fits["r2"], -1, 1), bins=np.linspace(-1, 1, 41), color="C7")
    axes.axvline(0.8, color="k", lw=0.8, ls=":")
    axes.set_xlabel("R2 of the fitted curve (clipped at -1)")
    axes.set_ylabel("curves")
    figure.suptitle("Alpha, geometric mean over the identified curves of each architecture")
    return _save(figure, out)


def alpha_consistency(fits, out: Path) -> Path:
    """Alpha of each architecture on each data set, identified curves only.

    Args:
      fits: one row a curve.
      out: PNG to write.

    Returns:
      The path written.
    """
    kept = fits[fits["identified"]]
    names = list(dict.fromkeys(kept["architecture"]))
    figure, axes = plt.subplots(figsize=(7, 1.5 + 0.22 * len(names)), layout="constrained")
    for i, (data, rows) in enumerate(kept.groupby("data")):
        y = [names.index(name) + 0.15 * i for name in rows["architecture"]]
        axes.semilogx(rows["alpha"], y, "o", ms=3.5, color=f"C{i}", label=data)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("alpha (per integrated gradient norm), one point a seed")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return _save(figure, out)


def prediction_scores(table, out: Path) -> Path:
    """R2 of each held-out architecture by predictor, beside the ceiling that seeds set.

    Args:
      table: rows of `predict.leave_one_out`.
      out: PNG to write.

    Returns:
      The path written.
    """
    figure, panels = plt.subplots(
        1, 2, figsize=(10, 4.4), sharey=True, layout="constrained", squeeze=False
    )
    families = sorted(set(table["family"]))
    for axes, (init, rows) in zip(panels[0], table.groupby("use_init"), strict=False):
        names = list(dict.fromkeys(rows["predictor"]))
        for offset, family in enumerate(families):
            for i, name in enumerate(names):
                shown = rows[(rows["predictor"] == name) & (rows["family"] == family)]
                x = i + 0.22 * (offset - (len(families) - 1) / 2)
                jitter = np.linspace(-0.07, 0.07, len(shown))
                for inside, marker in ((True, "o"), (False, "x")):
                    keep = (shown["bracketed"] == inside).to_numpy()
                    axes.plot(
                        x + jitter[keep],
                        np.clip(shown["r2"].to_numpy()[keep], -1, 1),
                        marker,
                        color=f"C{offset}",
                        ms=3.5,
                        label=f"{family}, {'bracketed' if inside else 'extrapolating'}"
                        if i == 0 and keep.any()
                        else None,
                    )
        axes.axhline(0.8, color="k", lw=0.8, ls=":")
        ceiling = table["seed_r2"].astype(float).median()
        if np.isfinite(ceiling):
            axes.axhline(ceiling, color="k", lw=0.8, label="seed ceiling (median)")
        axes.set_xticks(range(len(names)), names)
        axes.set_title("with D at initialisation" if init else "architecture only", fontsize=10)
        axes.set_ylim(-1.05, 1.05)
        axes.grid(axis="y", alpha=0.25)
    panels[0, 0].set_ylabel("R2 of D(t), held-out architecture (clipped at -1)")
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        fontsize=8,
        ncols=4,
        frameon=False,
        loc="outside lower center",
    )
    return _save(figure, out)


def forecast(table, title: str, metric: str, extrapolating: bool, out: Path) -> Path:
    """A predicted curve with its 90 % band.

    Args:
      table: `D`, `low`, `high` by step.
      title: of the figure.
      metric: name of the dimensionality.
      extrapolating: no calibrated architecture surrounds this one.
      out: PNG to write.

    Returns:
      The path written.
    """
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(table.index, table["D"], color="C0", label="forecast")
    if np.isfinite(table["low"]).all():
        axes.fill_between(
            table.index, table["low"], table["high"], color="C0", alpha=0.2, lw=0, label="90 % band"
        )
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(0, table.index[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training step")
    axes.set_ylabel(f"D ({metric.replace('_', ' ')}, mean over hidden layers)")
    axes.set_title(title + ("\nEXTRAPOLATING" if extrapolating else ""), fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return _save(figure, out)


def monitored(state: dict, title: str, out: Path) -> Path:
    """What a monitor saw: D with jumps and warnings, loss and gradient norm.

    Args:
      state: from `monitor.Monitor.state`.
      title: of the figure.
      out: PNG to write.

    Returns:
      The path written.
    """
    history = state["history"]
    figure, panels = plt.subplots(3, 1, figsize=(7, 7), sharex=True, layout="constrained")
    labels = {"d": "D (mean over hidden layers)", "loss": "loss", "grad_norm": "gradient norm"}
    for axes, (name, label) in zip(panels, labels.items(), strict=True):
        axes.plot(history["step"], history[name], color="k", lw=0.9)
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
    for axes in panels[1:]:
        axes.set_yscale("log")
    for i, jump in enumerate(state["jumps"]):
        label = "jump" if i == 0 else None
        panels[0].axvline(jump["step"], color="C3", ls="--", lw=1, label=label)
    for i, warning in enumerate(state["warnings"]):
        colour = f"C{i % 10}"
        panels[0].axvline(warning["step"], color=colour, lw=1.5, label=warning["kind"])
    if state["jumps"] or state["warnings"]:
        panels[0].legend(fontsize=8)
    panels[0].set_title(title, fontsize=10)
    panels[-1].set_xlabel("training step")
    return _save(figure, out)


def _synthetic(run):
    return " (SYNTHETIC)" if run.model.get("synthetic") else ""


def _save(figure, out):
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=DPI)
    plt.close(figure)
    return out
