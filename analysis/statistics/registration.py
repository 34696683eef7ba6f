"""Registration of seeds that follow the same trajectory at different speeds.

The seeds of one run follow the same trajectory, each at its own speed. The difference between two
seeds at one step is then mostly a difference in progress, and it affects every measured quantity at
the same time. Registration fits each seed as a scaled and warped copy of a common trajectory
(amplitude and phase variation, Ramsay and Silverman, Functional Data Analysis, 2005, chapter 7) and
keeps the residuals. In the code, the common trajectory is called the course.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

KNOTS = 4  # knots of the logarithm of the warp, over ln t
COURSE_WINDOW, COURSE_ORDER = 9, 3  # window (measurements) and degree of the smoothing polynomials
# Standard deviation, in measurements, of the Gaussian that smooths the increments before they are
# fitted, one value per iteration. A search that starts with coarse features can align trajectories
# that are far apart.
FINE = (1.0,) * 8
COARSE_TO_FINE = (40.0, 40.0, 20.0, 20.0, 10.0, 10.0, 5.0, 2.0, *FINE[:4])
# Minimum improvement of the second search over the first: squared residuals in units of the noise,
# summed over time, mean over seeds. Smaller improvements also occur in series that only wander.
CLEARLY = 30.0
SCALE_SMOOTH = 20.0  # standard deviation of the Gaussian that smooths the size of the noise
EARLY = 50  # the knots of the warp are evenly spaced in ln(1 + EARLY t / T)
LARGEST_MOVE, LARGEST_WARP = 0.3, 1.5  # limits of a coefficient, per iteration and in total
USUAL_WARP = 0.5  # prior standard deviation of a coefficient of the warp


def without_course(level_SxT) -> np.ndarray:
    """Remove the trajectory that all seeds share, even if they follow it at different speeds.

    The model of seed s is `a_s + b_s f(t exp(w_s(t)))`, with one trajectory f for all seeds and a
    piecewise linear function w_s with `KNOTS` coefficients. The increments of the model are fitted
    to the increments of the seed. Levels are not fitted because a series that wanders could then be
    mistaken for one that is warped. Gauss-Newton steps alternate with estimates of f from the
    aligned seeds. Finally, the directions in which errors of the parameters would appear are
    projected out of the residuals. Each seed loses 1 + 2 `KNOTS` degrees of freedom.

    Args:
      level_SxT: one quantity of S seeds at T evenly spaced times, [S, T], finite.

    Returns:
      Residuals with mean zero, [S, T]. A single seed shares no trajectory, so only its mean is
      removed.
    """
    z_SxT = np.asarray(level_SxT, float)
    seeds, length = z_SxT.shape
    if seeds == 1:
        return z_SxT - z_SxT.mean()
    near, far = (_search(z_SxT, search) for search in (FINE, COARSE_TO_FINE))
    left_SxT = _refined(*(far if _size(far[0], z_SxT) < _size(near[0], z_SxT) - CLEARLY else near))
    return left_SxT - left_SxT.mean(1, keepdims=True)


def _size(left_SxT, z_SxT):
    """Compute the squared increments of residuals in units of the noise: sum over time per seed."""
    weighted = _increments(left_SxT.T, FINE[-1]).T / _noise_size(z_SxT, FINE[-1])
    return np.square(weighted).sum() / len(z_SxT)


def _search(z_SxT, search):
    """Fit the model with one iteration for each smoothing.

    Returns the residuals [S, T], the position of each seed on the trajectory [S, T], and the
    trajectory [T].
    """
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
    """Project errors of the scale and, to second order, of the warp out of the residuals."""
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
    """Return piecewise linear basis functions [T, J] over ln t that sum to one at each time."""
    u = np.log1p(EARLY * np.arange(length) / length)
    knots = np.linspace(0, 1, KNOTS)
    return np.maximum(0, 1 - np.abs(u[:, None] / u[-1] - knots) * (KNOTS - 1))


def _increments(x_T, smooth):
    return gaussian_filter1d(np.diff(x_T, axis=0), smooth, axis=0)


def _noise_size(z_SxT, smooth):
    """Return the local mean size of the increments [S, T - 1], with large ones limited."""
    size = np.abs(_increments(z_SxT.T, smooth).T)
    usual = np.minimum(size, 5 * np.median(size, 1, keepdims=True))
    typical = gaussian_filter1d(usual, SCALE_SMOOTH, axis=1)
    least = np.maximum(0.05 * size.mean(1, keepdims=True), 1e-12 * np.abs(z_SxT).max())
    return np.where(least > 0, np.maximum(typical, least), 1.0)


def _warped(t, hats_TxJ, warp_SxJ):
    return np.maximum.accumulate(t * np.exp(warp_SxJ @ hats_TxJ.T), 1)


def _course(t, at_SxT, z_SxT, scale_S):
    """Average the aligned seeds, at each point over the seeds that have reached it."""
    increasing = at_SxT + 1e-9 * t
    scaled_SxT = z_SxT / scale_S[:, None]
    aligned = np.stack([np.interp(t, a, z) for a, z in zip(increasing, scaled_SxT, strict=True)])
    # Average changes instead of levels. Seeds may lie at different levels, so a mean of levels
    # would jump at the points where a seed ends.
    reached = (t <= at_SxT[:, -1:])[:, 1:]
    changes = np.diff(aligned) * reached
    f_T = np.concatenate([[0.0], np.cumsum(changes.sum(0) / np.maximum(reached.sum(0), 1))])
    return savgol_filter(f_T, COURSE_WINDOW, COURSE_ORDER)


def _fit(columns, target, weight_T, smooth):
    """Fit increments by weighted least squares; all columns except the first have a prior at 0."""
    rows = _increments(columns, smooth) * weight_T[:, None]
    wanted = _increments(target, smooth) * weight_T
    prior = np.diag([1e-6, *[1 / USUAL_WARP] * KNOTS])
    stacked = np.concatenate([rows, prior])
    known = np.concatenate([wanted, [1e-6, *[0.0] * KNOTS]])  # scale 1 if the trajectory is flat
    return np.linalg.lstsq(stacked, known, rcond=None)[0]
