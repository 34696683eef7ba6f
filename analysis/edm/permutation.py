"""Exchange of seeds: is a cause estimated better from its own run than from other seeds' runs?"""

import itertools
import math

import numpy as np

EXACT = 7  # seeds up to which all orders are taken: 5040
RANDOM = 9999  # orders drawn at random for more seeds


def count_orders(seeds: int) -> int:
    """How many orders of seeds a test looks at, the recorded one included; p is at least 1 / this.

    Args:
      seeds: how many.

    Returns:
      All n! up to 7 seeds, 10,000 beyond.
    """
    return math.factorial(seeds) if seeds <= EXACT else RANDOM + 1


def orders(seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Orders of the seeds, [N, S]; the first is the recorded one, 0, 1, ..."""
    if seeds <= EXACT:
        return np.array(list(itertools.permutations(range(seeds))))
    drawn = rng.permuted(np.tile(np.arange(seeds), (RANDOM, 1)), axis=1)
    return np.vstack([np.arange(seeds), drawn])


def exchanged_p(skill_SxSxKxL, seed: int = 0) -> float:
    """p of cross-map skill within runs, against causes exchanged between the seeds.

    What is permuted: which seed's cause is paired with which seed's effect; both keep everything
    of their own, trends and schedules that all seeds share included. The null hypothesis is that
    the causes of the seeds are exchangeable given the effects, which holds if the seeds are
    independent repetitions and a cause does not act on the effect of its own run. All orders are
    a group and contain the recorded one, so P(p <= a) <= a holds for any statistic (Hemerik and
    Goeman 2018, https://doi.org/10.1007/s11749-017-0571-1). Orders that leave no seed in its place
    are no group, and give p <= .05 too often.

    Seeds may differ in noise, which all variables of a run then share. If there is a signal that
    all seeds have, quiet causes are known better, and by quiet effects best, without any link: the
    skill is a product of a factor of the effect's seed and one of the cause's, and no order gives
    as large a sum as the recorded one. Skill is therefore summed over what the largest such product
    leaves of the matrix (`interaction`).

    Args:
      skill_SxSxKxL: correlation with which the effect of a seed (first axis) estimates the cause
        of a seed (second), at several lags and from libraries of two sizes or more, ascending.
      seed: of the random orders, for more than 7 seeds.

    Returns:
      The larger p of two statistics, at the lag at which the first is largest: skill of the
      largest library beyond that product, and the rise from the smallest. At least
      1 / `count_orders`, and 1 for a single seed.
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
    """Sums over the pairs that each order makes, [N, K]."""
    return sum(part_SxSxK[i, orders_NxS[:, i]] for i in range(len(part_SxSxK)))


def interaction(x_SxSxK) -> np.ndarray:
    """What the nearest product of a factor of the row and one of the column leaves (Eckart-Young).

    Exchanging rows or columns before or after gives the same, so a permutation test of it stays
    exact.
    """
    u, spread, v = np.linalg.svd(np.moveaxis(x_SxSxK, -1, 0))
    product = spread[:, :1, None] * u[:, :, :1] * v[:, :1]
    return x_SxSxK - np.moveaxis(product, 0, -1)
