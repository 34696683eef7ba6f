"""Test of whether D(t) saturates, or whether a curve that grows without bound fits as well."""

import numpy as np

from analysis.tap.curve_models import Axis, CurveModel, Fit, fit_curve

# Minimum evidence for saturation, as twice the log likelihood ratio: a likelihood ratio of 20.
EVIDENCE = 2 * np.log(20.0)
# Start values of the rival: tau as a share of the length of the axis, and the power q.
SCALES, POWERS = (0.003, 0.03, 0.3), (0.05, 0.5, 1.0)


def saturation_evidence(
    model: CurveModel, axis: Axis, d: np.ndarray, fit: Fit, size: float
) -> float:
    """Compare a saturating fit with a rival curve that grows without bound.

    The rival is `a + b ((1 + x / tau)^q - 1) / q` with positive parameters. It includes linear,
    square-root and logarithmic growth. x is the step or the integral of the gradient norm,
    whichever fits better. If the model has a compression term, the rival also has one, with free
    parameters.

    Args:
      model: family of curves with a parameter `D_max`.
      axis: steps and gradient integral at which D was measured.
      d: measured D, [T].
      fit: fit of the model to `d`.
      size: number of independent measurements, from `fit_errors.effective_size`.

    Returns:
      size * ln(squared error of the rival / squared error of the fit). It is negative if the rival
      fits better. It is infinite if the fitted D does not grow, because there is then no growth
      that could be unbounded.
    """
    grown = fit.curve[-1] - fit.curve.min()
    if not grown > 0.01 * fit.curve[-1]:
        return np.inf
    bend = fit.theta[3:] if "beta" in model.names else None
    errors = []
    for x in (axis.t, axis.g):
        if not x[-1] > 0:
            continue
        along = Axis(axis.t, x, axis.span)
        # Also fit the rival without compression, because a search that starts from fitted
        # compression may not reach zero compression.
        for curve in [_rival(None)] if bend is None else [_rival(bend), _rival(None)]:
            errors.append(np.square(fit_curve(curve, along, d).curve - d).sum())
    least = np.square(fit.curve - d).sum()
    floor = len(d) * np.square(1e-6 * np.abs(d).mean())  # rounding errors of the records
    return float(size * np.log((min(errors) + floor) / (least + floor)))


def _rival(bend) -> CurveModel:
    names = ("a", "b", "tau", "q") + (() if bend is None else ("beta", "tau_compression"))

    def log_curve(theta, axis):
        a, b, tau, q = (np.exp(theta[..., i, None]) for i in range(4))
        ln_d = np.log(a + b * _growth(axis.g / axis.g[-1], tau, q))
        if bend is None:
            return ln_d
        beta, width = (np.exp(theta[..., i, None]) for i in (4, 5))
        return ln_d + beta * width * np.expm1(-axis.t / width)

    def starts(axis, d):
        rows, u = [], axis.g / axis.g[-1]
        fall = 0.0 if bend is None else np.exp(bend.sum()) * np.expm1(-axis.t / np.exp(bend[1]))
        straight = d * np.exp(-fall)
        for tau in SCALES:
            for q in POWERS:
                design = np.stack([np.ones_like(u), _growth(u, tau, q)], 1)
                a, b = np.linalg.lstsq(design, straight, rcond=None)[0]
                size = np.abs(straight).mean()
                row = [max(a, 0.01 * size), max(b, 1e-4 * size), tau, q]
                rows.append([*np.log(row), *([] if bend is None else bend)])
        return np.array(rows)

    return CurveModel(names, (True,) * len(names), log_curve, starts, ())


def _growth(u, tau, q):
    return np.expm1(q * np.log1p(u / tau)) / q
