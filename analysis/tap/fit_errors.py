"""Errors of a fitted curve: noise of the residuals, profile intervals and a test of lack of fit.

The curve is fitted by least squares in D, which needs no model of the noise. The errors need one,
because the noise of a real D(t) depends on D and on time and is correlated between successive
measurements. The standard deviation of the noise is fitted as exp(linear function of ln D, t and ln
t). The standardised residuals are fitted as an AR(1) process. Its coefficient is corrected for the
part of the noise that the fit has removed. The sandwich covariance, the threshold of the profile
intervals and the test of fit are derived from this model.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.fft import dct
from scipy.signal import lfilter

from analysis.tap.curve_models import Axis, CurveModel, Fit, derivatives, fit_curve, refit
from analysis.tap.saturation import EVIDENCE, saturation_evidence

COVERAGE = 0.95
# A key parameter counts as determined if its profile exceeds the threshold of this level. The level
# is stricter than that of the intervals. If the true model is simpler, the second component can lie
# anywhere, and the largest of several chance improvements exceeds a 95 % threshold too often.
DETERMINED = 0.999
REACH = np.log(10.0)  # both ends have to lie within a factor of 10 of the estimate
FARTHEST = np.log(1e3)  # ends that are farther away are reported as open
FIRST, GROWTH = 0.5, 1.4  # largest first offset of a profile, and ratio of successive offsets
STARTS = 3  # number of starts from which a profile is refitted before it counts as closed
SMOOTH_TERMS = 12  # number of cosines of the smoother that finds structure in the residuals
MISFIT_P = 0.01
# Structure below this share of the variance of D does not count as misfit. With thousands of
# measurements every curve model differs significantly from the data.
MISFIT_SHARE = 0.01
# Residuals above this share of the variance of D and above this correlation cannot be distinguished
# from structure.
AMBIGUOUS_SHARE, AMBIGUOUS_CORRELATION = 0.1, 0.5
DRIFT_P, DRIFT = 0.01, np.log(1.05)  # a change by less than 5 % does not count as drift
ROUNDING = 1e-6  # resolution of records in single precision, relative to the mean of D
CORRELATIONS = np.concatenate([np.linspace(-0.4, 0.9, 14), [0.93, 0.95, 0.97, 0.98, 0.99]])


class Noise(NamedTuple):
    """Noise of a series: standard deviation [T], and correlation of successive values, 0 to .99."""

    scale: np.ndarray
    correlation: float


class Errors(NamedTuple):
    """Errors of a fitted curve, and whether the data identify its parameters.

    `low` and `high` [P] are the 95 % limits of the parameters in the internal form of the model.
    They are infinite if the interval is open. `misfit` is the share of the variance of D that is
    left as structure in the residuals, and `misfit_p` is its p-value. `unidentified` lists the
    reasons why the fit is not identified. It is empty if the fit is identified.
    """

    low: np.ndarray
    high: np.ndarray
    misfit: float
    misfit_p: float
    unidentified: tuple[str, ...]


def fit_errors(model: CurveModel, axis: Axis, d: np.ndarray, fit: Fit, fixed=()) -> Errors:
    """Measure how well the data determine a fitted curve.

    Intervals of the key parameters are derived from the profile of the squared error. The parameter
    is held at a value and the others are refitted. The interval ends where the squared error has
    risen by the squared t quantile times the ratio of the sandwich variance to the nominal one
    (Pace, Salvan and Sartori 2011, https://www.jstor.org/stable/24310528). Intervals of the other
    parameters are estimate +- t standard errors. The degrees of freedom are those of the effective
    sample size.

    A fit is identified if all of these conditions hold. Its residuals contain no structure and are
    not both large and correlated. The profile of every key parameter closes on both sides, at the
    level DETERMINED and within a factor of 10. A fit to the first half of the run does not
    contradict it. If the model has a saturation level, growth without bound fits clearly worse.

    Args:
      model: family of curves.
      axis: steps and gradient integral at which D was measured.
      d: measured D, [T].
      fit: result of `curve_models.fit_curve` with the same arguments.
      fixed: names of the parameters that were not fitted.

    Returns:
      The Errors. The measured coverage of the intervals is in docs/results/validity/fits.csv.
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
    """Find key parameters that differ between a fit to the first half and a fit to the whole run.

    A curve that never saturates, such as ln t, is often fitted well by a curve that does. The
    fitted level then grows with the length of the run. A parameter that the first half does not
    determine does not count, because its error is large.

    Args:
      model: family of curves.
      axis: steps and gradient integral at which D was measured.
      d: measured D, [T].
      fit: fit to the whole run.
      fixed: names of the parameters that were not fitted.

    Returns:
      Names of the key parameters that differ by more than 5 % and by more than their errors. The
      list is empty if the first half has too few measurements for a fit.
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
    """Fit a model of the noise to residuals.

    Args:
      jacobian: derivatives of the fitted curve with respect to its parameters, [P, T]. The fit has
        removed the noise in these directions.
      residual: measured minus fitted D, [T].
      curve: fitted D, [T].
      t: steps since the first measurement, [T].

    Returns:
      The Noise.
    """
    basis = _orthonormal(jacobian.T)
    kept = np.maximum(1 - np.square(basis).sum(1), 0.05)
    floor = ROUNDING * np.abs(curve).mean()
    scale = _scale(np.square(residual) / kept + floor**2, _trends(np.log(np.abs(curve) + floor), t))
    standard = residual / scale
    correlation = _correlation(standard, _orthonormal((jacobian / scale).T))
    return Noise(scale, max(correlation, 0.0))


def covariance(jacobian, noise: Noise):
    """Compute the sandwich variances of least-squares estimates.

    Args:
      jacobian: derivatives of the curve with respect to its parameters, [P, T].
      noise: noise of the measurements.

    Returns:
      (sandwich variances [P], nominal variances [P]). Nominal variances are those for white noise
      of unit variance. If the data do not determine a parameter, its sandwich variance is infinite
      and its nominal variance is 1.
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
    """Return the number of independent values that determine a mean as well as correlated ones."""
    return len(noise.scale) * (1 - noise.correlation) / (1 + noise.correlation)


def lack_of_fit(jacobian, residual, d, t) -> tuple[float, float]:
    """Test residuals for slow structure that the noise does not explain.

    The squared projection of the residuals on slow cosines is compared with the distribution that
    noise gives. This distribution is approximated by a gamma distribution with the same mean and
    variance (Satterthwaite). The noise is estimated from the residuals without the cosines, because
    structure would otherwise be counted as noise.

    Args:
      jacobian: derivatives of the fitted curve with respect to its parameters, [P, T].
      residual: measured minus fitted D, [T].
      d: measured D, [T].
      t: steps since the first measurement, [T].

    Returns:
      (share of the variance of D that is structure beyond the noise, its p-value).
    """
    n = len(residual)
    terms = int(np.clip(n // 5, 3, SMOOTH_TERMS))
    cosines = dct(np.eye(n), norm="ortho", axis=0)[:terms]  # [K, T], including the constant
    fitted = _orthonormal(jacobian.T)
    smoother = _orthonormal(cosines.T - fitted @ (fitted.T @ cosines.T))
    both = np.concatenate([jacobian, smoother.T])
    noise = residual_noise(both, residual - smoother @ (smoother.T @ residual), d, t)
    scaled = smoother * noise.scale[:, None]
    expected = scaled.T @ _correlate(scaled, noise.correlation)
    found, mean = np.square(smoother.T @ residual).sum(), np.trace(expected)
    spread = np.square(expected).sum() / mean  # the variance of the sum is 2 tr(E^2)
    p = stats.gamma.sf(found, mean / spread / 2, scale=2 * spread)
    return float(max(found - mean, 0.0) / np.square(d - d.mean()).sum()), float(p)


def profiles(model, axis, d, fit, free, error, ratio, degrees):
    """Follow the profile of the squared error of every key parameter to both sides.

    Args:
      model: family of curves.
      axis: steps and gradient integral at which D was measured.
      d: measured D, [T].
      fit: fit of the model to `d`.
      free: booleans that say which parameters are fitted, [P].
      error: sandwich standard errors, [P].
      ratio: sandwich variances divided by the nominal variances for unit noise, [P].
      degrees: degrees of freedom of the t quantiles.

    Returns:
      Dict from (name, "below" or "above") to a pair of distances from the estimate: the distance of
      the end of the 95 % interval, and the distance at which the profile exceeds the level
      DETERMINED. A distance is infinite if the profile is open.
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
        # A better fit on the other side of a ridge counts, so refit from other starts before the
        # profile is closed.
        if high.any():
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
    """Refit each row from the starts of the model, with the same parameters held constant."""
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
    """Return the offset beyond which the profile stays above a level, or infinity if none does."""
    below = np.flatnonzero(np.asarray(heights) <= level)[-1]
    if below == len(heights) - 1:
        return np.inf
    pair = slice(below, below + 2)
    return float(np.interp(level, heights[pair], offsets[pair]))


def _orthonormal(columns):
    """Return an orthonormal basis [T, K] of the space that the columns [T, K'] span."""
    size = np.linalg.norm(columns, axis=0)
    kept = np.isfinite(size) & (size > 1e-12 * size[np.isfinite(size)].max(initial=0.0))
    u, s, _ = np.linalg.svd(columns[:, kept] / size[kept], full_matrices=False)
    return u[:, s > 1e-7 * s[0]] if len(s) else u


def _trends(log_curve, t):
    """Make the design [T, 4] of the noise: a constant, and standardised ln D, t and ln(1 + t)."""
    columns = [log_curve, t, np.log1p(t / t[1])]
    columns = [(c - c.mean()) / max(c.std(), 1e-12) for c in columns]
    return np.stack([np.ones(len(t)), *columns], 1)


def _scale(squares, design, penalty=1.0):
    """Fit standard deviations [T] as exp(linear), with a gamma likelihood of the squares.

    A ridge penalty with the weight of one observation shrinks the slopes towards 0.
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
    """Find the AR(1) coefficient that explains the lag-one correlation of residuals.

    A fit removes the slow part of the noise, so residuals are less correlated than the noise. For
    each coefficient of a grid, the expected lag-one correlation of the residuals of an AR(1)
    process is computed, with the fitted directions `basis` [T, K] removed.
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
