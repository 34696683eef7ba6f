"""Permutation test of whether a cause is estimated better from its own run than from other runs."""

import itertools
import math

import numpy as np

EXACT = 7  # largest number of seeds for which all orders are used (7! = 5040)
RANDOM = 9999  # number of random orders for more seeds


def count_orders(seeds: int) -> int:
    """Return the number of orders of seeds in a test, including the recorded one.

    The smallest possible p is 1 divided by this number.

    Args:
      seeds: number of seeds (n).

    Returns:
      n! for up to 7 seeds, 10,000 for more.
    """
    return math.factorial(seeds) if seeds <= EXACT else RANDOM + 1


def orders(seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Return orders of the seeds, [N, S]; the first is the recorded one, 0, 1, ..."""
    if seeds <= EXACT:
        return np.array(list(itertools.permutations(range(seeds))))
    drawn = rng.permuted(np.tile(np.arange(seeds), (RANDOM, 1)), axis=1)
    return np.vstack([np.arange(seeds), drawn])


def exchanged_p(skill_SxSxKxL, seed: int = 0) -> float:
    """Compute the p-value of cross-map skill within runs by exchanging causes between seeds.

    The test permutes which seed's cause is paired with which seed's effect. The series themselves
    do not change, so they keep trends and schedules that all seeds share. The null hypothesis is
    that the causes of the seeds are exchangeable given the effects. It holds if the seeds are
    independent repetitions and a cause does not act on the effect of its own run. The orders form a
    group that contains the recorded order, so P(p <= a) <= a holds for any statistic (Hemerik and
    Goeman 2018, https://doi.org/10.1007/s11749-017-0571-1). Orders that leave no seed in its place
    do not form a group, and with them p <= .05 would occur too often.

    Seeds may differ in their noise level, which all variables of a run then share. If all seeds
    also share a signal, causes with little noise are estimated better, and best by effects with
    little noise, even without any link. The skill is then the product of a factor of the effect's
    seed and a factor of the cause's seed, and no order has as large a sum as the recorded one. The
    best approximation by such a product is therefore subtracted from the matrix before the skill is
    summed (see `interaction`).

    Args:
      skill_SxSxKxL: correlation with which the effect of one seed (first axis) estimates the cause
        of another seed (second axis), at K lags and with L >= 2 library sizes, ascending.
      seed: random seed of the random orders, used for more than 7 seeds.

    Returns:
      The larger of the p-values of two statistics, between 1 / `count_orders` and 1. The first
      statistic is the skill of the largest library beyond that product. The second is the rise of
      the skill from the smallest to the largest library. Each order uses the lag at which its first
      statistic is largest. p is 1 for a single seed.
    """
    if len(skill_SxSxKxL) == 1:
        return 1.0
    rho = np.nan_to_num(skill_SxSxKxL)
    level, rise = rho[..., -1], rho[..., -1] - rho[..., 0]
    places = orders(len(rho), np.random.default_rng(seed))
    levels, rises = _sums(interaction(level), places), _sums(rise, places)
    best = levels.argmax(1)[:, None]
    found = (np.take_along_axis(sums, best, 1)[:, 0] for sums in (levels, rises))
    return max(float(np.mean(sums >= sums[0] - 1e-12)) for sums in found)


def _sums(part_SxSxK, orders_NxS):
    """Return the sums over the pairs of seeds that each order makes, [N, K]."""
    return sum(part_SxSxK[i, orders_NxS[:, i]] for i in range(len(part_SxSxK)))


def interaction(x_SxSxK) -> np.ndarray:
    """Subtract the best approximation of a matrix by a row factor times a column factor.

    This rank-1 approximation is given by the largest singular value (Eckart-Young). Exchanging rows
    or columns before or after the subtraction gives the same result, so a permutation test of the
    remainder is still exact.

    Args:
      x_SxSxK: one matrix [S, S] per lag.

    Returns:
      Remainder [S, S, K].
    """
    u, spread, v = np.linalg.svd(np.moveaxis(x_SxSxK, -1, 0))
    product = spread[:, :1, None] * u[:, :, :1] * v[:, :1]
    return x_SxSxK - np.moveaxis(product, 0, -1)
