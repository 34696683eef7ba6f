"""Detector of jumps in a measured series: abrupt changes of level.

It distinguishes jumps from drift, noise and wandering (slow random movement, as in a random walk).
The detector first selects candidates and then confirms them.

The first statistic selects candidates. At a boundary between two measurements, it is the mean of
the next `WINDOW` measurements minus the mean of the last `WINDOW` measurements. It is compared with
its own past. The median of the past is subtracted, so that drift and slow curvature cancel. The
result is divided by a scale: the larger of the robust spread of the past and the spread that white
noise with increments of the same size would give. The ratio of the first spread to the second
measures how much the series wanders: it is 1 for white noise and about 16 for a random walk. A
higher ratio raises the thresholds. A candidate must exceed two thresholds: one over the window,
and one over `NEAR` measurements at its boundary, where a smooth change is small.

The first statistic can miss a break in a series that moves fast but smoothly, because the spread of
the past is large there. A second statistic selects such breaks. It is the change of the median of
`NEAR` measurements, minus the mean of the same change `2 * NEAR` measurements before and after. It
is zero for any straight or slightly curved line.

A candidate is confirmed in a window around its boundary (see step_tests.py). Two lines with a gap
must fit there at least about as well as a connected chain of lines, and the gap must be large
compared with the present scatter on both sides, whatever the past was like. A second, shorter
window is used for jumps after which the level continues to move.

The decision about a candidate boundary uses the past and at most the next `DELAY` measurements, and
it is final. Detection during training and a later analysis of the same run therefore give the same
list.
"""

from typing import NamedTuple

import numpy as np

from tapjax.contract import step_tests

WINDOW = 20
NEAR = 5
HISTORY = 100  # number of past boundaries that a score is compared with
LEAST_HISTORY = 30
THRESHOLD, NEAR_THRESHOLD = 5.2, 2.6
WHITE = 1.7  # largest ratio of the two scales at which a series counts as white noise
WANDERING = 0.6  # thresholds are multiplied by (ratio / WHITE) to this power above that ratio
SHARPNESS = 0.5  # smallest share of the change that has to happen at the boundary
BREAK = 5.5  # threshold of the second statistic, in robust standard deviations
HALF, GAP = 25, 2.8  # half the window of confirmation; threshold of the gap in standard errors
SHARE = 0.65  # smallest share of the change of level that the gap must have in that window
HALF_CLOSE, GAP_CLOSE, SHARE_CLOSE = 8, 4.0, 0.25  # the same three values for the shorter window
REFRACTORY = 2 * WINDOW
DELAY = WINDOW + WINDOW // 2 + HALF  # farthest boundary that is examined, plus half its window
LEAST_LENGTH = 3 * NEAR + WINDOW + LEAST_HISTORY + DELAY  # measurements needed for one boundary
MEMORY = 4 * WINDOW + HISTORY  # number of measurements before a boundary that affect its score
PRECISION = 2e-6  # relative error of a measurement; smaller changes are ignored
LARGE_COUNT = 5  # in a series of counts that reaches this value, a change by 1 is not a jump
MAD_TO_SD = 1.4826
# False positives per 1000 measurements on the worst of the null series (detector_validity.py),
# over the seeds of docs/results/tap/detector. A test compares the numbers with the table there.
FALSE_PER_1000, WORST_NULL, NULLS = 0.4, "AR(1) .9, noise x3", 83
MEAN = "mean"  # layer name that represents D, the mean over the hidden layers


class Jump(NamedTuple):
    """One abrupt change of level.

    `index` is the index of the first measurement after the change and `step` its training step.
    `size` is the gap between the lines before and after the change, in the unit of the series.
    `score` is the smallest ratio of a test statistic of the change to its threshold, at least 1.
    """

    index: int
    step: int
    size: float
    score: float


def detect(series_T, steps_T) -> list[Jump]:
    """Find the jumps of one series.

    Args:
      series_T: finite measurements [T].
      steps_T: training step of each measurement [T].

    Returns:
      The jumps in order of time. If measurements are appended to the series, the list of jumps
      found so far stays the beginning of the new list.

    Raises:
      ValueError: if the series has values that are not finite, or if its length differs from that
        of the steps.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> series = 0.1 * rng.standard_normal(300) + 2.0 * (np.arange(300) >= 170)
      >>> [jump.step for jump in detect(series, 5 * np.arange(300))]
      [850]
    """
    return detect_each(np.asarray(series_T)[None], steps_T)[0]


