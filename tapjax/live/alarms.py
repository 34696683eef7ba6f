"""Alarms that precede an ability, as far as past runs have shown it; needs only NumPy.

    alarms = Alarms.read("out/precursors/precursors.json")   # written by `tapjax precursors`
    alarms.update(step, {"D": d, "probe/loss": loss})        # in the loop, at the probe's cadence

An alarm goes off once a signal has moved farther since the first measurement than in any control,
that is in runs in which the ability does not come. Only signals that were found to warn have one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapjax.contract.files import RunError, read_json
from tapjax.live.arrays import as_array

PAST = 3  # measurements in the mean of a signal, which must not look ahead
LEAST_SCALE = 0.05  # share of the final scale of controls below which moves count as noise


class AlarmRule(NamedTuple):
    """When a signal is taken for a warning, and how often that was right.

    `limit [T]` is the move at `steps [T]` beyond which the alarm goes off. It did so at least
    `ahead` steps before the ability in the share `hits` of `seeds` seeds, `lead` steps before it in
    the median. The limit is the farthest that one of `controls` controls went, so that the alarm
    goes off in a run like these with a probability of `false_alarms`.
    """

    signal: str
    ability: str
    steps: tuple
    limit: tuple
    seeds: int
    controls: int
    ahead: float
    hits: float
    lead: float
    false_alarms: float


class Alarm(NamedTuple):
    """A signal that has moved beyond its limit, and the rule that says so."""

    step: int
    moved: float
    limit: float
    rule: AlarmRule

    @property
    def message(self) -> str:
        """Sentence with the operating characteristics of the alarm."""
        rule = self.rule
        return (
            f"{rule.signal} has moved by {self.moved:.3g}, and by at most {self.limit:.3g} in "
            f"{rule.controls} runs without {rule.ability}; {rule.hits:.0%} of {rule.seeds} past "
            f"seeds did so at least {rule.ahead:.0f} steps before {rule.ability} (median "
            f"{rule.lead:.0f}), and {rule.false_alarms:.0%} of runs without it are expected to"
        )


class Alarms:
    """Alarms of one run or seed.

    Attributes:
      rules: the AlarmRules.
      found: Alarms so far, at most one per rule.
    """

    def __init__(self, rules):
        """Create the alarms of a run without measurements.

        Args:
          rules: AlarmRules; without any, the alarms are silent.
        """
        self.rules, self.found = tuple(rules), []
        self._first, self._last, self._farthest = {}, {}, {}

    @classmethod
    def read(cls, path) -> "Alarms":
        """Read the rules that `tapjax precursors` has written.

        Args:
          path: its precursors.json.

        Returns:
          Alarms; they are silent if no signal was found to warn.

        Raises:
          RunError: the file is damaged or has no alarms.
        """
        return cls(read_rules(path))

    def update(self, step: int, values: Mapping) -> list[Alarm]:
        """Add the measurements of a step.

        Args:
          step: training step.
          values: value by the name of the signal, such as `D`, `probe/loss` or `heads/entropy`; the
            largest counts if there are several, such as one per layer. Other signals are ignored.

        Returns:
          The alarms that go off at this step.
        """
        new = []
        for rule in self.rules:
            if rule.signal not in values:
                continue
            moved = self._move(rule.signal, float(np.max(as_array(values[rule.signal]))))
            limit = limit_at(rule, step)
            if moved > limit and all(rule != alarm.rule for alarm in self.found):
                new.append(Alarm(int(step), moved, limit, rule))
                self.found.append(new[-1])
        return new

    def _move(self, signal, value):
        last = self._last.setdefault(signal, [])
        last.append(value)
        del last[:-PAST]
        mean = past_mean(np.array([last]))[0, -1]
        first = self._first.setdefault(signal, mean)
        self._farthest[signal] = max(self._farthest.get(signal, 0.0), abs(mean - first))
        return self._farthest[signal]


def read_rules(path) -> list[AlarmRule]:
    """Read the AlarmRules of a precursors.json, see `Alarms.read`."""
    listed = read_json(Path(path)).get("alarms")
    if not isinstance(listed, list):
        raise RunError(f"{path} has no alarms: name the precursors.json of `tapjax precursors`")
    return [_rule(path, each) for each in listed]


def _rule(path, fields) -> AlarmRule:
    if isinstance(fields, dict) and {*AlarmRule._fields} <= {*fields}:
        rule = AlarmRule(**{name: fields[name] for name in AlarmRule._fields})
        numbers = (*rule[4:], *(rule.steps or [None]), *(rule.limit or [None]))
        if len(rule.steps) == len(rule.limit) and all(isinstance(v, int | float) for v in numbers):
            return rule
    raise RunError(f"{path}: its alarms are damaged, write it again with `tapjax precursors`")


def limit_at(rule: AlarmRule, step) -> float:
    """Return the limit of a rule at a step: that of the last step of the rule up to it."""
    place = np.searchsorted(rule.steps, step, side="right") - 1
    return float(rule.limit[max(place, 0)])


def past_mean(values_SxT) -> np.ndarray:
    """Return the mean of each value and the two before it, which does not look ahead.

    Examples:
      >>> past_mean(np.array([[3.0, 5.0, 7.0, 9.0]]))
      array([[3., 4., 5., 7.]])
    """
    values_SxT = np.asarray(values_SxT, float)
    total = values_SxT.copy()
    for back in range(1, PAST):
        total[:, back:] += values_SxT[:, :-back]
    return total / np.minimum(np.arange(1, values_SxT.shape[1] + 1), PAST)


def moves(values_SxT) -> np.ndarray:
    """Return the largest change since the first measurement so far, [S, T].

    Args:
      values_SxT: series of a signal.

    Returns:
      Non-negative values that do not fall over time. They do not look ahead.
    """
    smooth = past_mean(values_SxT)
    return np.maximum.accumulate(np.abs(smooth - smooth[:, :1]), 1)


def limit_of_controls(control_CxT) -> np.ndarray:
    """Return the limit [T] that one control reaches once, and no control passes.

    The limit has the shape of the median move of the controls over time, and is as high as the
    control needs that is the farthest above it. A run that is exchangeable with C controls
    therefore passes it, at any step, with a probability of 1 / (C + 1).

    Args:
      control_CxT: series of the signal in controls.

    Returns:
      The limit of the moves.
    """
    moved_CxT = moves(control_CxT)
    scale_T = np.median(moved_CxT, 0)
    scale_T = np.maximum(scale_T, max(LEAST_SCALE * scale_T[-1], 1e-12))
    return scale_T * (moved_CxT / scale_T).max()
