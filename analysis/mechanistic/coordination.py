"""Tests of joint movement: of layers with each other, and of D with the loss.

Increments are compared with the increments nearby in time, so that the fast beginning of training
does not count as one long movement. The nulls shift layers, or the loss, circularly in time. This
keeps the properties of each series and destroys the relation between them. The largest value over
all of training is compared with the largest value of each shifted copy.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from analysis.statistics.surrogates import circular_shifts, p_value

NEIGHBOURHOOD = 101  # window in measurements; its median increment is the local scale
MOVING = 3.0  # threshold in units of this median: 2 standard deviations of white increments
SPAN = 20  # measurements per window in which D and the loss are correlated
GAP = 5  # coordinated measurements closer than this belong to the same period
LEAVE_OUT = 0.05  # smallest circular shift in either direction, as a share of the series
LEAST_LENGTH = 100
ALPHA = 0.05


class Period(NamedTuple):
    """Coordinated or loss-linked period: measurements [start, stop), and the largest value."""

    start: int
    stop: int
    value: float


class Verdict(NamedTuple):
    """Result of a test of joint movement.

    `value_T` is the statistic over training, `level` is the level that it has to exceed, `p` is the
    p-value of its largest value, and `periods` are the periods above the level.
    """

    value_T: np.ndarray
    level: float
    p: float
    periods: list[Period]


def coordinated(layers_TxL, rng, shifts: int = 199) -> Verdict:
    """Find when more layers move at the same time than would be expected of independent layers.

    Args:
      layers_TxL: one quantity of each layer, [T, L], finite.
      rng: NumPy generator for the null.
      shifts: number of surrogates.

    Returns:
      Verdict on the share of layers that move at a measurement, 0 to 1.

    Raises:
      ValueError: there are fewer than 3 layers or 100 measurements, or a value is not finite.
    """
    layers_TxL = _finite(layers_TxL)
    if layers_TxL.shape[1] < 3 or len(layers_TxL) < LEAST_LENGTH:
        raise ValueError(f"coordination needs at least 3 layers and {LEAST_LENGTH} measurements")
    moving_TxL = _moving(layers_TxL)
    null = [_shift_each(moving_TxL, rng).mean(1).max() for _ in range(shifts)]
    share_T = np.append(0.0, moving_TxL.mean(1))
    return _verdict(share_T, share_T, np.array(null))


def _finite(series):
    series = np.asarray(series, float)
    if not np.isfinite(series).all():
        raise ValueError("a series has values that are not finite")
    return series


def _moving(layers_TxL):
    size_TxL = np.abs(np.diff(layers_TxL, axis=0))
    usual_TxL = median_filter(size_TxL, (NEIGHBOURHOOD, 1), mode="nearest")
    return size_TxL > MOVING * np.maximum(usual_TxL, 1e-12 * np.abs(layers_TxL).max())


def _shift_each(a_TxL, rng):
    return np.stack([_shifted(a_TxL[:, i], rng) for i in range(a_TxL.shape[1])], 1)


def _shifted(a_T, rng):
    least = max(int(LEAVE_OUT * len(a_T)), 1)
    return np.roll(a_T, circular_shifts(len(a_T), least, (), rng))


def loss_linked(d_T, loss_T, rng, shifts: int = 199) -> Verdict:
    """Find when D is correlated with the loss more strongly than with shifted copies of the loss.

    Args:
      d_T: D, [T], finite.
      loss_T: loss at the same measurements, [T], positive.
      rng: NumPy generator for the null.
      shifts: number of surrogates.

    Returns:
      Verdict on the correlation of the increments of D and ln loss in windows of 20 measurements.

    Raises:
      ValueError: there are fewer than 100 measurements, a value is not finite, or the increments of
        a series never change.
    """
    d_T, loss_T = _finite(d_T), _finite(loss_T)
    if len(d_T) < LEAST_LENGTH:
        raise ValueError(f"a link with the loss needs at least {LEAST_LENGTH} measurements")
    change_d, change_loss = np.diff(d_T), np.diff(np.log(np.maximum(loss_T, 1e-12)))
    if not change_d.std() or not change_loss.std():
        raise ValueError("a link with the loss needs series that change")
    null = [
        np.abs(_window_correlation(change_d, _shifted(change_loss, rng))).max()
        for _ in range(shifts)
    ]
    r_T = np.append(0.0, _window_correlation(change_d, change_loss))
    return _verdict(r_T, np.abs(r_T), np.array(null))


def _window_correlation(a_T, b_T):
    """Compute the Pearson correlation in the window around each measurement.

    Linear trends are removed because any two smooth series share them. The correlation is 0 if a
    series is constant in the window.
    """
    windows = [np.lib.stride_tricks.sliding_window_view(x, SPAN) for x in (a_T, b_T)]
    a, b = (_less_trend(w) for w in windows)
    norm = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    r = np.where(norm > 0, (a * b).sum(1) / np.where(norm > 0, norm, 1), 0.0)
    before = SPAN // 2
    return np.pad(r, (before, len(a_T) - len(r) - before))


def _less_trend(windows_NxW):
    time_W = np.arange(SPAN) - (SPAN - 1) / 2
    left = windows_NxW - windows_NxW.mean(1, keepdims=True)
    return left - (left @ time_W / (time_W @ time_W))[:, None] * time_W


def _verdict(value_T, strength_T, null):
    level = float(np.quantile(null, 1 - ALPHA))
    p = p_value(strength_T.max(), null)
    above = np.flatnonzero(strength_T > level) if p <= ALPHA else []
    periods = []
    for i in above:
        if periods and i - periods[-1].stop < GAP:
            start, _, value = periods[-1]
            periods[-1] = Period(start, int(i) + 1, max(value, float(strength_T[i])))
        else:
            periods.append(Period(int(i), int(i) + 1, float(strength_T[i])))
    return Verdict(value_T, level, p, periods)
