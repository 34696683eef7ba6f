"""Signals of a run: what it has recorded or measured, one number per seed and step."""

from typing import NamedTuple

import numpy as np

from analysis.runs.quantities import Quantity, quantities
from analysis.runs.reader import Run
from tapjax.contract import detector

GROUPS_LEFT_OUT = ("eval",)
NAMES_LEFT_OUT = ("accuracy", "skill_accuracy", "class_accuracy", "confidence", "ece", "lr")
LEAST_STEPS = 20  # measurements of a signal


class Signal(NamedTuple):
    """A series per seed, `values [S, T]` at `steps [T]`; `control [C, T]` is that of controls."""

    name: str
    steps: np.ndarray
    values: np.ndarray
    control: np.ndarray | None = None


def signals(
    each: Run, controls: Run | None, least: int = LEAST_STEPS, finite: bool = True
) -> list[Signal]:
    """List the signals of a run: its quantities, of which several per step become the largest.

    Args:
      each: open run.
      controls: run in which the ability never comes, or None.
      least: smallest number of measurements of a signal.
      finite: whether to leave out signals that are not finite in all seeds.

    Returns:
      Signals of the run, and the number of `jumps` of D that were reported so far.
    """
    of_control = {} if controls is None else {_name(q): q for q in _quantities(controls)}
    found = []
    for quantity in _quantities(each):
        if not _is_signal(quantity):
            continue
        other, keep = of_control.get(_name(quantity)), _places(each, quantity)
        values = _largest(quantity.values)[:, keep]
        if len(keep) < least or (finite and not np.isfinite(values).all()):
            continue
        same = other is not None and np.array_equal(other.steps, quantity.steps)
        control = _largest(other.values)[:, keep] if same else None
        if control is not None and not np.isfinite(control).all():
            control = None
        found.append(Signal(_name(quantity), quantity.steps[keep], values, control))
    return found


def left_out(each: Run, kept: list[Signal]) -> list[str]:
    """Name the quantities of a run that are no signals, because values or measurements lack."""
    names = {_name(q) for q in _quantities(each) if _is_signal(q)}
    return sorted(names - {signal.name for signal in kept})


def _is_signal(quantity):
    return quantity.group not in GROUPS_LEFT_OUT and quantity.name not in NAMES_LEFT_OUT


def _quantities(each):
    """List the quantities of a run, and the number of jumps of D that were reported so far."""
    listed = quantities(each)[0]
    of_d = next((q for q in listed if q.name == "D"), None)
    if of_d is None or not np.isfinite(of_d.values).all():
        return listed
    count_SxT = np.zeros(of_d.values.shape)
    for row, jumps in zip(count_SxT, detector.detect_each(of_d.values, of_d.steps), strict=True):
        for jump in jumps:  # a jump is reported once the measurements after it are known
            row[jump.index + detector.DELAY :] += 1
    return [*listed, Quantity("probe", "jumps", of_d.steps, count_SxT)]


def _places(each, quantity):
    """Return the places of the steps of the probe among those of a quantity, or all places."""
    if quantity.group != "scalar":
        return np.arange(len(quantity.steps))
    return np.flatnonzero(np.isin(quantity.steps, each.steps("probe")))


def _name(quantity):
    return "D" if quantity.name == "D" else f"{quantity.group}/{quantity.name}"


def _largest(values):
    return values.max(2) if values.ndim == 3 else values
