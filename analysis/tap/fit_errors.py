"""Errors of a fitted curve: noise of the residuals, profile intervals, lack of fit.

The curve is fitted by least squares in D, which needs no model of the noise. The errors do: real
D(t) has noise that depends on D and on time and is correlated from one measurement to the next.
Its standard deviation is fitted as exp(linear function of ln D, t and ln t), and the standardised
residuals as an AR(1) process whose coefficient is corrected for what the fit has taken out. From
this follow the sandwich covariance, the threshold of the profile intervals and the test of fit.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.fft import dct
from scipy.signal import lfilter

from analysis.tap.curve_models import Axis, CurveModel, Fit, derivatives, fit_curve, refit
from analysis.tap.saturation import EVIDENCE, saturation_evidence

COVERAGE = 0.95
# A key parameter counts as determined when the profile passes the threshold of this level. It is
# stricter than that of the intervals: under a simpler true model the second component can lie
# anywhere, and the largest of several chance improvements passes a 95 % threshold too often.
DETERMINED = 0.999
REACH = np.log(10.0)  # both ends have to lie within a factor of 10 of the estimate
FARTHEST = np.log(1e3)  # ends farther away are reported as open
FIRST, GROWTH = 0.5, 1.4  # largest first offset of a profile, and ratio of successive ones
STARTS = 3  # from which a profile is refitted before it counts as closed
SMOOTH_TERMS = 12  # cosines of the smoother that looks for structure in the residuals
MISFIT_P = 0.01
# Structure below this share of the variance of D does not count as misfit. With thousands of
# measurements every curve model differs significantly from the data.
MISFIT_SHARE = 0.01
# Residuals at least this large and correlated cannot be distinguished from structure.
AMBIGUOUS_SHARE, AMBIGUOUS_CORRELATION = 0.1, 0.5
DRIFT_P, DRIFT = 0.01, np.log(1.05)  # a change by less than 5 % does not count as drift
ROUNDING = 1e-6  # of the mean of D: the resolution of records in single precision
CORRELATIONS = np.concatenate([np.linspace(-0.4, 0.9, 14), [0.93, 0.95, 0.97, 0.98, 0.99]])


class Noise(NamedTuple):
    """Noise of a series: standard deviation [T] and correlation of neighbours, 0 to .99."""

    scale: np.ndarray
    correlation: float


class Errors(NamedTuple):
    """How well a curve is determined.

    `low` and `high` [P] are 95 % limits in the model's internal form, infinite where open;
    `misfit` is the share of the variance of D that is structure left in the residuals, and
    `misfit_p` its p-value; `unidentified` lists why the fit is not identified, empty if it is.
    """

    low: np.ndarray
    high: np.ndarray
    misfit: float
    misfit_p: float
    unidentified: tuple[str, ...]


def fit_errors(model: CurveModel, axis: Axis, d: np.ndarray, fit: Fit, fixed=()) -> Errors:
    """Measure how well data determine a fitted curve.

    Intervals of the key parameters follow the profile of the squared error: the parameter is held
    at a value, the others are refitted, and the interval ends where the squared error has risen by
    the squared t quantile times the ratio of the sandwich variance to the nominal one (Pace,
    Salvan and Sartori 2011, https://www.jstor.org/stable/24310528). Intervals of the others are
    estimate +- t standard errors. Degrees of freedom are those of the effective sample size.

    A fit is identified if its residuals hold no structure and are not both large and correlated,
    the profile of every key parameter closes on both sides, at the level DETERMINED and within a
    factor of 10, a fit to the first half of the run does not contradict it, and, of a model with a
    saturation level, growth without a bound fits clearly worse.

    Args:
      model: the family of curves.
      axis: where D was measured.
      d: measured D [T].
      fit: from `fits.fit_curve` with the same arguments.
      fixed: names of parameters that were not fitted.

    Returns:
      Errors. Coverage of the intervals in docs/results/validity/fits.csv.
    """
    free = np.array([name not in fixed for name in model.names])
    with np.errstate(all="ignore"):
        jacobian, curve = derivatives(model, axis, fit.theta, free)
        residual = d - curve
        noise = residual_noise(jacobian, residual, curve, axis.t)
        variance, nominal = covariance(jacobian, noise)
        share, p = lack_of_fit(jacobian, residual, d, axis.t)
        degrees = max(effective_size(noise) - free.sum(), 1.0)
        error = np.zeros(len(fit.theta))
        error[free] = np.sqrt(variance)
        reach = np.where(error > 0, stats.t.ppf((1 + COVERAGE) / 2, degrees) * error, 0.0)
        low, high = fit.theta - reach, fit.theta + reach
        ratio = np.ones(len(fit.theta))
        ratio[free] = variance / nominal
        left = np.square(residual).sum() / np.square(d - d.mean()).sum()
        structured = p < MISFIT_P and share > MISFIT_SHARE
        ambiguous = left > AMBIGUOUS_SHARE and noise.correlation > AMBIGUOUS_CORRELATION
        why = ["the curve does not fit"] if structured or ambiguous else []
        followed = profiles(model, axis, d, fit, free, error, ratio, degrees)
        for (name, side), (end, determined) in followed.items():
            i = model.names.index(name)
            bound, sign = (low, -1) if side == "below" else (high, 1)
            bound[i] = fit.theta[i] + sign * end
            if not determined <= REACH:
                why.append(f"{name} is open {side}")
        if "D_max" in model.key:
            size = effective_size(noise)
            if saturation_evidence(model, axis, d, fit, size) < EVIDENCE:
                why.append("growth without a bound fits about as well")
        why += [
            f"{name} depends on the length of the run"
            for name in drifting(model, axis, d, fit, fixed)
        ]
    return Errors(low, high, share, p, tuple(why))


def drifting(model: CurveModel, axis: Axis, d: np.ndarray, fit: Fit, fixed=()) -> list[str]:
    """Find key parameters that differ between a fit to the first half and one to the whole.

    A curve that never saturates, such as ln t, is often fitted well by one that does; its level
    then grows with the length of the run. A parameter that the first half leaves undetermined
    does not count.

    Args:
      model, axis, d, fit, fixed: see `fit_errors`.

    Returns:
      Names of parameters that differ by more than 5 % and beyond their errors.
    """
    n = len(d) // 2
    free = np.array([name not in fixed for name in model.names])
    if n < 3 * free.sum():
        return []
    seen = Axis(axis.t[:n], axis.g[:n], axis.t[n - 1])
    half = fit_curve(model, seen, d[:n], fixed)
    jacobian, curve = derivatives(model, seen, half.theta, free)
    noise = residual_noise(jacobian, d[:n] - curve, curve, seen.t)
    error = np.zeros(len(free))
    error[free] = np.sqrt(covariance(jacobian, noise)[0])
    degrees = max(effective_size(noise) - free.sum(), 1.0)
    found = []
    for name in model.key:
        i = model.names.index(name)
        moved = abs(half.theta[i] - fit.theta[i])
        p = 2 * stats.t.sf(moved / max(error[i], 1e-12), degrees)
        if moved > DRIFT and p < DRIFT_P:
            found.append(name)
    return found


def residual_noise(jacobian, residual, curve, t) -> Noise:
    """Fit the noise of residuals.

    Args:
      jacobian: derivatives [P, T] of the fitted curve, which the fit has taken out of the noise.
      residual: measured less fitted [T].
      curve: fitted D [T].
      t: steps [T].

    Returns:
      Noise.
    """
    basis = _orthonormal(jacobian.T)
    kept = np.maximum(1 - np.square(basis).sum(1), 0.05)
    floor = ROUNDING * np.abs(curve).mean()
    scale = _scale(np.square(residual) / kept + floor**2, _trends(np.log(np.abs(curve) + floor), t))
    standard = residual / scale
    correlation = _correlation(standard, _orthonormal((jacobian / scale).T))
    return Noise(scale, max(correlation, 0.0))


def covariance(jacobian, noise: Noise):
    """Sandwich variances of least-squares estimates.

    Args:
      jacobian: derivatives [P, T] of the curve by its parameters.
      noise: of the measurements.

    Returns:
      (variances [P], variances [P] of white noise of unit variance); infinite where the data do
      not determine a parameter.
    """
    u, s, vt = np.linalg.svd(jacobian, full_matrices=False)
    if not (np.isfinite(s).all() and s[0] > 0):
        return np.full(len(u), np.inf), np.ones(len(u))
    determined = s > 1e-9 * s[0]
    weights = (u[:, determined] / s[determined]) @ vt[determined]
    scaled = (weights * noise.scale).T
    variance = (scaled * _correlate(scaled, noise.correlation)).sum(0)
    lost = np.square(u[:, ~determined]).sum(1) > 1e-6
    return np.where(lost, np.inf, variance), np.where(lost, 1.0, np.square(weights).sum(1))


def effective_size(noise: Noise) -> float:
    """Number of independent values that determine a mean as well as the correlated ones do."""
    return len(noise.scale) * (1 - noise.correlation) / (1 + noise.correlation)


def lack_of_fit(jacobian, residual, d, t) -> tuple[float, float]:
    """Test residuals for slow structure that the noise does not explain.

    The squared projection of the residuals on slow cosines is compared with what noise gives there,
    by a gamma distribution with the same mean and variance (Satterthwaite). The noise is estimated
    from what is left without the cosines, so that structure does not pass for noise.

    Args:
      jacobian: derivatives [P, T] of the fitted curve.
      residual: measured less fitted [T].
      d: measured D [T].
      t: steps [T].

    Returns:
      (share of the variance of D that is structure beyond the noise, its p-value).
    """
    n = len(residual)
    terms = int(np.clip(n // 5, 3, SMOOTH_TERMS))
    cosines = dct(np.eye(n), norm="ortho", axis=0)[:terms]  # [K, T], the mean included
    fitted = _orthonormal(jacobian.T)
    smoother = _orthonormal(cosines.T - fitted @ (fitted.T @ cosines.T))
    both = np.concatenate([jacobian, smoother.T])
    noise = residual_noise(both, residual - smoother @ (smoother.T @ residual), d, t)
    scaled = smoother * noise.scale[:, None]
    expected = scaled.T @ _correlate(scaled, noise.correlation)
    found, mean = np.square(smoother.T @ residual).sum(), np.trace(expected)
    spread = np.square(expected).sum() / mean  # variance of the sum is 2 tr(E^2)
    p = stats.gamma.sf(found, mean / spread / 2, scale=2 * spread)
    return float(max(found - mean, 0.0) / np.square(d - d.mean()).sum()), float(p)


def profiles(model, axis, d, fit, free, error, ratio, degrees):
    """Follow the profile of the squared error of every key parameter to both sides.

    Args:
      model, axis, d, fit: see `fit_errors`.
      free: which parameters are fitted, [P] of booleans.
      error: sandwich standard errors [P].
      ratio: sandwich variances over the nominal ones of unit noise [P].
      degrees: degrees of freedom of the t quantiles.

    Returns:
      {(name, "below" or "above"): (offset from the estimate of the end of the 95 % interval,
      offset at the level DETERMINED)}, infinite where open.
    """
    inner, outer = (stats.t.ppf((1 + level) / 2, degrees) for level in (COVERAGE, DETERMINED))
    least = np.square(d - fit.curve).sum()
    rows = [(model.names.index(name), sign) for name in model.key for sign in (-1, 1)]
    index, sign = (np.array(column) for column in zip(*rows, strict=True))
    each = np.arange(len(rows))
    moves = np.tile(free, (len(rows), 1))
    moves[each, index] = False
    offset = np.clip(np.nan_to_num(0.5 * inner * error[index]), 1e-8, FIRST)
    theta = np.tile(fit.theta, (len(rows), 1))
    paths = [[(0.0, 0.0)] for _ in rows]
    active = each
    while len(active):
        theta[active, index[active]] = (fit.theta[index] + sign * offset)[active]
        theta[active], cost = refit(model, axis, d, theta[active], moves[active])
        high = np.sqrt(np.maximum(cost - least, 0.0) / ratio[index[active]]) > outer
        if high.any():  # a way around the ridge counts, so look from elsewhere before it closes
            found = _elsewhere(model, axis, d, theta[active[high]], moves[active[high]])
            better = found[1] < cost[high]
            theta[active[high][better]] = found[0][better]
            cost[high] = np.minimum(cost[high], found[1])
        height = np.sqrt(np.maximum(cost - least, 0.0) / ratio[index[active]])
        for row, value in zip(active, height, strict=True):
            paths[row].append((offset[row], value))
        active = active[(height <= outer) & (offset[active] < FARTHEST)]
        offset *= GROWTH
    sides = [(model.names[i], "below" if s < 0 else "above") for i, s in rows]
    return {
        side: tuple(_crossing(*zip(*path, strict=True), level) for level in (inner, outer))
        for side, path in zip(sides, paths, strict=True)
    }


def _elsewhere(model, axis, d, theta, moves):
    """The best refit from the model's own starts, with what is held in each row held."""
    starts = model.starts(axis, d)
    found, costs = [], []
    for row, free in zip(theta, moves, strict=True):
        tried = np.where(free, starts, row)
        curves = np.exp(np.clip(model.log_curve(tried, axis), -50, 50))
        order = np.argsort(np.nan_to_num(np.square(curves - d).sum(-1), nan=np.inf))
        found.append(tried[order[:STARTS]])
    count = len(found[0])
    found, costs = refit(model, axis, d, np.concatenate(found), np.repeat(moves, count, 0))
    costs = costs.reshape(len(theta), count)
    best = np.argmin(costs, 1)
    rows = np.arange(len(theta))
    return found.reshape(len(theta), count, -1)[rows, best], costs[rows, best]


def _crossing(offsets, heights, level):
    """The offset from which on the profile stays above a level; infinite if it does not."""
    below = np.flatnonzero(np.asarray(heights) <= level)[-1]
    if below == len(heights) - 1:
        return np.inf
    pair = slice(below, below + 2)
    return float(np.interp(level, heights[pair], offsets[pair]))


def _orthonormal(columns):
    """An orthonormal basis [T, K] of the columns [T, K'], without those that are dependent."""
    size = np.linalg.norm(columns, axis=0)
    kept = np.isfinite(size) & (size > 1e-12 * size[np.isfinite(size)].max(initial=0.0))
    u, s, _ = np.linalg.svd(columns[:, kept] / size[kept], full_matrices=False)
    return u[:, s > 1e-7 * s[0]] if len(s) else u


def _trends(log_curve, t):
    """Design [T, 4] of the noise: a constant, and standardised ln D, t and ln(1 + t)."""
    columns = [log_curve, t, np.log1p(t / t[1])]
    columns = [(c - c.mean()) / max(c.std(), 1e-12) for c in columns]
    return np.stack([np.ones(len(t)), *columns], 1)


def _scale(squares, design, penalty=1.0):
    """Standard deviations [T] as exp(linear), by the likelihood of squares that are gamma.

    The slopes are drawn to 0 by a ridge penalty worth one observation.
    """
    mean = squares.mean()
    ridge = penalty * np.diag([0.0] + [1.0] * (design.shape[1] - 1))
    slopes, normal = np.zeros(design.shape[1]), design.T @ design + ridge
    for _ in range(30):
        fitted = np.exp(np.clip(design @ slopes, -30, 30))
        gradient = design.T @ (squares / mean / fitted - 1) - ridge @ slopes
        move = np.clip(np.linalg.solve(normal, gradient), -1, 1)
        slopes += move
        if np.abs(move).max() < 1e-6:
            break
    return np.sqrt(mean * np.exp(np.clip(design @ slopes, -30, 30)))


def _correlate(x, correlation):
    """Multiply the columns of x [T, K] by the correlation matrix of an AR(1) process."""
    forward = lfilter([1.0], [1.0, -correlation], x, axis=0)
    backward = lfilter([1.0], [1.0, -correlation], x[::-1], axis=0)[::-1]
    return forward + backward - x


def _correlation(standard, basis):
    """The AR(1) coefficient that explains the lag-one correlation of residuals.

    A fit takes the slow part out of the noise, so residuals are less correlated than the noise.
    The expected lag-one correlation of residuals of an AR(1) process is computed for each
    coefficient of a grid, with the fitted directions `basis` [T, K] taken out.
    """
    power = np.square(standard).sum()
    seen = (standard[1:] * standard[:-1]).sum() / power if power > 0 else 0.0
    n, expected = len(standard), []
    for value in CORRELATIONS:
        mixed = _correlate(basis, value)
        inner = basis.T @ mixed
        crossed = (basis[:-1] * mixed[1:] + mixed[:-1] * basis[1:]).sum()
        twice = ((basis[:-1] @ inner) * basis[1:]).sum()
        expected.append(((n - 1) * value - crossed + twice) / (n - np.trace(inner)))
    return float(np.interp(seen, np.maximum.accumulate(expected), CORRELATIONS))