def detect_each(series_NxT, steps_T) -> list[list[Jump]]:
    """Find the jumps of each of several series.

    Args:
      series_NxT: finite measurements of N series [N, T].
      steps_T: training step of each measurement [T].

    Returns:
      One list of jumps per series.

    Raises:
      ValueError: see `detect`.
    """
    return search(series_NxT, steps_T, np.zeros(len(series_NxT), int))[0]


def search(series_NxT, steps_T, from_N) -> tuple[list[list[Jump]], np.ndarray]:
    """Find the jumps from a given measurement on.

    With this function, a growing series is searched in parts and each part only once.

    Args:
      series_NxT: finite measurements so far of N series [N, T].
      steps_T: training step of each measurement [T].
      from_N: index at which the search of each series starts [N]; zeros in the first search.

    Returns:
      (one list of jumps per series, index [N] at which the next search has to start).

    Raises:
      ValueError: see `detect`.
    """
    x_NxT = np.asarray(series_NxT, float)
    from_N = np.asarray(from_N, int)
    if x_NxT.shape[1] != len(steps_T):
        raise ValueError(f"{x_NxT.shape[1]} measurements and {len(steps_T)} steps")
    if not np.isfinite(x_NxT).all():
        raise ValueError("the series has values that are not finite")
    if not len(x_NxT) or x_NxT.shape[1] < LEAST_LENGTH:
        return [[] for _ in x_NxT], from_N
    # Earlier measurements do not affect any score that is still needed.
    forgotten = max(int(from_N.min()) - MEMORY, 0)
    recent_NxT, recent_steps = x_NxT[:, forgotten:], steps_T[forgotten:]
    first = from_N.min() - WINDOW - forgotten
    wide, near = (_judge(recent_NxT, width, first) for width in (WINDOW, NEAR))
    breaks = _breaks(recent_NxT, first)
    found, go_on = [], []
    for i, start in enumerate(from_N - forgotten):
        of_series = ([part[i] for part in parts] for parts in (wide, near, breaks))
        jumps, end = _scan(recent_NxT[i], *of_series, recent_steps, start)
        found.append([jump._replace(index=jump.index + forgotten) for jump in jumps])
        go_on.append(end + forgotten)
    return found, np.array(go_on)


def search_finite(series_NxT, steps_T, from_N) -> tuple[list[list[Jump]], np.ndarray]:
    """Apply `search` to each series up to its first value that is not finite.

    Args:
      series_NxT: measurements so far of N series [N, T].
      steps_T: training step of each measurement [T].
      from_N: index at which the search of each series starts [N]; zeros in the first search.

    Returns:
      See `search`.
    """
    x_NxT, from_N = np.asarray(series_NxT, float), np.asarray(from_N, int)
    broken_NxT = ~np.isfinite(x_NxT)
    end_N = np.where(broken_NxT.any(1), broken_NxT.argmax(1), x_NxT.shape[1])
    found, go_on_N = [[] for _ in x_NxT], from_N.copy()
    for end in np.unique(end_N):
        rows = np.flatnonzero(end_N == end)
        jumps, go_on_N[rows] = search(x_NxT[rows, :end], steps_T[:end], from_N[rows])
        for row, of_row in zip(rows, jumps, strict=True):
            found[row] = of_row
    return found, go_on_N


def by_chance(measurements: int) -> str:
    """Describe how many false jumps are expected.

    Args:
      measurements: number of measurements searched, over all series.

    Returns:
      A sentence with the expected number. It names the null series on which the rate was measured.
    """
    return (
        f"On the worst of {NULLS} kinds of series without a jump ({WORST_NULL}; the others are "
        "steady, changing and heavy-tailed noise, random walks, kinks, sines, ramps, relaxations "
        f"and counts) the detector finds {FALSE_PER_1000:g} per 1000 measurements, which would be "
        f"{FALSE_PER_1000 * measurements / 1000:.1f} here."
    )


