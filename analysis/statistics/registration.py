"""Registration of the courses that seeds run through at different speeds.

Seeds of one run follow the same course, each at its own speed. The difference between two seeds at
one step is then mostly the difference in progress, and it moves every measured quantity at once.
Registration fits each seed as a scaled and warped copy of a common course (amplitude and phase
variation, Ramsay and Silverman, Functional Data Analysis, 2005, chapter 7) and keeps what is left
over.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

KNOTS = 4  # of the logarithm of the warp, over ln t
COURSE_WINDOW, COURSE_ORDER = 9, 3  # measurements and degree of the local polynomials of the course
# Standard deviation of the Gaussian over the increments that are fitted, in measurements, one per
# iteration. A search that begins with coarse features finds courses that lie far apart.
FINE = (1.0,) * 8
COARSE_TO_FINE = (40.0, 40.0, 20.0, 20.0, 10.0, 10.0, 5.0, 2.0, *FINE[:4])
# How much better, in mean squared sizes of the noise summed over time, the second search has to fit
# a seed than the first; less is what it finds in series that only wander.
CLEARLY = 30.0
SCALE_SMOOTH = 20.0  # the same for the size of the noise
EARLY = 50  # the warp's knots are even in ln(1 + EARLY t / T)
LARGEST_MOVE, LARGEST_WARP = 0.3, 1.5  # of a coefficient, per iteration and in all
USUAL_WARP = 0.5  # standard deviation that a coefficient of the warp has beforehand


def without_course(level_SxT) -> np.ndarray:
    """Return what remains of each seed after the course that all seeds share, at any speed.

    The model of seed s is `a_s + b_s f(t exp(w_s(t)))` with one course f for all seeds and a
    piecewise linear w_s of `KNOTS` coefficients. Its increments are fitted to those of the seed
    (in levels, a series that wanders would pass for one that is warped) by Gauss-Newton steps that
    alternate with estimates of f from the aligned seeds. What errors of the parameters
    leave is projected out at the end. A seed loses 1 + 2 `KNOTS` degrees of freedom.

    Args:
      level_SxT: one quantity of S seeds at T even times, finite.

    Returns:
      Residuals of mean zero, [S, T]. A single seed has no course to share and loses its mean alone.
    """
    z_SxT = np.asarray(level_SxT, float)
    seeds, length = z_SxT.shape
    if seeds == 1:
        return z_SxT - z_SxT.mean()
    near, far = (_search(z_SxT, search) for search in (FINE, COARSE_TO_FINE))
    left_SxT = _refined(*(far if _size(far[0], z_SxT) < _size(near[0], z_SxT) - CLEARLY else near))
    return left_SxT - left_SxT.mean(1, keepdims=True)


def _size(left_SxT, z_SxT):
    """Squares of the residuals' increments in units of the noise, summed over time, per seed."""
    weighted = _increments(left_SxT.T, FINE[-1]).T / _noise_size(z_SxT, FINE[-1])
    return np.square(weighted).sum() / len(z_SxT)


def _search(z_SxT, search):
    """Fit with one iteration for each smoothing: residuals [S, T], where on the course each seed
    is [S, T], the course [T]."""
    seeds, length = z_SxT.shape
    t = np.arange(length, dtype=float)
    hats_TxJ = _hats(length)
    scale_S, warp_SxJ = np.ones(seeds), np.zeros((seeds, KNOTS))
    for smooth in search:
        weight_SxT = 1 / _noise_size(z_SxT, smooth)
        at_SxT = _warped(t, hats_TxJ, warp_SxJ)
        f_T = _course(t, at_SxT, z_SxT, scale_S)
        slope_T = np.gradient(f_T)
        for s, (z, at) in enumerate(zip(z_SxT, at_SxT, strict=True)):
            by_warp = scale_S[s] * (np.interp(at, t, slope_T) * at)[:, None] * hats_TxJ
            columns = np.column_stack([np.interp(at, t, f_T), by_warp])
            found = _fit(columns, z + by_warp @ warp_SxJ[s], weight_SxT[s], smooth)
            scale_S[s] = np.clip(found[0], 0.05, 20)
            move = np.clip(found[1:] - warp_SxJ[s], -LARGEST_MOVE, LARGEST_MOVE)
            warp_SxJ[s] = np.clip(warp_SxJ[s] + move, -LARGEST_WARP, LARGEST_WARP)
        warp_SxJ -= warp_SxJ.mean(0)
        scale_S /= np.exp(np.log(scale_S).mean())
    at_SxT = _warped(t, hats_TxJ, warp_SxJ)
    return z_SxT - scale_S[:, None] * np.interp(at_SxT, t, f_T), at_SxT, f_T


