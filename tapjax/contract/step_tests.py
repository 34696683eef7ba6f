"""Test of whether a change of level is a step or can be fitted as well by a smooth curve.

A window around a boundary is fitted twice by least squares. The first model is a step: two straight
lines that need not meet. Its boundary is chosen among the places in the middle of the window. The
second model is the smooth alternative: a connected chain of three straight lines whose knots are at
least `RAMP` of half a window apart. It can follow kinks, ramps, sigmoids and relaxations. A change
is a step if the two lines fit at least about as well as the chain, and if the gap between the two
lines at the boundary is large compared with the scatter in the window itself. The scatter of the
window is used so that noise that grows at the boundary is not mistaken for a change of level.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

SHIFT = 1 / 3  # maximum shift of the boundary, as a share of half a window
RAMP = 0.4  # length of the shortest ramp that counts as smooth, as a share of half a window
SLACK = 1.12  # maximum ratio of the squared residuals of the step to those of the chain
LARGEST_CORRELATION = 0.9


class Step(NamedTuple):
    """Best step in a window.

    `shift` is the distance of its boundary from the middle, in measurements. `gap` is the
    distance between the two lines at the boundary. `level` is the difference between the means of
    the two sides. `gap_score` and `level_score` are their sizes in standard errors. `smooth` is
    True if the chain of lines fits better.
    """

    shift: int
    gap: float
    level: float
    gap_score: float
    level_score: float
    smooth: bool


def fit(window, error: float) -> Step:
    """Fit a step and its smooth alternative to a window.

    Args:
      window: measurements around a boundary; their number is even and at least 16.
      error: smallest standard deviation that is assumed for one measurement, in the unit of the
        measurements.

    Returns:
      The best Step. The standard errors are computed from the scatter of each side. They are
      increased if neighbouring residuals are positively correlated.
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
    # There is no gap if the lines cross between the two measurements next to the boundary.
    before, after = _gaps(lines[best], shift)
    gap = min(before, after, key=abs) if before * after > 0 else 0.0
    level = float(y[half + shift :].mean() - y[: half + shift].mean())
    scale = standard_error if standard_error > 0 else np.inf
    return Step(
        shift,
        gap,
        level,
        # The standard error at the end of a fitted line is twice that of a mean.
        abs(gap) / (2 * scale),
        abs(level) / scale,
        squares + least > SLACK * (chain + least),
    )


def _gaps(lines, shift):
    """Return the distance of the lines at the last place before and the first after a boundary."""
    left_at, left_slope, right_at, right_slope = lines
    places = (shift - 1, shift)
    return [float(right_at - left_at + (right_slope - left_slope) * place) for place in places]


@cache
def _lines(half):
    """Return designs [shift, 2 * half, 4] of two lines with a boundary, and their solvers."""
    place, farthest = np.arange(-half, half), int(SHIFT * half)
    designs = []
    for shift in range(-farthest, farthest + 1):
        left, right = place < shift, place >= shift
        designs.append(np.stack([left, left * place, right, right * place], 1).astype(float))
    return np.stack(designs), np.linalg.pinv(np.stack(designs))


@cache
def _chains(half):
    """Return orthonormal bases [knots, 4, 2 * half] of the connected chains of three lines."""
    place, one = np.arange(-half, half) / half, np.ones(2 * half)
    knots = range(2 - half, half - 1)
    designs = [
        np.stack([one, place, (place - a / half).clip(0), (place - b / half).clip(0)], 1)
        for a in knots
        for b in knots
        if b - a >= RAMP * half
    ]
    return np.linalg.qr(np.stack(designs))[0].transpose(0, 2, 1)
