"""Surrogate series, from which the distribution of a statistic under the null is estimated.

A circular shift keeps every property of a series except its position in time. An IAAFT surrogate
keeps the values and the power spectrum of a series and randomises the rest (Schreiber and
Schmitz 1996, https://doi.org/10.1103/PhysRevLett.77.635).
"""

import numpy as np

ITERATIONS = 50


def circular_shifts(length: int, least: int, shape, rng: np.random.Generator) -> np.ndarray:
    """Draw random circular shifts that move a series by a minimum distance in either direction.

    Args:
      length: number of points of the series.
      least: smallest shift in points.
      shape: shape of the result.
      rng: random generator.

    Returns:
      Integers of the given shape, from `least` to `length - least`.

    Raises:
      ValueError: the series is too short for the smallest shift.
    """
    if length < 2 * least + 1:
        raise ValueError(f"{length} points cannot be shifted by at least {least} either way")
    return rng.integers(least, length - least + 1, shape)


def iaaft(x_T, count: int, rng: np.random.Generator) -> np.ndarray:
    """Make surrogates with exactly the values and approximately the power spectrum of a series.

    Args:
      x_T: original series, [T].
      count: number of surrogates.
      rng: random generator.

    Returns:
      Surrogates, [count, T].
    """
    x_T = np.asarray(x_T, float)
    ordered, amplitude = np.sort(x_T), np.abs(np.fft.rfft(x_T))
    made = rng.permuted(np.tile(x_T, (count, 1)), axis=1)
    for _ in range(ITERATIONS):
        spectrum = np.fft.rfft(made)
        phase = spectrum / np.maximum(np.abs(spectrum), 1e-300)
        shaped = np.fft.irfft(amplitude * phase, len(x_T))
        fresh = np.empty_like(made)
        np.put_along_axis(fresh, shaped.argsort(1), ordered[None], 1)
        if (fresh == made).all():
            break
        made = fresh
    return made


def same_phases(x_SxT, group_S, count: int, rng: np.random.Generator) -> np.ndarray:
    """Make surrogates that keep the spectrum of each row and the dependence within groups of rows.

    All rows of a group get the same random phases (Prichard and Theiler 1994,
    https://doi.org/10.1103/PhysRevLett.73.951).

    Args:
      x_SxT: original series, [S, T].
      group_S: group of each row, [S]; integers 0, 1, ...
      count: number of surrogates.
      rng: random generator.

    Returns:
      Surrogates, [count, S, T].
    """
    x_SxT, group_S = np.asarray(x_SxT, float), np.asarray(group_S)
    spectrum = np.fft.rfft(x_SxT)
    phase = rng.uniform(0, 2 * np.pi, (count, group_S.max() + 1, spectrum.shape[1]))
    phase[..., 0] = 0.0  # keeps the mean
    return np.fft.irfft(spectrum * np.exp(1j * phase)[:, group_S], x_SxT.shape[1])


def p_value(statistic: float, null) -> float:
    """Compute the share of surrogates that reach a statistic, with the series itself among them.

    Args:
      statistic: statistic of the series itself.
      null: statistic of each surrogate, [N].

    Returns:
      p-value between 1 / (1 + N) and 1.
    """
    null = np.asarray(null)
    # A surrogate that equals the series may differ from it by rounding errors.
    return float((1 + np.sum(null >= statistic * (1 - 1e-9))) / (1 + len(null)))
