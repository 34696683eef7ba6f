"""Channels in which no states are: what a map of them looks like is no finding."""

import numpy as np

from analysis.edm.nulls import phase_randomised


def random_phases(x_TxC, rng: np.random.Generator) -> np.ndarray:
    """Every channel with its own spectrum and random phases."""
    return np.stack([phase_randomised(x, 1, rng)[0] for x in x_TxC.T], 1)


def random_walk(x_TxC, rng: np.random.Generator) -> np.ndarray:
    """Steps of a random walk with the same covariance: normal and independent."""
    covariance = np.atleast_2d(np.cov(x_TxC.T))
    return rng.multivariate_normal(np.zeros(len(covariance)), covariance, len(x_TxC))


def shuffled(x_TxC, rng: np.random.Generator) -> np.ndarray:
    """The same moments in random order."""
    return rng.permutation(x_TxC)


CONTROLS = {
    "random phases": random_phases,
    "random walk": random_walk,
    "shuffled in time": shuffled,
}
