"""Surrogate series: what a statistic looks like when nothing is going on.

A circular shift keeps everything of a series but when it happens. An IAAFT surrogate keeps its
values and its spectrum but no other order (Schreiber and Schmitz 1996).
"""

import numpy as np

ITERATIONS = 50


def circular_shifts(length: int, least: int, shape, rng: np.random.Generator) -> np.ndarray:
    """Random shifts of a circular series that move it by at least some points either way.

    Args:
      length: points of the series.
      least: smallest shift.
      shape: of the result.
      rng: random generator.

    Returns:
      Integers.

    Raises:
      ValueError: the series is too short to be shifted so far.
    """
    if length < 2 * least + 1:
        raise ValueError(f"{length} points cannot be shifted by at least {least} either way")
    return rng.integers(least, length - least + 1, shape)


def iaaft(x_T, count: int, rng: np.random.Generator) -> np.ndarray:
    """Surrogates with the values of a series and, nearly, its power spectrum.

    Args:
      x_T: the series.
      count: how many to make.
      rng: random generator.

    Returns:
      [count, T].
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
    """Surrogates with the spectrum of each row, and the dependence between rows of a group.

    All rows of a group get the same random phases (Prichard and Theiler 1994).

    Args:
      x_SxT: series.
      group_S: group of each row, 0, 1, ...
      count: how many to make.
      rng: random generator.

    Returns:
      [count, S, T].
    """
    x_SxT, group_S = np.asarray(x_SxT, float), np.asarray(group_S)
    spectrum = np.fft.rfft(x_SxT)
    phase = rng.uniform(0, 2 * np.pi, (count, group_S.max() + 1, spectrum.shape[1]))
    phase[..., 0] = 0.0  # the mean stays
    return np.fft.irfft(spectrum * np.exp(1j * phase)[:, group_S], x_SxT.shape[1])


def p_value(statistic: float, null) -> float:
    """Share of surrogates that reach a statistic, counting the series itself among them."""
    null = np.asarray(null)
    # A surrogate that is the series itself may differ from it in the last bits.
    return float((1 + np.sum(null >= statistic * (1 - 1e-9))) / (1 + len(null)))