def strongest(found: list[dict], most: int, window: int) -> list[list[dict]]:
    """Group the jumps of several layers and seeds into a few critical steps of training.

    Args:
      found: jumps, each with `step` and `score`.
      most: maximum number of groups.
      window: maximum distance, in steps, between a jump and the strongest jump of its group.

    Returns:
      The groups in order of decreasing strength. The first jump of a group is its strongest.
    """
    groups = []
    for jump in sorted(found, key=lambda jump: -jump["score"]):
        near = [g for g in groups if abs(g[0]["step"] - jump["step"]) <= window]
        if near:
            near[0].append(jump)
        else:
            groups.append([jump])
    return groups[:most]


def _judge(x_NxT, width, first):
    """Return the change of level, its excess over the past, its robust score and the wandering."""
    n, t = x_NxT.shape
    total = np.concatenate([np.zeros((n, 1)), np.cumsum(x_NxT, 1)], 1)
    change = np.zeros((n, t + 1))
    inner = np.arange(width, t - width + 1)
    change[:, inner] = (
        total[:, inner + width] - 2 * total[:, inner] + total[:, inner - width]
    ) / width
    beyond, score, wandering = np.zeros((n, t + 1)), np.zeros((n, t + 1)), np.ones((n, t + 1))
    increments = np.abs(np.diff(x_NxT))
    for boundary in inner[inner >= max(width + WINDOW + LEAST_HISTORY, first)]:
        end = boundary - WINDOW  # so that a jump is not compared with itself
        start = max(end - HISTORY, 0)
        past = change[:, max(start, width) : end]
        centre = np.median(past, 1)
        spread = MAD_TO_SD * np.median(np.abs(past - centre[:, None]), 1)
        white = MAD_TO_SD * np.median(increments[:, start : end - 1], 1) / np.sqrt(width)
        least = _least(x_NxT[:, start : boundary + width], white)
        scale = np.maximum.reduce([spread, white, least])
        beyond[:, boundary] = change[:, boundary] - centre
        score[:, boundary] = beyond[:, boundary] / np.where(scale > 0, scale, np.inf)
        wandering[:, boundary] = scale / np.maximum(white, np.where(least > 0, least, 1.0))
    return change, beyond, score, wandering


def _breaks(x_NxT, first):
    """Return the change of level beyond the trend around it, and its robust score."""
    n, t = x_NxT.shape
    level = np.median(np.lib.stride_tricks.sliding_window_view(x_NxT, NEAR, axis=1), 2)
    near = np.zeros((n, t + 1))
    near[:, NEAR : t - NEAR + 1] = level[:, NEAR:] - level[:, :-NEAR]
    change, score = np.zeros((n, t + 1)), np.zeros((n, t + 1))
    inner = np.arange(3 * NEAR, t - 3 * NEAR + 1)
    change[:, inner] = near[:, inner] - (near[:, inner - 2 * NEAR] + near[:, inner + 2 * NEAR]) / 2
    increments = np.abs(np.diff(x_NxT, prepend=x_NxT[:, :1]))
    for boundary in inner[inner >= max(3 * NEAR + WINDOW + LEAST_HISTORY, first)]:
        end = boundary - WINDOW
        start = max(end - HISTORY, 3 * NEAR)
        spread = MAD_TO_SD * np.median(np.abs(change[:, start:end]), 1)
        white = MAD_TO_SD * np.median(increments[:, start:end], 1) / np.sqrt(NEAR)
        least = _least(x_NxT[:, start : boundary + NEAR], white)
        scale = np.maximum.reduce([spread, white, least])
        # A break happens between one measurement and the next.
        abrupt = increments[:, boundary] >= SHARPNESS * np.abs(change[:, boundary])
        score[:, boundary] = abrupt * change[:, boundary] / np.where(scale > 0, scale, np.inf)
    return change, score


def _least(x_NxT, white_N):
    """Return the measurement error, or half a unit for a nearly constant series of counts."""
    least_N = PRECISION * np.abs(x_NxT).max(1)
    still = np.flatnonzero(white_N <= least_N)
    if len(still):
        least_N[still] = np.maximum(least_N[still], _unit(x_NxT[still], least_N[still]) / 2)
    return least_N


