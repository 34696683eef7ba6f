"""Surrogates: series that resemble a variable but cannot act on anything.

Every function makes `count` surrogates [count, T] of a series. `NULLS` maps names to functions.
Which null is fair depends on the series. Shuffling destroys autocorrelation, because of which two
independent series can look coupled. For training curves, the best null is the same variable from
another seed's run.
"""

import numpy as np

from analysis.edm.baselines import autoregression
from analysis.edm.select import decorrelation
from analysis.statistics.surrogates import circular_shifts, iaaft

BURN_IN = 500  # simulated points before a surrogate, which are discarded


def shuffled(x_T, count: int, rng: np.random.Generator) -> np.ndarray:
    """Put the values of a series in random order.

    Args:
      x_T: series.
      count: number of surrogates.
      rng: random generator.

    Returns:
      Surrogates [count, T].
    """
    return rng.permuted(np.tile(np.asarray(x_T, float), (count, 1)), axis=1)


def phase_randomised(x_T, count: int, rng: np.random.Generator) -> np.ndarray:
    """Randomise the phases of a series; keep its periodogram, mean and spread (Ebisuzaki 1997).

    If T is even, the Nyquist frequency has no phase. Its coefficient is then drawn as
    sqrt(2) cos(theta) times its amplitude.

    Args:
      x_T: series.
      count: number of surrogates.
      rng: random generator.

    Returns:
      Surrogates [count, T].
    """
    x_T = np.asarray(x_T, float)
    amplitude = np.abs(np.fft.rfft(x_T - x_T.mean()))
    phase = rng.uniform(0, 2 * np.pi, (count, len(amplitude)))
    spectrum = amplitude * np.exp(1j * phase)
    if len(x_T) % 2 == 0:
        spectrum[:, -1] = np.sqrt(2) * amplitude[-1] * np.cos(phase[:, -1])
    made = np.fft.irfft(spectrum, len(x_T))
    spread = made.std(1, keepdims=True)
    scale = np.divide(x_T.std(), spread, out=np.ones_like(spread), where=spread > 0)
    return x_T.mean() + made * scale


def shifted(x_T, count: int, rng: np.random.Generator) -> np.ndarray:
    """Shift a series circularly by more than its decorrelation time.

    Everything is kept except the times of events.

    Args:
      x_T: series.
      count: number of surrogates.
      rng: random generator.

    Returns:
      Surrogates [count, T].
    """
    x_T = np.asarray(x_T, float)
    least = max(min(decorrelation(x_T), len(x_T) // 4), 1)
    shifts = circular_shifts(len(x_T), least, count, rng)
    return np.stack([np.roll(x_T, shift) for shift in shifts])


def autoregressive(x_T, count: int, rng: np.random.Generator) -> np.ndarray:
    """Simulate the autoregression that fits best, with noise drawn from its own residuals.

    Args:
      x_T: series.
      count: number of surrogates.
      rng: random generator.

    Returns:
      Surrogates [count, T].
    """
    x_T = np.asarray(x_T, float)
    fit = autoregression(x_T, most=min(20, len(x_T) // 10))
    order = len(fit.coefficients)
    noise = rng.choice(fit.residuals - fit.residuals.mean(), (count, BURN_IN + len(x_T)))
    made = np.full((count, order + noise.shape[1]), x_T.mean())
    for t in range(noise.shape[1]):
        past = made[:, t : t + order][:, ::-1]
        made[:, t + order] = fit.intercept + past @ fit.coefficients + noise[:, t]
    return made[:, -len(x_T) :]


def seasonal(x_T, count: int, rng: np.random.Generator, period: int) -> np.ndarray:
    """Keep the mean cycle of a period, such as an epoch, and shuffle the deviations from it.

    Args:
      x_T: series.
      count: number of surrogates.
      rng: random generator.
      period: length of the cycle in points.

    Returns:
      Surrogates [count, T].
    """
    x_T = np.asarray(x_T, float)
    phase = np.arange(len(x_T)) % period
    cycle = np.bincount(phase, x_T) / np.bincount(phase)
    return cycle[phase] + shuffled(x_T - cycle[phase], count, rng)


NULLS = {
    "shuffled": shuffled,
    "phases": phase_randomised,
    "iaaft": iaaft,
    "shifted": shifted,
    "autoregressive": autoregressive,
}
