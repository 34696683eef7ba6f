"""Channels in which no states are: what a map of them looks like is no finding."""

import numpy as np

from analysis.edm.nulls import phase_randomised
from analysis.motifs.channels import steady
from analysis.statistics.surrogates import iaaft

JUDGES = ("random phases", "same values")  # those as smooth as what was recorded


def controls(of: str, window: int) -> dict:
    """Functions `(steady channels [T, C], random generator) -> channels [T, C]`, by name.

    `random phases`: every channel with its own spectrum; `same values`: its spectrum, nearly, and
    its values; `random walk`: normal and independent steps of the same covariance, of which
    increments are white; `shuffled in time`: the same moments in random order.

    Args:
      of: `increments` or `levels`, what the channels are.
      window: see `channels.steady`.
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
