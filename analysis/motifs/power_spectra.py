"""How the components of a run move: power spectra, and what a random walk would show as well.

The principal components of any smooth or random walk are nearly cosines of time (Antognini and
Sohl-Dickstein 2018): much variance in few components and smooth loops are no finding. So every
number stands beside that of the same steps with random signs.
"""

from typing import NamedTuple

import numpy as np
from scipy.signal import welch

from analysis.motifs.channels import Recorded, components, groups

SEGMENT = 469  # points; an epoch of the published run
FLATTEST, STEEPEST = 0.002, 0.2  # cycles a point, between which a slope is fitted
COSINES = 3  # components that are held against cosines


class Movement(NamedTuple):
    """Of one group of columns of one seed."""

    score_TxK: np.ndarray  # principal components
    share_K: np.ndarray  # of the variance
    power_F: np.ndarray  # mean over components, weighted by their shares
    cosine: float  # how much of the first components a cosine each explains, R2


def movement(x_TxD, modes: int, segment: int) -> Movement:
    """Components and their power spectrum (Welch, half-overlapping segments).

    Args:
      x_TxD: columns.
      modes: components.
      segment: points of a segment.

    Returns:
      Movement.
    """
    score, share = components(x_TxD, modes)
    _, power = welch(score, nperseg=segment, noverlap=segment // 2, axis=0)
    return Movement(score, share, np.average(power, axis=1, weights=share), _cosine(score))


def _cosine(score_TxK):
    """Mean R2 of component j with cos(pi j t / T), the j-th of a random walk."""
    time = (np.arange(len(score_TxK)) + 0.5) / len(score_TxK)
    found = [
        np.corrcoef(np.cos(np.pi * (j + 1) * time), score)[0, 1] ** 2
        for j, score in enumerate(score_TxK.T[:COSINES])
    ]
    return float(np.mean(found))


def random_walk(x_TxD, rng: np.random.Generator) -> np.ndarray:
    """The same steps, each forward or backward at random: their sizes stay, where they lead not."""
    sign = rng.choice([-1.0, 1.0], len(x_TxD) - 1)
    return np.cumsum(np.vstack([x_TxD[:1], sign[:, None] * np.diff(x_TxD, axis=0)]), 0)


def frequencies(segment: int) -> np.ndarray:
    """Cycles a point of `Movement.power_F`."""
    return np.fft.rfftfreq(segment)


def slope(frequency_F, power_F) -> float:
    """Exponent of a power law: -2 of a random walk, 0 of white noise."""
    used = (frequency_F >= FLATTEST) & (frequency_F <= STEEPEST) & (power_F > 0)
    return float(np.polyfit(np.log(frequency_F[used]), np.log(power_F[used]), 1)[0])


def movements(found: Recorded, of: str, modes: int, segment: int, seed: int = 0) -> dict:
    """Every group of columns, recorded and as a random walk.

    Args:
      found: columns of a run.
      of: `levels` or `increments`.
      modes: components.
      segment: points of a segment.
      seed: of the signs.

    Returns:
      Group -> (movements of every seed, movements of their random walks).

    Raises:
      RunError: a value is missing, or a group never changes.
    """
    rng, result = np.random.default_rng(seed), {}
    for group, columns in groups(found).items():
        pairs = [(x, random_walk(x, rng)) for x in found.values[..., columns]]
        if of == "increments":
            pairs = [(np.diff(x, axis=0), np.diff(walk, axis=0)) for x, walk in pairs]
        made = [[movement(x, modes, segment) for x in pair] for pair in pairs]
        result[group] = tuple(zip(*made, strict=True))
    return result
