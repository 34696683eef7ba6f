"""Power spectra of the principal components of a run, and the same measurements of a random walk.

The principal components of any smooth or random walk are nearly cosines of time (Antognini and
Sohl-Dickstein 2018, https://arxiv.org/abs/1806.08805). A large share of variance in few components
and smooth loops are therefore not evidence of structure. For this reason every number is reported
next to that of a walk with the same steps but random signs.
"""

from typing import NamedTuple

import numpy as np
from scipy.signal import welch

from analysis.motifs.channels import Recorded, components, groups

SEGMENT = 469  # points of a segment; one epoch of the published run
FLATTEST, STEEPEST = 0.002, 0.2  # frequency range for the fit of a slope, in cycles per point
COSINES = 3  # number of components that are compared with cosines


class Movement(NamedTuple):
    """Components and power spectrum of one group of columns of one seed."""

    score_TxK: np.ndarray  # scores of K principal components
    share_K: np.ndarray  # shares of the variance
    power_F: np.ndarray  # power, mean over components weighted by their shares
    cosine: float  # mean R2 of the first components with one cosine each


def movement(x_TxD, modes: int, segment: int) -> Movement:
    """Compute the principal components of columns and their power spectrum.

    The spectrum is computed by Welch's method with half-overlapping segments.

    Args:
      x_TxD: columns.
      modes: maximum number of components.
      segment: number of points per segment.

    Returns:
      Components and spectrum.
    """
    score, share = components(x_TxD, modes)
    _, power = welch(score, nperseg=segment, noverlap=segment // 2, axis=0)
    return Movement(score, share, np.average(power, axis=1, weights=share), _cosine(score))


def _cosine(score_TxK):
    """Return the mean R2 of component j with cos(pi j t / T), component j of a random walk."""
    time = (np.arange(len(score_TxK)) + 0.5) / len(score_TxK)
    found = [
        np.corrcoef(np.cos(np.pi * (j + 1) * time), score)[0, 1] ** 2
        for j, score in enumerate(score_TxK.T[:COSINES])
    ]
    return float(np.mean(found))


def random_walk(x_TxD, rng: np.random.Generator) -> np.ndarray:
    """Sum the steps of a walk with a random sign for each step.

    The sizes of the steps are kept, but the direction of the walk is random.

    Args:
      x_TxD: walk.
      rng: random generator.

    Returns:
      Random walk [T, D] with the same first point.
    """
    sign = rng.choice([-1.0, 1.0], len(x_TxD) - 1)
    return np.cumsum(np.vstack([x_TxD[:1], sign[:, None] * np.diff(x_TxD, axis=0)]), 0)


def frequencies(segment: int) -> np.ndarray:
    """Return the frequencies of `Movement.power_F` in cycles per point, [F]."""
    return np.fft.rfftfreq(segment)


def slope(frequency_F, power_F) -> float:
    """Fit the exponent of a power law to a spectrum.

    Args:
      frequency_F: frequencies in cycles per point.
      power_F: power at these frequencies.

    Returns:
      Exponent: -2 for a random walk, 0 for white noise.
    """
    used = (frequency_F >= FLATTEST) & (frequency_F <= STEEPEST) & (power_F > 0)
    return float(np.polyfit(np.log(frequency_F[used]), np.log(power_F[used]), 1)[0])


def movements(found: Recorded, of: str, modes: int, segment: int, seed: int = 0) -> dict:
    """Measure every group of columns as recorded and as a random walk.

    Args:
      found: columns of a run.
      of: `levels` or `increments`.
      modes: maximum number of components.
      segment: number of points per segment.
      seed: random seed of the signs.

    Returns:
      Dict from group to (movements of every seed, movements of their random walks).

    Raises:
      RunError: a value is missing, or a group never changes or always changes by the same amount.
    """
    rng, result = np.random.default_rng(seed), {}
    for group, columns in groups(found).items():
        pairs = [(x, random_walk(x, rng)) for x in found.values[..., columns]]
        if of == "increments":
            pairs = [(np.diff(x, axis=0), np.diff(walk, axis=0)) for x, walk in pairs]
        made = [[movement(x, modes, segment) for x in pair] for pair in pairs]
        result[group] = tuple(zip(*made, strict=True))
    return result
