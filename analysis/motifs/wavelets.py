"""Morlet wavelet amplitudes: how strongly each channel moves at each time and each frequency.

The amplitudes are those of Berman et al. (2014), https://doi.org/10.1098/rsif.2014.0672. Their
normalisation gives sinusoids of equal size equal amplitudes at all frequencies.
"""

import numpy as np

OMEGA0 = 5.0  # centre frequency of the wavelet
COUNT = 25  # number of frequencies
DELTA = (np.sqrt(2 + OMEGA0**2) - OMEGA0) / 2
UNIT = np.exp(DELTA**2 / 2) / np.sqrt(8 * np.pi)  # amplitude of a unit sinusoid, see `amplitudes`


def frequencies(lowest: float, highest: float, count: int = COUNT) -> np.ndarray:
    """Return a geometric grid of frequencies.

    Args:
      lowest: lowest frequency in cycles per sample.
      highest: highest frequency, at most 1/2, which is the Nyquist frequency.
      count: number of frequencies.

    Returns:
      Ascending frequencies [F].

    Raises:
      ValueError: the range is empty or not within (0, 1/2].
    """
    if not 0 < lowest < highest <= 0.5:
        raise ValueError(f"frequencies {lowest} to {highest} need 0 < lowest < highest <= 0.5")
    return np.geomspace(lowest, highest, count)


def scale_of(frequency):
    """Return the width in samples of the wavelet that responds most strongly to a frequency."""
    return (OMEGA0 + np.sqrt(2 + OMEGA0**2)) / (4 * np.pi * np.asarray(frequency))


def amplitudes(x_TxC, frequency_F) -> np.ndarray:
    """Compute the amplitudes of the Morlet wavelet transform.

    Args:
      x_TxC: C channels, one value per sample. Detrend them first, because an offset acts like a
        slow wave.
      frequency_F: frequencies in cycles per sample.

    Returns:
      Amplitudes [T, C, F]. A unit sinusoid at a frequency of the grid has amplitude `UNIT` there,
      which is .2004.

    Raises:
      ValueError: a value is not finite.
    """
    x_TxC = np.asarray(x_TxC, float)
    if not np.isfinite(x_TxC).all():
        raise ValueError("channels must be finite")
    length = len(x_TxC)
    total = 2 * (length + length % 2)  # zeros of half the series' length are added on either side
    before = total // 4
    padded = np.zeros((total, x_TxC.shape[1]))
    padded[before : before + length] = x_TxC
    spectrum = np.fft.fft(padded, axis=0)
    omega = 2 * np.pi * np.abs(np.fft.fftfreq(total))
    share = np.ones(total)  # keeps positive frequencies; half of Nyquist's counts as negative
    share[total // 2 + 1 :], share[total // 2] = 0.0, 0.5
    found = np.empty((length, x_TxC.shape[1], len(frequency_F)))
    for i, scale in enumerate(scale_of(frequency_F)):
        wavelet = np.pi**-0.25 * np.exp(-((omega * scale - OMEGA0) ** 2) / 2) * share
        answer = np.fft.ifft(spectrum * wavelet[:, None], axis=0)[before : before + length]
        found[..., i] = np.abs(answer) * np.pi**-0.25 * np.exp(DELTA**2) / np.sqrt(2)
    return found


def cone(length: int, frequency: float) -> slice:
    """Return the samples that are not affected by the ends of a series (Torrence and Compo 1998).

    Args:
      length: number of samples.
      frequency: frequency in cycles per sample; lower frequencies lose more samples.

    Returns:
      Slice of the unaffected samples.
    """
    edge = int(np.ceil(np.sqrt(2) * scale_of(frequency)))
    return slice(min(edge, length // 2), max(length - edge, length // 2))


def shares(amplitude_TxCxF) -> tuple[np.ndarray, np.ndarray]:
    """Divide the amplitudes of each sample by their sum.

    The shares describe which channels and frequencies move, and the sum describes how much.

    Args:
      amplitude_TxCxF: amplitudes from `amplitudes`.

    Returns:
      Shares [T, C * F], ordered by channel, and the sums [T]. A sample without any movement has
      equal shares.
    """
    flat = amplitude_TxCxF.reshape(len(amplitude_TxCxF), -1)
    total = flat.sum(1)
    even = np.full_like(flat, 1 / flat.shape[1])
    return np.divide(flat, total[:, None], out=even, where=total[:, None] > 0), total
