"""Alarms that precede an ability, as far as past runs have shown it; needs only NumPy.

    alarms = Alarms.read("out/precursors/precursors.json")   # written by `tapjax precursors`
    alarms.update(step, {"D": d, "probe/loss": loss})        # in the loop, at the probe's cadence

An alarm goes off once a signal has moved farther since the first measurement than in any control
up to that step. In controls, the ability does not come. Only signals that were found to warn have
an alarm.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapjax.contract.files import RunError, read_json
from tapjax.live.arrays import as_array

PAST = 3  # measurements in the mean of a signal, which must not look ahead
ROUNDING = 1e-9  # so that the control that sets a limit does not pass it
LEAST_SCALE = 0.05  # share of the final scale of controls below which moves count as noise


class AlarmRule(NamedTuple):
    """When a signal is taken for a warning, and how often that was right.

    `limit [T]` is the move at `steps [T]` beyond which the alarm goes off. It did so at least
    `ahead` steps before the ability in the share `hits` of `seeds` seeds, and `lead` steps before
    it in the median of the seeds in which it came first. The limit is the farthest that one of
    `controls` controls went, so that the alarm goes off in a run like these with a probability of
    `false_alarms`. After the last step of the limit, the alarm is off.
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
            f"seeds did so at least {rule.ahead:.0f} steps before {rule.ability}, and a run "
            f"without it does so with a probability of {rule.false_alarms:.0%}"
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
        self._moves: dict[str, _Move] = {}

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
            largest counts if there are several, such as one per layer. Other signals, and values
            that are not finite, are ignored.

        Returns:
          The alarms that go off at this step.
        """
        moved = {}
        for signal in {rule.signal for rule in self.rules} & {*values}:
            value = float(np.max(as_array(values[signal])))
            if np.isfinite(value):
                moved[signal] = self._moves.setdefault(signal, _Move()).add(value)
        new = [
            Alarm(int(step), moved[rule.signal], limit_at(rule, step), rule)
            for rule in self.rules
            if rule.signal in moved and all(rule != alarm.rule for alarm in self.found)
        ]
        new = [alarm for alarm in new if alarm.moved > alarm.limit]
        self.found += new
        return new


class _Move:
    """Largest change of a signal since its first measurement, one value after another."""

    def __init__(self):
        self._last, self._first, self._farthest = [], None, 0.0

    def add(self, value: float) -> float:
        self._last = [*self._last, value][-PAST:]
        mean = past_mean(np.array([self._last]))[0, -1]
        self._first = mean if self._first is None else self._first
        self._farthest = max(self._farthest, abs(mean - self._first))
        return self._farthest


def read_rules(path) -> list[AlarmRule]:
    """Read the AlarmRules of a precursors.json, see `Alarms.read`."""
    listed = read_json(Path(path)).get("alarms")
    if not isinstance(listed, list):
        raise RunError(f"{path} has no alarms: name the precursors.json of `tapjax precursors`")
    return [_rule(path, each) for each in listed]


def _rule(path, fields) -> AlarmRule:
    """Check the fields of a rule, and name the first one that cannot be."""
    fields = fields if isinstance(fields, dict) else {}
    for name, sound in SOUND.items():
        if not sound(fields.get(name)):
            raise RunError(
                f"{path}: {name} of an alarm is damaged, write the file again with `tapjax "
                "precursors`"
            )
    rule = AlarmRule(**{name: fields[name] for name in AlarmRule._fields})
    if len(rule.steps) != len(rule.limit) or (np.diff(rule.steps) <= 0).any():
        raise RunError(f"{path}: the steps of an alarm do not rise with its limit")
    return rule


def _number(value, low=0.0, high=np.inf):
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and np.isfinite(value) and low <= value <= high


def _numbers(values):
    return isinstance(values, list) and len(values) > 0 and all(map(_number, values))


def _name(value):
    return isinstance(value, str) and value != ""


SOUND = {
    "signal": _name,
    "ability": _name,
    "steps": _numbers,
    "limit": _numbers,
    "seeds": _number,
    "controls": _number,
    "ahead": _number,
    "lead": _number,
    "hits": lambda value: _number(value, 0, 1),
    "false_alarms": lambda value: _number(value, 0, 1),
}


def limit_at(rule: AlarmRule, step) -> float:
    """Return the limit of a rule at a step: that of the last step of the rule up to it.

    After the last step of the rule, no limit is known, and the result is infinite.
    """
    if step > rule.steps[-1]:
        return np.inf
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
    return scale_T * (moved_CxT / scale_T).max() * (1 + ROUNDING)
