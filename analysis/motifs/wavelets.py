"""Morlet amplitudes: how strongly each channel moves, at each moment, at each frequency.

After Berman et al. (2014), whose amplitudes make sinusoids of equal size equal at all frequencies.
"""

import numpy as np

OMEGA0 = 5.0
COUNT = 25
DELTA = (np.sqrt(2 + OMEGA0**2) - OMEGA0) / 2
UNIT = np.exp(DELTA**2 / 2) / np.sqrt(8 * np.pi)  # of a unit sinusoid at a frequency of the grid


def frequencies(lowest: float, highest: float, count: int = COUNT) -> np.ndarray:
    """A geometric grid.

    Args:
      lowest: cycles a sample.
      highest: at most 1/2, the Nyquist frequency.
      count: of frequencies.

    Returns:
      Ascending [F].

    Raises:
      ValueError: no such range.
    """
    if not 0 < lowest < highest <= 0.5:
        raise ValueError(f"frequencies {lowest} to {highest}: 0 < lowest < highest <= 0.5")
    return np.geomspace(lowest, highest, count)


def scale_of(frequency):
    """Width of the wavelet, in samples, that answers most to a frequency."""
    return (OMEGA0 + np.sqrt(2 + OMEGA0**2)) / (4 * np.pi * np.asarray(frequency))


def amplitudes(x_TxC, frequency_F) -> np.ndarray:
    """Amplitudes of the Morlet wavelet transform.

    Args:
      x_TxC: channels, one value a sample; detrend them first, an offset is a slow wave.
      frequency_F: cycles a sample.

    Returns:
      [T, C, F]; a unit sinusoid at a frequency of the grid has amplitude `UNIT` there, .2004.

    Raises:
      ValueError: not finite.
    """
    x_TxC = np.asarray(x_TxC, float)
    if not np.isfinite(x_TxC).all():
        raise ValueError("channels must be finite")
    length = len(x_TxC)
    total = 2 * (length + length % 2)  # half a series of zeros on either side
    before = total // 4
    padded = np.zeros((total, x_TxC.shape[1]))
    padded[before : before + length] = x_TxC
    spectrum = np.fft.fft(padded, axis=0)
    omega = 2 * np.pi * np.abs(np.fft.fftfreq(total))
    share = np.ones(total)  # positive frequencies; half of Nyquist's is a negative one
    share[total // 2 + 1 :], share[total // 2] = 0.0, 0.5
    found = np.empty((length, x_TxC.shape[1], len(frequency_F)))
    for i, scale in enumerate(scale_of(frequency_F)):
        wavelet = np.pi**-0.25 * np.exp(-((omega * scale - OMEGA0) ** 2) / 2) * share
        answer = np.fft.ifft(spectrum * wavelet[:, None], axis=0)[before : before + length]
        found[..., i] = np.abs(answer) * np.pi**-0.25 * np.exp(DELTA**2) / np.sqrt(2)
    return found


def cone(length: int, frequency: float) -> slice:
    """Samples that the ends do not reach, at a frequency (Torrence and Compo 1998)."""
    edge = int(np.ceil(np.sqrt(2) * scale_of(frequency)))
    return slice(min(edge, length // 2), max(length - edge, length // 2))


def shares(amplitude_TxCxF) -> tuple[np.ndarray, np.ndarray]:
    """What moves, apart from how much: every sample's amplitudes as shares of their sum.

    Args:
      amplitude_TxCxF: from `amplitudes`.

    Returns:
      Shares [T, C * F], channel by channel, and the sums [T]; a sample without any movement has
      equal shares.
    """
    flat = amplitude_TxCxF.reshape(len(amplitude_TxCxF), -1)
    total = flat.sum(1)
    even = np.full_like(flat, 1 / flat.shape[1])
    return np.divide(flat, total[:, None], out=even, where=total[:, None] > 0), total
