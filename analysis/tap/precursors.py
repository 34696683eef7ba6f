"""Which recorded quantities move before an ability emerges, and whether their timing tells when.

The unit of replication is the seed. Two questions are asked of every signal; early_warning.py asks
whether it warns.

- Order over seeds: does the ability emerge later in seeds in which the signal moves later, beyond
  what the speed of the seed explains?
- Forecast: does the signal in the first part of training predict the step of emergence of a seed
  that the fit has not seen?
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV

from analysis.tap.signals import Signal
from tapjax.live.alarms import past_mean

SMOOTH = 1.0  # measurements, standard deviation of the filter of all series
FIRST = 3  # measurements before training has an effect
LEAST_GAIN = 0.2  # smallest rise of an ability that counts as emergence
ONSET, HALF = 0.1, 0.5  # shares of the rise
MOVED = 5.0  # standard deviations of the noise that a signal must move by
PERMUTATIONS = 9999
LEAST_SPEEDS = 5  # different values of the speed of seeds that can be taken into account
REDRAWN = 100
INTERVAL = (0.05, 0.95)
_WEIGHTS = gaussian_filter1d(np.eye(1, 41, 20)[0], SMOOTH)
# Standard deviation of white noise that is left after its filtered series is subtracted.
UNSMOOTHED = float(np.sqrt(1 - 2 * _WEIGHTS[20] + np.square(_WEIGHTS).sum()))
LEAST_SEEDS = 6  # below, no p can pass a correction
PENALTIES = np.logspace(-2, 3, 11)
SEED = 0


class Emergence(NamedTuple):
    """When an ability emerges in each seed, [S] each, not-a-number where it does not.

    `half` and `end` are the steps at which half and nine tenths of the rise from the level before
    to the best level are reached, where half of the rise lasts. `onset` is the step from which the
    ability is above a tenth of the rise until it reaches the half, so that noise before does not
    count.
    """

    onset: np.ndarray
    half: np.ndarray
    end: np.ndarray


def emergence(steps, ability_SxT) -> Emergence:
    """Find when an ability emerges.

    Args:
      steps: steps [T] of the measurements.
      ability_SxT: score of the ability of each seed; larger is better.

    Returns:
      The Emergence. The level before is the median of the first tenth of the measurements, or of
      the first three if a tenth of the rise is made there. The rise is that to the largest mean of
      a tenth of the measurements, and has to be .2 or more.
    """
    smooth = gaussian_filter1d(ability_SxT, SMOOTH, axis=1)
    each = [_landmarks(steps, *rows) for rows in zip(ability_SxT, smooth, strict=True)]
    return Emergence(*np.array(each, float).T)


def half_intervals(steps, ability_SxT, rng) -> np.ndarray:
    """Estimate how well the step of half of the rise is known in each seed.

    The differences between the measurements and their filtered series are drawn anew and added to
    the filtered series. The limits are approximate, and assume noise without memory.

    Args:
      steps: steps [T] of the measurements.
      ability_SxT: score of the ability of each seed.
      rng: random generator.

    Returns:
      Limits of the 90 % intervals [S, 2]; not-a-number where the ability does not emerge in one of
      ten draws or more.
    """
    smooth_SxT = gaussian_filter1d(ability_SxT, SMOOTH, axis=1)
    rest_SxT = (ability_SxT - smooth_SxT) / UNSMOOTHED
    place_RxT = rng.integers(0, len(steps), (REDRAWN, len(steps)))
    half_RxS = np.array(
        [emergence(steps, smooth_SxT + rest_SxT[:, place]).half for place in place_RxT]
    )
    known_S = np.isfinite(half_RxS).mean(0) > 1 - ONSET
    limits_2xS = np.nanquantile(half_RxS[:, known_S], INTERVAL, axis=0)
    found_Sx2 = np.full((len(known_S), 2), np.nan)
    found_Sx2[known_S] = limits_2xS.T
    return found_Sx2


def _landmarks(steps, row, smooth):
    width = max(len(row) // 10, FIRST)
    first, before = np.median(row[:FIRST]), np.median(row[:width])
    lasting = uniform_filter1d(row, width)
    best = lasting.max()
    if before - first > ONSET * (best - first):
        before = first
    gain = best - before
    if not gain >= LEAST_GAIN:
        return [np.nan] * 3
    risen, near = (smooth - before) / gain, np.argmax((lasting - before) / gain >= HALF)
    start = max(near - width // 2, 0)  # noise before does not count
    half = start + int(np.argmax(risen[start:] >= HALF))
    below = np.flatnonzero(risen[:half] < ONSET)
    onset = below[-1] + 1 if len(below) else 0
    end = half + int(np.argmax(risen[half:] >= 1 - ONSET))
    return [steps[onset], steps[half], steps[end]]


def moving_steps(signal: Signal, part: float = HALF) -> np.ndarray:
    """Find the step at which each seed's signal has made half of its largest move.

    The largest move is that between the smallest and the largest value of the smoothed series, in
    the order in which they occur. The step does not depend on when the ability emerges.

    Args:
      signal: the Signal.
      part: share of the move, half by default.

    Returns:
      Steps [S], not-a-number for a signal that moves by less than five times its noise.
    """
    found = []
    for row, smooth in zip(
        signal.values, gaussian_filter1d(signal.values, SMOOTH, axis=1), strict=True
    ):
        noise = np.median(np.abs(np.diff(row - smooth))) / 0.954  # of normal differences
        first, last = sorted((int(smooth.argmin()), int(smooth.argmax())))
        move = smooth[last] - smooth[first]
        if not abs(move) > MOVED * noise:
            found.append(np.nan)
            continue
        share = (smooth[first : last + 1] - smooth[first]) / move
        found.append(float(signal.steps[first + np.argmax(share >= part)]))
    return np.array(found)


def speed_of_seeds(loss: Signal, onset_S) -> np.ndarray | None:
    """Find a landmark of the speed of each seed before the ability emerges in any.

    Args:
      loss: Signal of the loss.
      onset_S: steps of the onset of the ability.

    Returns:
      Steps [S], interpolated, at which the loss has made half of the fall that it makes in the
      median before the first onset; None if it does not fall by more than five times its noise
      until then, or if the steps have fewer than five different values.
    """
    early = loss.steps <= np.nanmin(onset_S)
    steps, rows = loss.steps[early], past_mean(loss.values[:, early])
    if len(steps) < 2 * FIRST:
        return None
    first, last = np.median(rows[:, 0]), np.median(rows[:, -1])
    noise = np.median(np.abs(np.diff(loss.values[:, early], axis=1))) / 0.954
    if not first - last > MOVED * noise:
        return None
    found = np.array([_crossing(steps, row, (first + last) / 2) for row in rows])
    return found if len(np.unique(found[np.isfinite(found)])) >= LEAST_SPEEDS else None


def _crossing(steps, row, level):
    """Return the interpolated step at which a series first falls to a level, or not-a-number."""
    below = np.flatnonzero(row <= level)
    if not len(below):
        return np.nan
    i = below[0]
    if i == 0:
        return float(steps[0])
    share = (row[i - 1] - level) / (row[i - 1] - row[i])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def order_over_seeds(moved_S, able_S, speed_S, rng) -> tuple[float, float]:
    """Test whether seeds in which a signal moves later become able later, at equal speed.

    The statistic is the partial rank correlation of both steps, given the speed. Under the null,
    the part of the signal's ranks that the speed does not explain is exchangeable between seeds;
    its permutations are a group (Freedman and Lane 1983). A landmark of the speed that is known
    with an error leaves a part of the speed in both steps, so that a small p does not prove that
    the signal tells more than the speed does.

    Args:
      moved_S: step at which the signal moves.
      able_S: step at which the ability emerges.
      speed_S: step of a general landmark of training, or None for no correction.
      rng: random generator.

    Returns:
      (partial correlation, two-sided p); not-a-number for fewer than 6 seeds with all steps, and
      for steps that are all equal.
    """
    parts = [moved_S, able_S] + ([] if speed_S is None else [speed_S])
    known = np.isfinite(parts).all(0)
    if known.sum() < LEAST_SEEDS:
        return np.nan, np.nan
    ranks = [rankdata(part[known]) for part in parts]
    design = np.stack([np.ones(known.sum()), *ranks[2:]], 1)
    a, b = (r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks[:2])
    if min(a.std(), b.std()) < 1e-9:
        return np.nan, np.nan
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)  # their means are 0
    value = float(a @ b)
    mixed_RxS = rng.permuted(np.tile(a, (PERMUTATIONS, 1)), axis=1)
    # What the speed explains of the permuted residuals is removed again (Freedman and Lane).
    mixed_RxS = mixed_RxS - mixed_RxS @ design @ np.linalg.pinv(design)
    null = mixed_RxS @ b / np.maximum(np.linalg.norm(mixed_RxS, axis=1), 1e-12)
    reached = np.sum(np.abs(null) >= abs(value) - 1e-12)
    return value, float((1 + reached) / (1 + PERMUTATIONS))


def forecast(signals: list[Signal], able_S, until: float) -> float:
    """Score the prediction of the step of emergence from the first part of training.

    The features are the value at `until` and the slope over the second half of the time before, as
    ranks among the other seeds, so that one unusual seed does not decide. A ridge regression of ln
    step is fitted without one seed, and predicts that seed.

    Args:
      signals: signals whose features are used together.
      able_S: step of emergence; seeds in which it is not after `until` are left out.
      until: last step that the features see.

    Returns:
      Held-out R2, at most 1; not-a-number for fewer than 6 seeds, for a signal that is measured
      later only, and if the ability emerges at the same step in all seeds.
    """
    kept = np.isfinite(able_S) & (able_S > until)
    late = any(signal.steps[0] > until for signal in signals)
    if kept.sum() < LEAST_SEEDS or late or np.ptp(able_S[kept]) == 0:
        return np.nan
    columns = []
    for signal in signals:
        smooth = past_mean(signal.values[kept])
        last = max(int(np.searchsorted(signal.steps, until, side="right")) - 1, 0)
        columns += [smooth[:, last], smooth[:, last] - smooth[:, last // 2]]
    x, y = np.stack(columns, 1), np.log(able_S[kept])
    missed, plain = [], []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        ranked = _ranked(x, x[rest])
        fit = RidgeCV(PENALTIES).fit(ranked[rest], y[rest])
        missed.append(y[i] - fit.predict(ranked[i : i + 1])[0])
        plain.append(y[i] - y[rest].mean())
    return float(1 - np.square(missed).sum() / np.square(plain).sum())


def _ranked(x_SxF, among_RxF):
    """Return the share of rows that have a smaller value, from -1 to 1; ties count half."""
    return np.sign(x_SxF[:, None] - among_RxF[None]).mean(1)
