"""Figures of D(t) beside capabilities, and of their lag correlations."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from analysis.figures.style import largest_width, legend_below, panels, save, synthetic
from analysis.runs.measures import leading, of_measure
from analysis.runs.reader import Run
from analysis.statistics import lags
from tapjax.contract.text import plural

VERDICTS = {
    "leads": ("C3", "o"),
    "lags": ("C0", "o"),
    "simultaneous": ("C2", "o"),
    "order undetermined": ("C1", "D"),
    "no evidence": ("0.6", "x"),
}
_NAMES = ("D", "accuracy", "confidence", "lags", "events")
# Places of the panels of a run, three beside two.
_WIDE = [[_NAMES[i // 2], _NAMES[3 + i // 3]] for i in range(6)]
COLOURS = {"accuracy": "C0", "-ln loss": "C1", "confidence": "C2", "-ece": "C4"}
OF_SKILLS = ("C5", "C3", "C6", "C7", "C8", "C9")


def emergence(run: Run, found, rows, every: int, out: Path, metric: str | None = None) -> Path:
    """Draw D and the capabilities of one run over training, their lag correlations, and events.

    Args:
      run: open run.
      found: list of Coupling from `emergence.couplings`, one per capability.
      rows: landmarks of each seed from `emergence.landmarks`.
      every: number of training steps from one measurement to the next.
      out: path of the PNG file to write.
      metric: name of a recorded dimensionality metric; None uses the metric of the run.

    Returns:
      The path written.
    """
    wide = largest_width() > 5
    names = _WIDE if wide else [[name] for name in _NAMES]
    size = (min(10, largest_width()), 8 if wide else 12)
    figure, axes = plt.subplot_mosaic(names, figsize=size, layout="constrained")
    _courses([axes[name] for name in _NAMES[:3]], run, rows, metric)
    _correlations(axes["lags"], found, every)
    _events(axes["events"], found[0], every)
    figure.suptitle(f"{run.model['architecture']} on {run.model['data']}{synthetic(run)}")
    return save(figure, out)


def _courses(panels, run, rows, metric):
    t = run.steps("probe")
    name = (metric or run.model["dimension"]).replace("_", " ")
    at, d_SxT = leading(run, metric)
    _with_range(panels[0], at, d_SxT, "k", name if of_measure(metric) else f"D ({name})")
    if run.has("scalar", "accuracy"):
        steps = run.steps("scalar")
        batches = run.array("scalar", "accuracy")
        width = max(len(steps) // 100, 1)
        kept = batches[:, : len(steps) // width * width].reshape(len(batches), -1, width).mean(2)
        _with_range(panels[1], steps[width - 1 :: width], kept, "C3", "training batches")
    if run.has("probe", "accuracy"):
        _with_range(panels[1], t, run.array("probe", "accuracy"), "C0", "probe (test examples)")
    if run.has("probe", "confidence"):
        _with_range(panels[2], t, run.array("probe", "confidence"), "C2", "confidence")
        _with_range(panels[2], t, run.array("probe", "ece"), "C4", "ECE")
    marks = (
        ("capability_step", "C0", "capability halfway up"),
        ("D_peak_step", "k", "highest D after trough"),
    )
    for key, colour, label in marks:
        at = [row[key] for row in rows if row[key] is not None]
        if 2 * len(at) >= len(rows) > 0:
            label = f"{label} (median)"
            panels[0].axvline(np.median(at), color=colour, ls="--", lw=1, label=label)
    for axes, label in zip(panels, ("D", "accuracy", "confidence, ECE"), strict=True):
        if not axes.lines:  # this run did not record the quantity
            axes.set_visible(False)
            continue
        axes.set_ylabel(label)
        axes.set_xlim(t[0], t[-1])
        axes.set_xlabel("training step")
        axes.grid(alpha=0.25)
        axes.legend()


def _with_range(axes, t, series_SxT, colour, label):
    axes.plot(t, series_SxT.mean(0), color=colour, lw=1.3, label=label)
    if len(series_SxT) > 1:
        axes.fill_between(t, series_SxT.min(0), series_SxT.max(0), color=colour, alpha=0.15, lw=0)


def _colour(coupling, found):
    """Return the colour of a capability; skills of a task have colours of their own."""
    skills = [each.capability for each in found if each.capability not in COLOURS]
    if coupling.capability in COLOURS:
        return COLOURS[coupling.capability]
    return OF_SKILLS[skills.index(coupling.capability) % len(OF_SKILLS)]


def _correlations(axes, found, every):
    x = lags.LAGS * every
    for coupling in found:
        colour = _colour(coupling, found)
        axes.plot(x, coupling.test.r_K, "-", lw=1.4, color=colour, label=coupling.capability)
    bound = max(coupling.test.null_95 for coupling in found)
    axes.axhspan(-bound, bound, color="k", alpha=0.08, lw=0, label="95 % of surrogates")
    axes.axvline(0, color="k", lw=0.6)
    top = 1.9 * max(bound, *(np.abs(c.test.r_K).max() for c in found))
    axes.set_ylim(-0.6 * top, top)
    axes.set_xlabel("lag (steps; positive: D changes first)")
    axes.set_ylabel("correlation of increments")
    axes.legend(frameon=False, ncols=2, loc="upper left")
    axes.grid(alpha=0.25)


def _events(axes, coupling, every):
    average, x = coupling.events, lags.LAGS * every
    title = f"{plural(average['events'], 'large change')} of D, all seeds"
    if average["mean"] is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, f"{title}:\ntoo few to average over", ha="center")
        return
    axes.fill_between(x, average["low"], average["high"], color="k", alpha=0.1, lw=0)
    axes.plot(x, average["mean"], color=COLOURS.get(coupling.capability, "C5"), lw=1.3)
    title += f"\n(grey: 95 % range at shifted times; p {average['p']:.3f})"
    axes.axvline(0, color="k", lw=0.6)
    axes.set_title(title)
    axes.set_xlabel("time after the change of D (steps)")
    axes.set_ylabel(f"mean increment of {coupling.capability}")
    axes.grid(alpha=0.25)


def verdicts(table, powers: dict, out: Path) -> Path:
    """Draw lag and strength of the couplings of all runs, and the power to find a planted lead.

    Args:
      table: data frame with one row per run and capability, and the columns `verdict`,
        `best_lag_steps`, `r` and `null_95`.
      powers: dict from run to a dict from the strength of a planted lead to the share of trials
        that found it.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, (left, right) = panels(2, (4.7, 3.5), least=3)
    for name, (colour, marker) in VERDICTS.items():
        rows = table[table["verdict"] == name]
        label = f"verdict: {name} ({len(rows)})"
        left.plot(
            rows["best_lag_steps"], rows["r"].abs() / rows["null_95"], marker, ms=4, color=colour,
            label=label, alpha=0.8,
        )  # fmt: skip
    left.axhline(1, color="k", lw=0.8, ls=":")
    left.axvline(0, color="k", lw=0.6)
    left.set_xlabel("best lag (steps; positive: D changes first)")
    left.set_ylabel("|r| at the best lag / 95 % of surrogates")
    left.grid(alpha=0.25)
    for power in powers.values():
        right.plot(list(power), list(power.values()), color="0.75", lw=0.8)
    mean = np.mean([list(power.values()) for power in powers.values()], 0)
    right.plot(
        list(next(iter(powers.values()))),
        mean,
        "k.-",
        label=f"power, mean of {len(powers)} curves; the lead is the only effect",
    )
    right.set_xlabel("correlation of the planted lead")
    right.set_ylabel("share of trials with the verdict `leads`")
    right.set_ylim(-0.02, 1.02)
    right.grid(alpha=0.25)
    named = [axes.get_legend_handles_labels() for axes in (left, right)]
    legend_below(figure, *(sum(parts, []) for parts in zip(*named, strict=True)))
    figure.suptitle("Verdict of each test (their number), and power of the tests")
    return save(figure, out)
