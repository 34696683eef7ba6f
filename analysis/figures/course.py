"""Curves of one run, ready to be drawn: D, loss, accuracy, layers, and the events in it."""

from typing import NamedTuple

import numpy as np

from analysis.figures.style import binned
from analysis.mechanistic.overview import found_jumps
from analysis.runs.reader import Run, RunError
from tapjax.contract import detector

LEAST_POINTS = 5  # of a curve; a quantity evaluated less often is not drawn
MOST_POINTS, MOST_LAYER_POINTS = 400, 150
PINNED = "pinned checkpoint"  # text of an event


class Curve(NamedTuple):
    """Mean over seeds and range over seeds of one quantity: all arrays [T]."""

    step: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Curves(NamedTuple):
    """What is drawn of one run.

    `quantities` holds a Curve for each of `D`, `loss` and `accuracy` that was recorded. `layers`
    are the steps [T] and the dimensionality of each layer, mean over seeds [T]. `events` are pairs
    (step, text) of jumps of D, pinned checkpoints, and changes that the config asked for.
    `final_accuracy` is the mean over seeds of the last accuracy, None if there is none. `accuracy`
    names it: examples of the probe are test examples only in runs of our own loop.
    """

    name: str
    quantities: dict[str, Curve]
    layers: tuple[np.ndarray, dict[str, np.ndarray]]
    events: list[tuple[int, str]]
    final_accuracy: float | None = None
    accuracy: str = "test accuracy"


def read(run: Run) -> Curves:
    """Read the curves of a run.

    Args:
      run: open run.

    Returns:
      Its Curves, each with at most `MOST_POINTS` points. Longer losses are averaged over bins; of
      other longer series, every n-th point and the last one are kept.
    """
    metric, quantities, layers = run.model["dimension"], {}, (np.array([]), {})
    d_SxT = run.known_dimension()
    if d_SxT is not None:
        step = run.steps("probe")
        quantities["D"] = _curve(*_thinned(step, d_SxT, MOST_POINTS))
        at, layers_SxTxL = _thinned(step, run.array("probe", metric), MOST_LAYER_POINTS)
        each = layers_SxTxL.mean(0).T.astype(np.float32)
        layers = (at, dict(zip(run.layer_names, each, strict=True)))
    if run.has("scalar", "loss"):  # another loop may record none
        quantities["loss"] = _curve(*binned(run, "loss", MOST_POINTS))
    for group, name in (("eval", "accuracy"), ("probe", "accuracy")):
        if run.has(group, name) and len(run.steps(group)) >= LEAST_POINTS:
            values_SxT = run.array(group, name)
            quantities["accuracy"] = _curve(*_thinned(run.steps(group), values_SxT, MOST_POINTS))
            break
    groups = [group for group in ("eval", "probe") if run.has(group, "accuracy")]
    final = run.tail(groups[0], "accuracy", 1).mean() if groups else None
    quantities = {name: curve for name, curve in quantities.items() if len(curve.step)}
    of_probe = run.recorded and not run.has("eval", "accuracy")
    name = "accuracy on the probe" if of_probe else "test accuracy"
    return Curves(run.name, quantities, layers, events(run), final, name)


def accuracy_label(runs) -> str:
    """Return the name of the accuracies of runs, `accuracy` if they are of different examples."""
    names = {run.accuracy for run in runs if run.final_accuracy is not None}
    return names.pop() if len(names) == 1 else "accuracy"


def events(run: Run) -> list[tuple[int, str]]:
    """List the jumps of D, the pinned checkpoints, and the changes that the config asked for.

    Args:
      run: open run.

    Returns:
      Pairs (step, text) in order of steps.
    """
    found = []
    if run.has("probe", run.model["dimension"]):
        try:
            jumps = [row for row in found_jumps(run) if row["layer"] == detector.MEAN]
        except RunError:  # D is negative, or a seed has no finite value
            jumps = []
        found += [(row["step"], f"jump of D, seed {row['seed']}") for row in jumps]
    pins = run.path / "pins"
    if pins.is_dir():
        found += [(int(p.name), PINNED) for p in pins.iterdir() if p.name.isdigit()]
    reset, clone = run.config.get("reset", {}), run.config.get("clone", {})
    if reset.get("step"):
        unit = f"unit {reset['unit']} of " if reset["unit"] >= 0 else ""
        found.append((reset["step"], f"{unit}{reset['layer']} was drawn anew"))
    for i in range(clone.get("times", 0) if clone.get("factor", 1) > 1 else 0):
        found.append(((i + 1) * clone["step"], f"every unit was cloned x{clone['factor']}"))
    last = run.steps("scalar")[-1] + 1
    return sorted((step, text) for step, text in found if step <= last)


def _curve(step, values_SxT):
    finite = np.isfinite(values_SxT).all(0)
    step, values_SxT = step[finite], values_SxT[:, finite]
    return Curve(step, values_SxT.mean(0), values_SxT.min(0), values_SxT.max(0))


def _thinned(step, values_SxT, most):
    """Keep every n-th point and the last one, so that at most `most` remain."""
    every = -(-len(step) // (most - 1))
    kept = np.unique([*range(0, len(step), every), len(step) - 1])
    return step[kept], values_SxT[:, kept]
