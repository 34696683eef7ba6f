"""Tests that few seeds allow, their correction for many rows, and when there is too little data.

The unit of replication is the seed, or the architecture: layers, jumps and measurements of one
seed are not independent of each other.
"""

import math

import numpy as np
from scipy import stats

ALPHA = 0.05
RESAMPLES = 9999  # sign patterns; all of them up to 13 seeds
LEAST_SEEDS = 6  # of a sign-flip test: its smallest p is 2 / 2^n, .0625 with 5 seeds
# Measured on architectures whose ln alpha is noise: the best held-out R2 of the four forms exceeds
# .2 in 24 % of draws with 5 architectures, 8 % with 10, 4 % with 15.
LEAST_GROUPS = 15  # of a held-out R2
# The 95 % interval of a correlation of 0 reaches +- .58 with 12 groups, +- .88 with 5: with
# 12 groups, a correlation of .6 can be distinguished from 0.
LEAST_CORRELATED = 12


def too_few(n: int, least: int, what: str) -> str | None:
    """Say that a score or a test cannot be shown.

    Args:
      n: groups that there are.
      least: groups that it takes.
      what: name of the groups, such as `seeds`.

    Returns:
      "too few to tell: n = 5 seeds, needs >= 6", or None if there are enough.
    """
    return f"too few to tell: n = {n} {what}, needs >= {least}" if n < least else None


def sign_flip_p(differences_S, seed: int = 0) -> float:
    """Two-sided p of a mean difference between pairs, one pair a seed.

    Under the null the two members of a pair, trained from the same seed, are exchangeable. Each
    difference is then as likely as its opposite, independently of those of other seeds, and the
    2^n sign patterns form a group. No distribution is assumed. A t test would assume a normal one:
    with 3 seeds it calls differences of nearly one size significant whatever they are.
    The test is exact up to 13 seeds, and uses 9,999 random patterns beyond.

    Args:
      differences_S: one difference a seed.
      seed: of the random patterns.

    Returns:
      p, 2 / 2^n to 1; not-a-number for fewer than 6 seeds, whose smallest p is above .05, and if
      a difference is not finite, as after a divergence.
    """
    differences_S = np.asarray(differences_S, float)
    if len(differences_S) < LEAST_SEEDS or not np.isfinite(differences_S).all():
        return math.nan
    # In units of the largest, so that sums that are equal but for rounding are counted as equal.
    scaled_S = np.round(differences_S / max(np.abs(differences_S).max(), 1e-300), 12)
    test = stats.permutation_test(
        (scaled_S,), np.mean, permutation_type="samples", vectorized=True,
        n_resamples=RESAMPLES, random_state=seed,
    )  # fmt: skip
    return float(test.pvalue)


def q_values(p_N) -> np.ndarray:
    """False discovery rates of several tests (Benjamini and Hochberg 1995).

    Args:
      p_N: p-values; not-a-number where nothing was tested.

    Returns:
      q-values [N], corrected over the tests that were made, not-a-number elsewhere.
    """
    p_N = np.asarray(p_N, float)
    q_N, tested_N = np.full(p_N.shape, np.nan), np.isfinite(p_N)
    if tested_N.any():
        q_N[tested_N] = stats.false_discovery_control(p_N[tested_N])
    return q_N


def seeds_for(rows: int) -> int:
    """Seeds with which a single row of a table can reach q <= .05 alone.

    Args:
      rows: that are tested together.

    Returns:
      The smallest n with rows * 2 / 2^n <= .05.
    """
    return math.ceil(math.log2(2 * rows / ALPHA))


def correct(rows: list[dict], p: str, q: str) -> str | None:
    """Replace the p column of a table by q-values, in place.

    Args:
      rows: of the table, each with its number of seeds `n`; those without `p` are not tested.
      p: name of the column with p-values, which is taken out.
      q: name of the column with q-values.

    Returns:
      What the number of seeds does not allow, None if it allows everything.
    """
    compared = [row for row in rows if p in row]
    for row, value in zip(compared, q_values([row[p] for row in compared]), strict=True):
        del row[p]
        row[q] = float(value)
    if not compared:
        return None
    seeds = max(row["n"] for row in compared)
    least = seeds_for(len(compared))
    if seeds < LEAST_SEEDS:
        return f"{q}: {too_few(seeds, LEAST_SEEDS, 'seeds')}"
    if seeds < least:
        return f"{q}: {too_few(seeds, least, 'seeds')} for one row of {len(compared)} to pass alone"
    return None