def _unit(x_NxT, error_N):
    """Return the unit of series of counts, and 0 for other series.

    The unit of whole numbers is 1. If all values of a series are multiples of its smallest change,
    as for a mean of counts, that change is the unit. A single change from one constant level to
    another is not evidence of a unit, unless it is a small part of a large whole number.
    """
    moves = np.abs(np.diff(x_NxT))
    real = moves > error_N[:, None]
    several, exact = real.sum(1) > 1, (moves == 0).any(1)
    smallest_N = np.where(real, moves, np.inf).min(1, initial=np.inf)
    smallest_N = np.where(np.isfinite(smallest_N), smallest_N, 1.0)
    large = np.abs(x_NxT).max(1) >= LARGE_COUNT
    ones = (several | large) & _multiples(x_NxT, np.ones(len(x_NxT)), error_N)
    others = several & _multiples(x_NxT, smallest_N, error_N)
    return exact * np.where(ones, 1.0, np.where(others, smallest_N, 0.0))


def _multiples(x_NxT, unit_N, error_N):
    units_NxT = x_NxT / unit_N[:, None]
    return np.abs(units_NxT - np.round(units_NxT)).max(1) * unit_N <= error_N


def _scan(x_T, wide, near, breaks, steps_T, boundary):
    """Return the jumps of one series from a boundary on, and where the next search starts."""
    _, beyond, score, wandering = wide
    break_change, break_score = breaks
    raised = np.maximum(wandering / WHITE, 1) ** WANDERING
    excess, broken = np.abs(score) / (THRESHOLD * raised), np.abs(break_score) / BREAK
    noticed = np.maximum(excess, broken) >= 1
    last = len(steps_T) - DELAY
    found = []
    while noticed[boundary : last + 1].any():
        first = boundary + int(np.argmax(noticed[boundary : last + 1]))
        peak = first + int(np.argmax(broken[first : first + WINDOW]))
        jump = _confirm(x_T, peak, break_change[peak], broken[peak], 1.0)
        if not jump:
            peak = first + int(np.argmax(excess[first : first + WINDOW]))
            at, sharpness = _sharpest(near, peak, beyond[peak])
            strength = min(excess[peak], sharpness / raised[peak])
            jump = _confirm(x_T, at, beyond[peak], strength, raised[peak])
        if jump:
            found.append(jump._replace(step=int(steps_T[jump.index])))
        boundary = peak + REFRACTORY
    return found, max(boundary, last + 1)


def _sharpest(near, peak, change):
    """Return the place near a peak where a change is sharpest, and its score over the threshold."""
    near_change, _, near_score, _ = near
    sign = np.sign(change)
    around = slice(peak - WINDOW // 2, peak + WINDOW // 2 + 1)
    at = around.start + int(np.argmax(sign * near_score[around]))
    sharp = sign * near_change[at] >= SHARPNESS * abs(change)
    return at, sharp * sign * near_score[at] / NEAR_THRESHOLD


def _confirm(x_T, at, change, strength, raised):
    """Return the jump near a boundary if a step explains the change there, else None.

    The training step of the jump is set to 0, and the caller replaces it.
    """
    if strength < 1:
        return None
    # After many jumps the level continues to move, faster than before. The shorter window contains
    # less of that movement.
    for half, gap, share in ((HALF, GAP, SHARE), (HALF_CLOSE, GAP_CLOSE, SHARE_CLOSE)):
        window_T = x_T[at - half : at + half]
        step = step_tests.fit(window_T, _least(window_T[None], np.zeros(1))[0])
        stands_out = min(step.gap_score / gap, step.level_score / THRESHOLD) / raised
        # At a kink or a ramp, the gap is a small part of the change or has the opposite sign.
        whole = abs(change) if half == HALF else abs(step.level)
        one_way = step.gap * change > 0 and step.gap * step.level > 0
        if not step.smooth and one_way and abs(step.gap) >= share * whole and stands_out >= 1:
            return Jump(int(at + step.shift), 0, step.gap, float(min(strength, stands_out)))
    return None
