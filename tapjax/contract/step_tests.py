"""Is a change of level a step, or would a smooth curve do as well?

A window around a boundary is fitted twice by least squares. The step: two straight lines that
need not meet, with the boundary at the best of the middle places. The smooth alternative: a
connected chain of three straight lines whose knots are at least `RAMP` of half a window apart,
which follows kinks, ramps, sigmoids and relaxations. A step fits at least about as well as the
chain, and its gap, the distance of the two lines at the boundary, stands out of the scatter of
the window itself, so that noise that grows at the boundary is not taken for a change of level.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

SHIFT = 1 / 3  # of half a window: the boundary is moved by at most so much
RAMP = 0.4  # of half a window: shortest ramp that counts as smooth
SLACK = 1.12  # how much larger the squared residuals of the step may be than those of the chain
LARGEST_CORRELATION = 0.9


class Step(NamedTuple):
    """The best step in a window.

    `shift` of its boundary from the middle; `gap`, the distance of the lines there, and `level`,
    the difference of the means of both sides, each also in standard errors (`gap_score`,
    `level_score`); `smooth`, whether the chain of lines fits better.
    """

    shift: int
    gap: float
    level: float
    gap_score: float
    level_score: float
    smooth: bool


def fit(window, error: float) -> Step:
    """Fit a step and its smooth alternative.

    Args:
      window: an even number of measurements around a boundary, at least 16.
      error: standard deviation of one measurement that is assumed at least.

    Returns:
      The best Step. Standard errors are of each side's own scatter, raised where neighbouring
      residuals are alike.
    """
    y = np.asarray(window, float) - np.mean(window)
    half = len(y) // 2
    designs, solvers = _lines(half)
    lines = solvers @ y  # [shift, (intercept, slope) of the left and of the right line]
    residuals = y - (designs @ lines[:, :, None])[:, :, 0]
    best = int(np.argmin((residuals**2).sum(1)))
    shift, residual = best - len(designs) // 2, residuals[best]
    left, right = residual[: half + shift], residual[half + shift :]
    least = len(y) * error**2
    chain = max(float((y**2).sum() - ((_chains(half) @ y) ** 2).sum(1).max()), 0.0)
    squares = float((residual**2).sum())
    variance = sum((side @ side / (len(side) - 2) + error**2) / len(side) for side in (left, right))
    repeats = (left[1:] @ left[:-1] + right[1:] @ right[:-1]) / squares if squares > 0 else 0.0
    repeats = min(max(repeats, 0.0), LARGEST_CORRELATION)
    standard_error = np.sqrt(variance * (1 + repeats) / (1 - repeats))
    # Lines that cross between the last measurement before and the first one after have no gap.
    before, after = _gaps(lines[best], shift)
    gap = min(before, after, key=abs) if before * after > 0 else 0.0
    level = float(y[half + shift :].mean() - y[: half + shift].mean())
    scale = standard_error if standard_error > 0 else np.inf
    return Step(
        shift,
        gap,
        level,
        abs(gap) / (2 * scale),  # the end of a fitted line varies twice as much as a mean
        abs(level) / scale,
        squares + least > SLACK * (chain + least),
    )


def _gaps(lines, shift):
    """Distance of the two lines at the last place before the boundary and the first after it."""
    left_at, left_slope, right_at, right_slope = lines
    places = (shift - 1, shift)
    return [float(right_at - left_at + (right_slope - left_slope) * place) for place in places]


@cache
def _lines(half):
    """Designs [shift, 2 * half, 4] of two lines that part at a boundary, and their solvers."""
    place, farthest = np.arange(-half, half), int(SHIFT * half)
    designs = []
    for shift in range(-farthest, farthest + 1):
        left, right = place < shift, place >= shift
        designs.append(np.stack([left, left * place, right, right * place], 1).astype(float))
    return np.stack(designs), np.linalg.pinv(np.stack(designs))


@cache
def _chains(half):
    """Orthonormal bases [knots, 4, 2 * half] of the connected chains of three lines."""
    place, one = np.arange(-half, half) / half, np.ones(2 * half)
    knots = range(2 - half, half - 1)
    designs = [
        np.stack([one, place, (place - a / half).clip(0), (place - b / half).clip(0)], 1)
        for a in knots
        for b in knots
        if b - a >= RAMP * half
    ]
    return np.linalg.qr(np.stack(designs))[0].transpose(0, 2, 1)
