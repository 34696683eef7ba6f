"""Tests for small numbers of seeds, correction for multiple tests, and checks for too little data.

The unit of replication is the seed or the architecture, because layers, jumps and measurements of
one seed are not independent of each other.
"""

import math

import numpy as np
from scipy import stats

ALPHA = 0.05
RESAMPLES = 9999  # random sign patterns; up to 13 seeds all patterns are used instead
LEAST_SEEDS = 6  # minimum for a sign-flip test: its smallest p is 2 / 2^n, .0625 with 5 seeds
# Minimum number of groups for a held-out R2. In simulations with architectures whose ln alpha is
# pure noise, the best held-out R2 of the four forms exceeds .2 in 24 % of draws with 5
# architectures, in 8 % with 10 and in 4 % with 15.
LEAST_GROUPS = 15
# Minimum number of groups for a correlation. The 95 % interval of a correlation of 0 is +- .58 with
# 12 groups and +- .88 with 5 groups. With 12 groups, a correlation of .6 can be distinguished from
# 0.
LEAST_CORRELATED = 12


def too_few(n: int, least: int, what: str) -> str | None:
    """Return a remark if there are too few groups for a score or a test.

    Args:
      n: number of available groups.
      least: minimum number of groups that the score or test needs.
      what: name of the groups, such as `seeds`.

    Returns:
      "too few to tell: n = 5 seeds, needs >= 6", or None if there are enough.
    """
    return f"too few to tell: n = {n} {what}, needs >= {least}" if n < least else None


def sign_flip_p(differences_S, seed: int = 0) -> float:
    """Compute the two-sided p-value of a mean difference between pairs, with one pair per seed.

    Under the null hypothesis, the two members of a pair are exchangeable because they are trained
    from the same seed. Each difference is then as likely as its opposite, independently of the
    differences of other seeds, and the 2^n sign patterns form a group. No distribution is assumed.
    A t test would assume a normal distribution. With 3 seeds it calls differences of nearly equal
    size significant, whatever their size. The test is exact up to 13 seeds. For more seeds it uses
    9,999 random patterns.

    Args:
      differences_S: one difference per seed, [S].
      seed: seed of the random patterns.

    Returns:
      p-value between 2 / 2^n and 1. It is not-a-number for fewer than 6 seeds, because their
      smallest p is above .05, and if a difference is not finite, as after a divergence.

    Examples:
      >>> sign_flip_p(np.array([0.1, 0.2, 0.1, 0.3, 0.2, 0.1]))  # 2 of 64 sign patterns
      0.03125
    """
    differences_S = np.asarray(differences_S, float)
    if len(differences_S) < LEAST_SEEDS or not np.isfinite(differences_S).all():
        return math.nan
    # Scale by the largest difference and round, because sums that differ only by rounding errors
    # must be counted as equal.
    scaled_S = np.round(differences_S / max(np.abs(differences_S).max(), 1e-300), 12)
    test = stats.permutation_test(
        (scaled_S,), np.mean, permutation_type="samples", vectorized=True,
        n_resamples=RESAMPLES, random_state=seed,
    )  # fmt: skip
    return float(test.pvalue)


def q_values(p_N) -> np.ndarray:
    """Compute the false discovery rates of several tests (Benjamini and Hochberg 1995).

    See https://doi.org/10.1111/j.2517-6161.1995.tb02031.x.

    Args:
      p_N: p-values, [N]; not-a-number where nothing was tested.

    Returns:
      q-values [N], corrected over the tests that were made; not-a-number elsewhere.

    Examples:
      >>> q_values([0.01, 0.02, 0.5]).round(3).tolist()  # Benjamini-Hochberg
      [0.03, 0.03, 0.5]
    """
    p_N = np.asarray(p_N, float)
    q_N, tested_N = np.full(p_N.shape, np.nan), np.isfinite(p_N)
    if tested_N.any():
        q_N[tested_N] = stats.false_discovery_control(p_N[tested_N])
    return q_N


def seeds_for(rows: int) -> int:
    """Return the number of seeds with which one significant row can reach q <= .05 on its own.

    Args:
      rows: number of rows that are tested together.

    Returns:
      The smallest n for which rows * 2 / 2^n <= .05.
    """
    return math.ceil(math.log2(2 * rows / ALPHA))


def correct(rows: list[dict], p: str, q: str) -> str | None:
    """Replace the p-values of a table by q-values, in place.

    Args:
      rows: rows of the table, each with its number of seeds `n`. Rows without a column `p` are not
        tested.
      p: name of the column with the p-values, which is removed.
      q: name of the column that receives the q-values.

    Returns:
      A remark if there are too few seeds for a test or for one row to be significant on its own;
      None if there are enough.
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
        return (
            f"{q}: with {seeds} seeds, one of {len(compared)} rows cannot pass unless others do, "
            f"too; {least} seeds would be enough"
        )
    return None


def told_q(q: float) -> str:
    """Return a q-value as text, or say that there are too few seeds for one."""
    return "too few seeds for a test" if np.isnan(q) else f"q {q:.3f}"
