"""Figures of forecasts of D(t), before training and during training."""

from pathlib import Path

import numpy as np

from analysis.figures.style import (
    COLOURS,
    NEUTRAL,
    grid,
    legend_below,
    most_panels,
    one_panel,
    panels,
    save,
)
from analysis.tap.predict import Z_90


def prediction_scores(table, out: Path) -> Path:
    """Draw R2 of each held-out architecture by predictor, beside the ceiling that seeds set.

    Args:
      table: data frame of the rows from `held_out.leave_one_out`.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, both = panels(2, (4.7, 3.6), least=3, sharey=True)
    families = sorted(set(table["family"]))
    for axes, (init, rows) in zip(both, table.groupby("use_init"), strict=False):
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
            axes.axhline(
                ceiling, color="k", lw=0.8, label="ceiling: other seeds predict a seed (median)"
            )
        axes.set_xticks(range(len(names)), names)
        axes.set_title("with D at initialisation" if init else "architecture only")
        axes.set_ylim(-1.05, 1.05)
        axes.grid(axis="y", alpha=0.25)
    figure.supylabel("R2 of D(t), held-out architecture (clipped at -1)")
    legend_below(figure, *both[0].get_legend_handles_labels())
    return save(figure, out)


def skill_beside_shuffled(nulls: list[dict], out: Path) -> Path:
    """Draw the skill of each predictor beside its skill on shuffled architectures.

    Args:
      nulls: results of `held_out.skill_of_shuffled`, each with its `predictor` and `use_init`.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = one_panel(7, 1.3 + 0.32 * len(nulls))
    y = np.arange(len(nulls))
    median, upper = (
        np.array([row[name] for row in nulls]) for name in ("skill_shuffled", "skill_shuffled_95")
    )
    axes.hlines(y, median, upper, color=NEUTRAL, lw=5, alpha=0.5)
    axes.plot(
        median,
        y,
        "|",
        color=NEUTRAL,
        ms=10,
        label="shuffled architectures: median, bar to 95 % quantile",
    )
    axes.plot([row["skill_folds"] for row in nulls], y, "o", color="C0", ms=5, label="measured")
    names = [f"{r['predictor']}{', D(init)' if r['use_init'] else ''}" for r in nulls]
    axes.set_yticks(y, [f"{n}  p {r['skill_p']:.2f}" for n, r in zip(names, nulls, strict=True)])
    axes.invert_yaxis()
    axes.axvline(0, color="k", lw=0.8, ls=":")
    axes.set_xlabel("skill over the baseline D(init) x mean relative curve, median over networks")
    axes.grid(axis="x", alpha=0.25)
    legend_below(figure, *axes.get_legend_handles_labels())
    return save(figure, out)


def held_out_curves(examples, rows, forecasts, out: Path) -> Path:
    """Draw the measured D(t) of each network beside its prediction from the other architectures.

    Args:
      examples: examples of the calibration.
      rows: rows from `held_out.leave_one_out`.
      forecasts: Forecast for each row, also from `held_out.leave_one_out`.
      out: path of the PNG file to write.

    Returns:
      The path written. Of more networks than fit on a page, 24 at most, some are drawn.
    """
    measured = {(e.architecture, e.data): e for e in examples}
    cells = list(zip(rows, forecasts, strict=True))
    most = min(len(cells), most_panels(), 24)
    cells = [cells[i] for i in np.linspace(0, len(cells) - 1, most).astype(int)]
    figure, each = panels(len(cells), (2.4, 2.1))
    for axes, (row, made) in zip(each, cells, strict=True):
        e = measured[row["architecture"], row["data"]]
        d_SxG, width = np.exp(e.log_d_SxG), Z_90 * made.sd_G
        axes.fill_between(
            e.step_G, d_SxG.min(0), d_SxG.max(0), color="k", alpha=0.18, lw=0,
            label="measured, range over seeds",
        )  # fmt: skip
        axes.plot(e.step_G, d_SxG.mean(0), "k", lw=1.3, label="measured, mean")
        axes.plot(e.step_G, np.exp(made.log_d_G), color="C0", lw=1.3, label="predicted")
        axes.fill_between(
            e.step_G, np.exp(made.log_d_G - width), np.exp(made.log_d_G + width), color="C0",
            alpha=0.2, lw=0, label="90 % band of the prediction",
        )  # fmt: skip
        outside = "" if row["bracketed"] else ", extrapolating"
        axes.set_title(f"{row['architecture']}\n{row['data']}, R2 {row['r2']:.2f}{outside}")
        axes.set_xscale("symlog", linthresh=10)
        axes.set_xlabel("training step")
        axes.set_xlim(0, e.step_G[-1])
        axes.grid(alpha=0.25)
    figure.supylabel("D")
    legend_below(figure, *each[0].get_legend_handles_labels())
    return save(figure, out)


def forecast(table, title: str, metric: str, extrapolating: bool, out: Path) -> Path:
    """Draw a predicted curve with its 90 % band.

    Args:
      table: data frame indexed by step, with the columns `D`, `low` and `high`; `low` and `high`
        are not finite if the predictor gives no band.
      title: title of the figure.
      metric: name of the dimensionality metric.
      extrapolating: whether the architecture is not between calibrated ones of its family in depth
        and width.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = one_panel(6, 4)
    axes.plot(table.index, table["D"], color="C0", label="forecast")
    if np.isfinite(table["low"]).all():
        axes.fill_between(
            table.index,
            table["low"],
            table["high"],
            color="C0",
            alpha=0.2,
            lw=0,
            label="90 % band of the prediction",
        )
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(0, table.index[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training step")
    axes.set_ylabel(f"D ({metric.replace('_', ' ')}, mean over hidden layers)")
    figure.suptitle(title + ("\nEXTRAPOLATING" if extrapolating else ""))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return save(figure, out)


def monitored(state: dict, title: str, out: Path) -> Path:
    """Draw what a monitor observed: D with forecasts, jumps and warnings, loss, gradient norm.

    Args:
      state: result of `Monitor.state`.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    history = state["history"]
    labels = {"d": "D (mean over hidden layers)", "loss": "loss", "grad_norm": "gradient norm"}
    labels = {n: label for n, label in labels.items() if n == "d" or any(history[n])}
    figure, each = grid(len(labels), 1, (7, 2.2), (0, 0.6), sharex=True)
    for axes, (name, label) in zip(each[:, 0], labels.items(), strict=True):
        axes.plot(history["step"], np.array(history[name], float), color="k", lw=0.9)
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
    for axes in each[1:, 0]:
        axes.set_yscale("log")
    ahead, top = state["forecasts"], each[0, 0]
    low, high = (np.array(ahead[name], float) for name in ("low", "high"))
    label = f"forecast {ahead['horizon']} steps before, with 90 % interval"
    top.plot(ahead["step"], ahead["d"], color=COLOURS[0], lw=1, label=label)
    top.fill_between(ahead["step"], low, high, color=COLOURS[0], alpha=0.18, lw=0)
    top.set_ylim(0, 1.3 * max(history["d"], default=1))
    for i, jump in enumerate(state["jumps"]):
        label = "jump" if i == 0 else None
        top.axvline(jump["step"], color="C3", ls="--", lw=1, label=label)
    for i, warning in enumerate(state["warnings"]):
        colour = f"C{i % 10}"
        top.axvline(warning["step"], color=colour, lw=1.5, label=warning["kind"])
    legend_below(figure, *top.get_legend_handles_labels())
    figure.suptitle(title)
    each[-1, 0].set_xlabel("training step")
    return save(figure, out)