def _refined(left_SxT, at_SxT, f_T):
    """Residuals without what errors of the scale and, to second order, of the warp leave there."""
    t = np.arange(len(f_T), dtype=float)
    hats_TxJ, weight_SxT = _hats(len(t)), 1 / _noise_size(left_SxT, FINE[-1])
    slope_T = np.gradient(f_T)
    bend_T = np.gradient(slope_T)
    refined = np.empty_like(left_SxT)
    for s, (left, at, weight) in enumerate(zip(left_SxT, at_SxT, weight_SxT, strict=True)):
        first, second = np.interp(at, t, slope_T) * at, np.interp(at, t, bend_T) * at**2
        by_warp = [each[:, None] * hats_TxJ for each in (first, second)]
        columns = np.column_stack([np.interp(at, t, f_T), *by_warp])
        rows = _increments(columns, FINE[-1]) * weight[:, None]
        sizes = np.maximum(np.linalg.norm(rows, axis=0), 1e-30)
        wanted = _increments(left, FINE[-1]) * weight
        found = np.linalg.lstsq(rows / sizes, wanted, rcond=1e-8)[0] / sizes
        refined[s] = left - columns @ found
    return refined


def _hats(length):
    """Piecewise linear basis functions [T, J] over ln t that add up to one."""
    u = np.log1p(EARLY * np.arange(length) / length)
    knots = np.linspace(0, 1, KNOTS)
    return np.maximum(0, 1 - np.abs(u[:, None] / u[-1] - knots) * (KNOTS - 1))


def _increments(x_T, smooth):
    return gaussian_filter1d(np.diff(x_T, axis=0), smooth, axis=0)


def _noise_size(z_SxT, smooth):
    """Mean size of the increments around each time, without single large ones, [S, T - 1]."""
    size = np.abs(_increments(z_SxT.T, smooth).T)
    usual = np.minimum(size, 5 * np.median(size, 1, keepdims=True))
    typical = gaussian_filter1d(usual, SCALE_SMOOTH, axis=1)
    least = np.maximum(0.05 * size.mean(1, keepdims=True), 1e-12 * np.abs(z_SxT).max())
    return np.where(least > 0, np.maximum(typical, least), 1.0)


def _warped(t, hats_TxJ, warp_SxJ):
    return np.maximum.accumulate(t * np.exp(warp_SxJ @ hats_TxJ.T), 1)


def _course(t, at_SxT, z_SxT, scale_S):
    """Mean of the aligned seeds, over those that have reached each point of the course."""
    increasing = at_SxT + 1e-9 * t
    scaled_SxT = z_SxT / scale_S[:, None]
    aligned = np.stack([np.interp(t, a, z) for a, z in zip(increasing, scaled_SxT, strict=True)])
    # Seeds may lie at different heights: average changes, which do not jump where one seed ends.
    reached = (t <= at_SxT[:, -1:])[:, 1:]
    changes = np.diff(aligned) * reached
    f_T = np.concatenate([[0.0], np.cumsum(changes.sum(0) / np.maximum(reached.sum(0), 1))])
    return savgol_filter(f_T, COURSE_WINDOW, COURSE_ORDER)


def _fit(columns, target, weight_T, smooth):
    """Weighted least squares of increments; all columns but the first have a prior around 0."""
    rows = _increments(columns, smooth) * weight_T[:, None]
    wanted = _increments(target, smooth) * weight_T
    prior = np.diag([1e-6, *[1 / USUAL_WARP] * KNOTS])
    stacked = np.concatenate([rows, prior])
    known = np.concatenate([wanted, [1e-6, *[0.0] * KNOTS]])  # scale 1 where there is no course
    return np.linalg.lstsq(stacked, known, rcond=None)[0]
