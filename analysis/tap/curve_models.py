"""Curve models of D(t), and their fit to whole trajectories.

A fit minimises the squared distance between a whole simulated curve and the measured one, from
many starting points at once. A regression of increments would fit measurement noise instead.
Parameters that must be positive are estimated as logarithms.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

ITERATIONS = 80
REFIT_ITERATIONS, REFIT_GAIN = 25, 1e-5


class Axis(NamedTuple):
    """Points at which a curve is evaluated.

    `t` holds the steps since the first measurement and `g` the integral of |grad L|. Both are [T]
    and start at 0. `span` is the number of steps in the part of the run that is fitted.
    """

    t: np.ndarray
    g: np.ndarray
    span: float


class CurveModel(NamedTuple):
    """Family of curves with P parameters.

    `names` holds the names of the parameters, and `positive` says which of them are stored as
    logarithms. `log_curve(theta [..., P], axis)` returns ln D [..., T]. `starts(axis, d [T])`
    returns N starting points theta [N, P]. `key` holds the names of the parameters that the data
    must determine for the fit to count as identified.
    """

    names: tuple[str, ...]
    positive: tuple[bool, ...]
    log_curve: Callable
    starts: Callable
    key: tuple[str, ...]


class Fit(NamedTuple):
    """Fitted curve: parameters [P] in the internal form of the model, and simulated D [T]."""

    theta: np.ndarray
    curve: np.ndarray


# --- The models ---


def tap_curve(theta, axis):
    """Compute the closed form of TAP, D' = alpha |grad L| D (1 - D / D_max).

    The difference equation D(t+1) = D(t) + alpha |grad L| D (1 - D / D_max) is the Euler scheme of
    this equation with a step of 1. The two differ by the order of alpha |grad L| per step.

    Args:
      theta: ln D0, ln alpha and ln D_max, [..., 3].
      axis: points at which the curve is evaluated.

    Returns:
      ln D, [..., T].
    """
    log_d0, log_alpha, log_max = (theta[..., i, None] for i in range(3))
    # ln D = ln D_max - ln(1 + (D_max / D0 - 1) e^(-alpha g)), in a form that is exact near
    # D0 = D_max.
    decay = np.exp(-np.exp(log_alpha) * axis.g)
    return log_max - np.log(decay * np.exp(log_max - log_d0) + (1 - decay))


def tap_compression_curve(theta, axis):
    """Compute TAP with compression, D' = D (alpha |grad L| (1 - D / D_max) - beta e^(-t / tau)).

    This is a Bernoulli equation: 1/D is the solution of a linear equation. Its integral over each
    interval is computed by the trapezoid rule in logarithms.

    Args:
      theta: ln D0, ln alpha, ln D_max, ln beta and ln tau, [..., 5].
      axis: points at which the curve is evaluated.

    Returns:
      ln D, [..., T].
    """
    log_d0, log_alpha, log_max, log_beta, log_tau = (theta[..., i, None] for i in range(5))
    tau = np.exp(log_tau)
    growth = np.exp(log_alpha) * axis.g - np.exp(log_beta) * tau * -np.expm1(-axis.t / tau)
    width = np.maximum(np.diff(axis.g), 1e-30)
    cells = np.log(0.5 * width) + np.logaddexp(growth[..., :-1], growth[..., 1:])
    integral = np.logaddexp.accumulate(cells, -1)
    inverse = np.logaddexp(-log_d0, log_alpha - log_max + integral)
    inverse = np.concatenate([np.broadcast_to(-log_d0, (*inverse.shape[:-1], 1)), inverse], -1)
    return growth - inverse


def two_phase_curve(theta, axis):
    """Compute ln D as two exponentials: l_end + (l_0 - l_end - c) e^(-t / tau1) + c e^(-t / tau2).

    Args:
      theta: l_0, l_end, c, ln tau1 and ln tau2, [..., 5].
      axis: points at which the curve is evaluated.

    Returns:
      ln D, [..., T].
    """
    start, end, slow, log_tau1, log_tau2 = (theta[..., i, None] for i in range(5))
    fast_part = np.exp(-axis.t * np.exp(-log_tau1))
    slow_part = np.exp(-axis.t * np.exp(-log_tau2))
    return end + (start - end - slow) * fast_part + slow * slow_part


def two_phase_saturating_curve(theta, axis):
    """Compute ln D as a fast collapse followed by a power-law recovery.

    The formula is ln D = l_0 - A (1 - e^(-t / tau1)) + B (1 - (1 + t / tau2)^-q).

    Args:
      theta: l_0, A, B, ln tau1, ln tau2 and ln q, [..., 6].
      axis: points at which the curve is evaluated.

    Returns:
      ln D, [..., T].
    """
    start, fall, rise, log_tau1, log_tau2, log_q = (theta[..., i, None] for i in range(6))
    collapse = -np.expm1(-axis.t * np.exp(-log_tau1))
    recovery = -np.expm1(-np.exp(log_q) * np.log1p(axis.t * np.exp(-log_tau2)))
    return start - fall * collapse + rise * recovery


def logistic_curve(theta, axis):
    """Compute the logistic function of time that an earlier version of the system used.

    The formula is D_max / (1 + e^(-a (u - u0))) with u = t / span. The bounds of the parameters
    are built in: D_max is 1 to 2 times the largest D, a is .1 to 50, and u0 is 0 to 1.

    Args:
      theta: logits of the positions of D_max, a and u0 between their bounds, and the logarithm of
        the largest D, [..., 4].
      axis: points at which the curve is evaluated.

    Returns:
      ln D, [..., T].
    """
    top, rate, middle, log_peak = (theta[..., i, None] for i in range(4))
    u = axis.t / axis.span
    rate = 0.1 + 49.9 * _sigmoid(rate)
    return log_peak + np.log1p(_sigmoid(top)) - np.logaddexp(0, -rate * (u - _sigmoid(middle)))


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _grid(*axes):
    return np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], -1)


def _tap_starts(axis, d):
    rates = np.log(np.array([0.3, 3.0, 30.0, 300.0]) / max(axis.g[-1], 1e-12))
    low, high = np.log(max(d.min(), 1e-6)), np.log(d.max())
    return _grid([np.log(d[0]), low], rates, [high, np.log(d[-len(d) // 5 :].mean())])


def _tap_compression_starts(axis, d):
    rates = np.log(np.array([1.0, 5.0, 30.0]) / max(axis.g[-1], 1e-12))
    taus = np.array([0.005, 0.02, 0.1]) * axis.span
    depth = np.log(max(d[0] / d.min(), 1.05))
    grid = _grid([np.log(d[0])], rates, np.log(d.max()) + np.array([0.0, 0.7]), [0.0], np.log(taus))
    grid[:, 3] = np.log(depth) - grid[:, 4]
    # Plain TAP is the limit of no compression, so its starts are added with faint compression.
    plain = _tap_starts(axis, d)
    faint = np.tile([np.log(0.01 / taus[1]), np.log(taus[1])], (len(plain), 1))
    return np.concatenate([grid, np.concatenate([plain, faint], -1)])


def _linear_starts(axis, d, columns, grid):
    """Combine nonlinear parameters on a grid with the linear parameters that fit ln D best."""
    rows = []
    for shape in grid:
        design = columns(shape)
        linear, *_ = np.linalg.lstsq(design, np.log(d), rcond=None)
        rows.append(np.concatenate([linear, shape]))
    return np.array(rows)


def _two_phase_starts(axis, d):
    def columns(logs):
        fast, slow = (np.exp(-axis.t * np.exp(-tau)) for tau in logs)
        return np.stack([fast, 1 - fast, slow - fast], -1)

    taus = np.log(axis.span * np.array([0.003, 0.01, 0.03, 0.1, 0.3, 1.0]))
    grid = np.array([(a, b) for i, a in enumerate(taus) for b in taus[i + 1 :]])
    return _linear_starts(axis, d, columns, grid)


def _saturating_starts(axis, d):
    def columns(logs):
        fast = -np.expm1(-axis.t * np.exp(-logs[0]))
        slow = -np.expm1(-np.exp(logs[2]) * np.log1p(axis.t * np.exp(-logs[1])))
        return np.stack([np.ones_like(fast), -fast, slow], -1)

    taus = np.log(axis.span * np.array([0.003, 0.01, 0.03, 0.1]))
    grid = _grid(taus, np.log(axis.span * np.array([0.01, 0.1, 0.5])), np.log([0.3, 1.0, 3.0]))
    return _linear_starts(axis, d, columns, grid)


def _logistic_starts(axis, d):
    # The earlier system used this single start: D_max = 1.2 max D, a = 5, u0 = .5.
    return np.array([[np.log(0.2 / 0.8), np.log(4.9 / 45), 0.0, np.log(d.max())]])


MODELS = {
    "tap": CurveModel(
        ("D0", "alpha", "D_max"), (True,) * 3, tap_curve, _tap_starts, ("alpha", "D_max")
    ),
    "tap_compression": CurveModel(
        ("D0", "alpha", "D_max", "beta", "tau"),
        (True,) * 5,
        tap_compression_curve,
        _tap_compression_starts,
        ("alpha", "D_max"),
    ),
    "two_phase": CurveModel(
        ("ln_D0", "ln_D_end", "c", "tau1", "tau2"),
        (False, False, False, True, True),
        two_phase_curve,
        _two_phase_starts,
        ("tau1", "tau2"),
    ),
    "two_phase_saturating": CurveModel(
        ("ln_D0", "A", "B", "tau1", "tau2", "q"),
        (False, False, False, True, True, True),
        two_phase_saturating_curve,
        _saturating_starts,
        ("tau1", "tau2"),
    ),
    "logistic": CurveModel(
        ("logit_D_max", "logit_rate", "logit_u0", "ln_peak"),
        (False,) * 4,
        logistic_curve,
        _logistic_starts,
        ("logit_rate", "logit_u0"),
    ),
}
FIXED = {"logistic": ("ln_peak",)}  # parameters that keep their start value and are not fitted


# --- The fit ---


def fit_curve(model: CurveModel, axis: Axis, d: np.ndarray, fixed=()) -> Fit:
    """Fit a curve by least squares over the whole trajectory, from all starts of the model at once.

    The method is Levenberg-Marquardt with numerical derivatives, batched over starts. The squared
    errors are those of D, not of ln D. This choice was tested on 100 draws of each of seven kinds
    of noise. Sandwich intervals from D and from ln D had similar coverage (tap .95 to 1 and .90 to
    1; tau1 of two_phase .87 to .95 and .86 to .97). Errors from ln D were larger unless the noise
    was proportional to D.

    Args:
      model: family of curves.
      axis: steps and gradient integral at which D was measured.
      d: measured D, [T], positive.
      fixed: names of the parameters that keep their start value.

    Returns:
      The best Fit. `fit_errors.fit_errors` computes how well the data determine it.
    """
    free = np.array([name not in fixed for name in model.names])
    theta = model.starts(axis, d)
    with np.errstate(all="ignore"):
        for count, iterations in ((6, 12), (2, ITERATIONS)):
            theta, cost = _levenberg_marquardt(model, axis, d, theta, free, iterations)
            theta = theta[np.argsort(cost)[:count]]
        _, curve = derivatives(model, axis, theta[0], free)
    return Fit(theta[0], curve)


def refit(model: CurveModel, axis: Axis, d: np.ndarray, theta: np.ndarray, free: np.ndarray):
    """Fit again from given parameters, some of which are held constant.

    Args:
      model: family of curves.
      axis: steps and gradient integral at which D was measured.
      d: measured D, [T], positive.
      theta: N sets of parameters to start from, [N, P].
      free: booleans that say which parameters may change, [N, P].

    Returns:
      (theta [N, P], sums of squared errors [N]).
    """
    return _levenberg_marquardt(model, axis, d, theta, free, REFIT_ITERATIONS, REFIT_GAIN)


def derivatives(model: CurveModel, axis: Axis, theta: np.ndarray, free: np.ndarray):
    """Compute D and its derivatives with respect to the free parameters.

    Args:
      model: family of curves.
      axis: points at which the curve is evaluated.
      theta: one set of parameters, [P].
      free: booleans that say which P' of the P parameters are free, [P].

    Returns:
      (derivatives [P', T], D [T]).
    """
    jacobian, curve = _jacobian(model, axis, theta[None], free)
    return jacobian[0], curve[0]


def _levenberg_marquardt(model, axis, d, theta, free, iterations, least_gain=1e-7):
    """Minimise from every start; `free` is [P], or [N, P] if it differs between starts."""
    theta, held = theta.copy(), None
    if free.ndim == 2:
        held, free = ~free, free.any(0)
        held = held[:, free]
    damping = np.full(len(theta), 1e-2)
    jacobian, curve = _jacobian(model, axis, theta, free, held)
    cost = _cost(curve, d)
    eye = np.eye(free.sum())
    for _ in range(iterations):
        normal = np.einsum("nit,njt->nij", jacobian, jacobian)
        slope = np.einsum("nit,nt->ni", jacobian, d - curve)
        scale = np.einsum("nii->ni", normal)[:, :, None] * eye + 1e-12 * eye
        broken = ~np.isfinite(normal).all((1, 2)) | ~np.isfinite(slope).all(1)
        normal[broken], slope[broken], scale[broken] = eye, 0.0, eye
        move = np.linalg.solve(normal + damping[:, None, None] * scale, slope[..., None])[..., 0]
        trial = theta.copy()
        trial[:, free] += np.clip(move, -2, 2)
        trial_jacobian, trial_curve = _jacobian(model, axis, trial, free, held)
        trial_cost = _cost(trial_curve, d)
        better = trial_cost < cost
        gain = np.where(better, (cost - trial_cost) / np.maximum(cost, 1e-300), 0.0)
        theta[better], cost[better] = trial[better], trial_cost[better]
        jacobian[better], curve[better] = trial_jacobian[better], trial_curve[better]
        damping = np.clip(np.where(better, damping * 0.3, damping * 4), 1e-9, 1e9)
        if (gain < least_gain).all() and ((damping > 1e3) | better).all():
            break
    return theta, cost


def _cost(curve, d):
    cost = np.square(curve - d).sum(-1)
    return np.where(np.isfinite(cost), cost, np.inf)


def _jacobian(model, axis, theta, free, held=None):
    """Compute derivatives [N, P', T] of D by one-sided differences (0 if held), and D [N, T]."""
    step = 1e-6
    shifts = np.concatenate([np.zeros((1, len(free))), step * np.eye(len(free))[free]])
    logs = model.log_curve(theta[:, None] + shifts, axis)
    curves = np.exp(np.clip(logs, -50, 50))
    jacobian = (curves[:, 1:] - curves[:, :1]) / step
    if held is not None:
        jacobian[held] = 0.0
    return jacobian, curves[:, 0]
