"""Controls: channels without states. A feature of their maps is not evidence of states."""

import numpy as np

from analysis.edm.nulls import phase_randomised
from analysis.motifs.channels import steady
from analysis.statistics.surrogates import iaaft

JUDGES = ("random phases", "same values")  # controls that are as smooth as the recorded channels


def controls(of: str, window: int) -> dict:
    """Return functions that make control channels, by name.

    `random phases` keeps the spectrum of every channel. `same values` keeps the values of every
    channel and, nearly, its spectrum. `random walk` draws independent normal steps with the same
    covariance, so that the increments are white. `shuffled in time` puts the points in random
    order and keeps the values of all channels at a point together.

    Args:
      of: `increments` or `levels`, the kind of the channels.
      window: number of points of the window of `channels.steady`.

    Returns:
      Functions `(steady channels [T, C], random generator) -> channels [T, C]` by name.
    """

    def walk(x_TxC, rng):
        steps = x_TxC if of == "increments" else np.diff(x_TxC, axis=0, prepend=0)
        covariance = np.atleast_2d(np.cov(steps.T))
        drawn = rng.multivariate_normal(np.zeros(len(covariance)), covariance, len(x_TxC))
        return drawn if of == "increments" else steady(drawn.cumsum(0)[None], window)[0]

    return {
        "random phases": _each(phase_randomised),
        "same values": _each(iaaft),
        "random walk": walk,
        "shuffled in time": lambda x_TxC, rng: rng.permutation(x_TxC),
    }


def _each(surrogate):
    return lambda x_TxC, rng: np.stack([surrogate(x, 1, rng)[0] for x in x_TxC.T], 1)
