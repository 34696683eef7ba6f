"""Claims that D leads a capability: nulls in which seeds differ, and planted leads.

Every pair of series gets its verdict from `analysis.statistics.lags`, as if it were the only test
of a command.
"""

import numpy as np

from analysis.statistics import lags
from launch.benchmarks.validity.cases import case

NULLS = 200
PLANTED = 100
QUICK = 2
RHO, LEAD = 0.4, 10  # planted lead: its correlation, and its length in measurements (50 steps)


def noises(rng, seeds, length, rho=0.0, lag=0, correlation=0.3):
    """Draw AR(1) noise of D and of the capability.

    Args:
      rng: NumPy generator.
      seeds: number of seeds S.
      length: number of measurements T.
      rho: correlation of the capability's noise with earlier noise of D; 0 for none.
      lag: number of measurements by which the noise of D leads.
      correlation: coefficient of the autoregression.

    Returns:
      Noise [2, S, T], that of D first.
    """
    e = rng.standard_normal((2, seeds, length + 2 * lag))
    for i in range(1, e.shape[2]):
        e[..., i] += correlation * e[..., i - 1]
    x, y = e[0], e[1]
    late = np.roll(x, lag, 1)
    y = rho * late + np.sqrt(1 - rho**2) * y
    return np.stack([x, y])[..., lag : lag + length]


def amplitude(rng, seeds, length, unequal=0.0, volatility=0.0):
    """Draw the size of the noise: a fading curve times a factor per seed times a shared series.

    Args:
      rng: NumPy generator.
      seeds: number of seeds S.
      length: number of measurements T.
      unequal: standard deviation over seeds of the logarithm of a seed's factor.
      volatility: standard deviation over time of the logarithm of the series that seeds share.

    Returns:
      Standard deviation of the noise, [S, T].
    """
    fading = 0.01 * (1 + 3 * np.exp(-np.arange(length) / 60))
    of_seed = np.exp(unequal * rng.standard_normal((seeds, 1)))
    shared = rng.standard_normal(length) * np.sqrt(1 - 0.95**2)
    for i in range(1, length):
        shared[i] += 0.95 * shared[i - 1]
    return fading * of_seed * np.exp(volatility * shared)


def progress(rng, seeds, length, speed=0.0, unsteady=0.0):
    """Draw how far each seed has advanced along the shared trajectory at each measurement.

    Args:
      rng: NumPy generator.
      seeds: number of seeds S.
      length: number of measurements T.
      speed: standard deviation over seeds of the logarithm of the speed.
      unsteady: standard deviation over time of the logarithm of the speed.

    Returns:
      Position on the trajectory, [S, T], from 0; 1 per measurement at the usual speed.
    """
    rate = np.exp(speed * rng.standard_normal((seeds, 1))) * np.ones(length)
    if unsteady:
        wander = rng.standard_normal((seeds, length)) * np.sqrt(1 - 0.98**2)
        for i in range(1, length):
            wander[:, i] += 0.98 * wander[:, i - 1]
        rate = rate * np.exp(unsteady * wander)
    return np.cumsum(rate, 1) - rate


def smooth_course(p, length):
    """Return ln D that collapses and recovers, and accuracy that saturates, at positions p."""
    del length
    d = 1 - 1.5 * (1 - np.exp(-p / 8)) + 0.8 * (1 - np.exp(-p / 60))
    return d, 0.85 * (1 - np.exp(-p / 15))


def late_course(p, length):
    """Return ln D that falls late, shortly before accuracy rises, as in grokking."""
    d = 2 - 1 / (1 + np.exp(-(p - 0.35 * length) / 10)) + 0.5 * np.exp(-p / 20)
    return d, 0.1 + 0.8 / (1 + np.exp(-(p - 0.45 * length) / 8))


def bumpy_course(p, length):
    """Return ln D and accuracy with several features at different positions."""
    u = p / length
    return 1 + 0.5 * np.sin(9 * u) * np.exp(-u), 0.4 * u + 0.2 * np.tanh(8 * (u - 0.5))


