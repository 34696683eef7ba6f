"""Curve fits: how often a fit is called identified, and the coverage of 95 % intervals."""

import numpy as np
from scipy.signal import lfilter

from analysis.tap.curve_models import MODELS, Axis, fit_curve
from analysis.tap.fit_errors import fit_errors
from launch.benchmarks.validity.cases import case

GRADIENT = 0.5 + 2 * np.exp(-np.arange(2000) / 300)
LEVEL = 0.05  # size of the noise relative to the range of D, or to D for proportional noise
DRAWS = 200
FIRST_SEED = 1000  # the thresholds of the flag were chosen on smaller seeds
PLANTED = {
    "tap": np.log([2.0, 3e-3, 9.0]),
    "tap_compression": np.log([9.0, 2e-3, 8.0, 0.03, 25.0]),
    "two_phase": np.array([2.3, 2.0, -1.0, np.log(20.0), np.log(400.0)]),
    "two_phase_saturating": np.array([2.3, 1.5, 1.2, np.log(20.0), np.log(300.0), 0.0]),
}
NOISES = {
    "white": lambda rng, d: np.ptp(d) * rng.standard_normal(len(d)),
    "proportional to D": lambda rng, d: d * rng.standard_normal(len(d)),
    "AR(1) .5": lambda rng, d: np.ptp(d) * _ar(rng, len(d), 0.5),
    "AR(1) .8": lambda rng, d: np.ptp(d) * _ar(rng, len(d), 0.8),
    "fading": lambda rng, d: np.ptp(d) * _fade(len(d)) * rng.standard_normal(len(d)),
    "t(4)": lambda rng, d: np.ptp(d) * rng.standard_t(4, len(d)) / np.sqrt(2),
}


def cases(quick: bool) -> list[dict]:
    """Measure rates of identified fits on nulls and planted curves, and coverage.

    Args:
      quick: whether to use one draw of 100 points per case instead of 200 draws of 400 points.

    Returns:
      Rows from `launch.benchmarks.validity.cases.case`. A coverage row counts every key parameter
      of every draw, whether or not the fit is identified.
    """
    axis = _axis(20 if quick else 5)
    rows = []
    for name, curve, models in _nulls(axis):
        for model in models:
            count = 1 if quick else DRAWS
            for kind in ("white", "AR(1) .8"):
                claims = [_fit(model, axis, _draw(i, kind, curve))[2] for i in range(count)]
                rows.append(case(f"{name}, {kind}, {model}", "null", claims, most=0.05))
    for model, truth in PLANTED.items():
        curve = np.exp(MODELS[model].log_curve(truth, axis))
        key = [MODELS[model].names.index(name) for name in MODELS[model].key]
        count = 1 if quick else DRAWS
        for kind in NOISES:
            held = []
            for i in range(count):
                low, high, _ = _fit(model, axis, _draw(i, kind, curve))
                held += list(((low <= truth) & (truth <= high))[key])
            rows.append(case(f"95 % interval, {kind}, {model}", "coverage", held, least=0.9))
        claims = [_fit(model, axis, _draw(i, "white", curve, 0.01))[2] for i in range(count)]
        rows.append(case(f"planted, white noise of .01, {model}", "planted", claims, least=0.9))
    return rows


def _fit(name, axis, d):
    """Return the bounds (low [P], high [P]) of fitted parameters, and whether identified."""
    fit = fit_curve(MODELS[name], axis, d)
    found = fit_errors(MODELS[name], axis, d, fit)
    return found.low, found.high, not found.unidentified


def _nulls(axis):
    u, two = axis.t / axis.t[-1], ("two_phase", "two_phase_saturating")
    both = ("tap", "tap_compression")
    u_shape = np.exp(MODELS["two_phase"].log_curve(PLANTED["two_phase"], axis))
    return [
        ("exponential growth", 2 * np.exp(1.2 * axis.g / axis.g[-1]), both),
        ("linear growth", 2 + 5 * u, ("tap",)),
        ("square-root growth", 2 + 5 * np.sqrt(u), ("tap",)),
        ("logarithmic growth", 2 + np.log1p(axis.t / 50), ("tap",)),
        ("single exponential", np.exp(1 + np.exp(-axis.t / 150)), two),
        ("U-shape", u_shape, ("tap",)),
        ("slow sine", 5 + np.sin(6 * np.pi * u), ("tap", "two_phase")),
        ("step", 3 + 4.0 * (u > 0.35), ("tap", "two_phase")),
    ]


def _axis(every):
    integral = np.concatenate([[0.0], np.cumsum(GRADIENT)])[:-1]
    t = np.arange(0, 2000, float(every))
    return Axis(t, integral[::every], t[-1])


def _draw(seed, kind, curve, level=LEVEL):
    d = curve + level * NOISES[kind](np.random.default_rng(FIRST_SEED + seed), curve)
    return np.maximum(d, 1e-3 * curve.mean())


def _ar(rng, n, correlation):
    shocks = np.sqrt(1 - correlation**2) * rng.standard_normal(n)
    shocks[0] /= np.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], shocks)


def _fade(n):
    return 0.2 + 1.6 * np.exp(-5 * np.arange(n) / n)