def levels(seed, seeds, length, course=smooth_course, rho=0.0, noise=1.0, amplitudes=0.0, **differ):
    """Simulate ln D and a capability of one run.

    Args:
      seed: seed of the generator.
      seeds: number of seeds S.
      length: number of measurements T.
      course: function (position [S, T], T) that returns the trajectories of ln D and of the
        capability, [S, T] each.
      rho: correlation of the planted lead; 0 for none.
      noise: factor of the size of the noise.
      amplitudes: standard deviation over seeds of the logarithm of the size of the trajectory,
        drawn separately for ln D and for the capability.
      **differ: `unequal` and `volatility` of `amplitude`, `speed` and `unsteady` of `progress`.

    Returns:
      (ln D, capability), [S, T] each.
    """
    rng = np.random.default_rng(seed)
    size = {name: differ[name] for name in ("unequal", "volatility") if name in differ}
    moved = {name: differ[name] for name in ("speed", "unsteady") if name in differ}
    x, y = noises(rng, seeds, length, rho, LEAD)
    a = noise * amplitude(rng, seeds, length, **size)
    d, capability = course(progress(rng, seeds, length, **moved), length)
    of_d, of_capability = np.exp(amplitudes * rng.standard_normal((2, seeds, 1)))
    return of_d * d + a * x, of_capability * capability + a * y


def find(seed, *args, **options):
    """Simulate one run and return the verdict on it; the arguments are those of `levels`."""
    d, y = levels(seed, *args, **options)
    x, y = lags.increments(d, 1), lags.increments(y, 2)
    rng = np.random.default_rng(seed)
    test = lags.lag_test(x, y, lags.same_spectrum(x, rng), rng, lags.FEW_SURROGATES)
    return lags.verdict(test.p["any"], test)


DIFFERENT = {
    "equal noise": {},
    "sd of log noise .5": {"unequal": 0.5},
    "sd of log noise 1": {"unequal": 1.0},
    "volatility shared by seeds": {"volatility": 1.0},
    "speed sd .1": {"speed": 0.1},
    "speed sd .3": {"speed": 0.3},
    "speed sd .3, noise 1/5": {"speed": 0.3, "noise": 0.2},
    "unsteady speed": {"unsteady": 0.3},
    "late course, speed sd .1": {"course": late_course, "speed": 0.1},
    "late course, speed sd .3": {"course": late_course, "speed": 0.3},
    "bumpy course, speed sd .2": {"course": bumpy_course, "speed": 0.2},
    "amplitude sd .1": {"amplitudes": 0.1},
    "amplitude sd .1, late course": {"course": late_course, "amplitudes": 0.1},
}
SIZES = ((2, 200), (3, 200), (5, 400), (10, 200))


def cases(quick: bool) -> list[dict]:
    """Measure how often any order is claimed on nulls, and how often planted leads are found.

    Args:
      quick: whether to use few draws.

    Returns:
      Rows from `launch.benchmarks.validity.cases.case`.
    """
    nulls, planted = (QUICK, QUICK) if quick else (NULLS, PLANTED)
    rows = []
    for seeds, length in SIZES[:1] if quick else SIZES:
        ordered = []
        for name, options in DIFFERENT.items():
            found = [find(i, seeds, length, **options) for i in range(nulls)]
            ordered += [verdict in ("leads", "lags") for verdict in found]
            claims = [verdict != "no evidence" for verdict in found]
            rows.append(case(f"{name}; {seeds} seeds, {length}", "null", claims, most=0.05))
        name = f"an order is claimed in any of these; {seeds} seeds, {length}"
        rows.append(case(name, "null", ordered, most=0.05))
    for name in ("equal noise", "sd of log noise 1", "speed sd .3", "late course, speed sd .1"):
        claims = [find(i, 4, 400, rho=RHO, **DIFFERENT[name]) == "leads" for i in range(planted)]
        rows.append(case(f"lead of 50 steps, rho .4; {name}", "planted", claims, least=0.9))
    return rows
