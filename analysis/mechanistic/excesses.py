"""Test of changes around a critical step against ordinary changes, over many quantities at once.

The trend over training is subtracted from the logarithm of each change. The result is divided by
the spread of the ordinary changes of the same seed. A change counts if it exceeds the largest value
over all quantities in ordinary pairs of states (Westfall and Young 1993). In this way the test is
corrected for the number of quantities. Changes of whole layers and of single units are scaled
separately, each by its own tail. A single unit sometimes moves very far in ordinary training and
would otherwise hide a change of a layer.
"""

import numpy as np

from analysis.mechanistic import single_units

LEAST_PAIRS = 19  # ordinary pairs over all seeds; with fewer, no p-value reaches 5 %
LEAST_OF_SEED = 5  # ordinary pairs of one seed that are needed to estimate a spread
LEAST_SPREAD = 0.25  # smallest spread of the logarithm of a change
TAIL = 0.1  # share of rows that define the tail
SMALL = 0.1  # relative to the mean change; differences between smaller changes do not matter


def excesses(null_NxK, seed_N, step_N, observed_K, seed, step, least_K=1e-9, of_units=()):
    """Compute changes in units of the spread of ordinary changes, and their p-values.

    Each row, ordinary or not, is compared with the other ordinary rows of its own seed. Under the
    null, all rows are therefore exchangeable.

    Args:
      null_NxK: changes of K quantities over N ordinary pairs, [N, K].
      seed_N: seed of each ordinary pair, [N].
      step_N: training step of each ordinary pair, [N]. It is needed because changes become smaller
        during training.
      observed_K: changes at the critical step, [K].
      seed: seed of the critical step.
      step: training step of the critical step.
      least_K: resolution of each quantity, [K] or one number. Smaller changes are not
        distinguished.
      of_units: one pair of arrays for each of J layers: changes of the units at the critical step
        [U], and over ordinary pairs [N, U]. The largest over the units of a layer is one more
        quantity; see `single_units.largest`.

    Returns:
      (z [K + J], p [K + J]), where p is the share of rows whose most unusual quantity is at least
      as unusual.

    Raises:
      ValueError: there are too few ordinary pairs.
    """
    null_NxK, seed_N, step_N = (np.asarray(a) for a in (null_NxK, seed_N, step_N))
    rows = usable(seed_N)
    kept = np.unique(seed_N[rows])
    if seed not in kept or len(rows) < LEAST_PAIRS:
        raise ValueError(
            f"{len(rows)} ordinary pairs are too few, at least {LEAST_PAIRS} are needed"
        )
    same = seed_N == seed
    z_K = _beyond(observed_K, step, null_NxK[same], step_N[same], least_K)
    largest_N = np.zeros(len(seed_N))
    for i in rows:
        others = (seed_N == seed_N[i]) & (np.arange(len(seed_N)) != i)
        z = _beyond(null_NxK[i], step_N[i], null_NxK[others], step_N[others], least_K)
        largest_N[i] = z.max(initial=0.0)
    scores_K, scores_N = _scores(z_K, largest_N[rows])
    if len(of_units):
        z_J, largest_N = _largest_units(of_units, seed_N, step_N, kept, seed, step)
        scores_J, of_units_N = _scores(z_J, largest_N[rows])
        z_K, scores_K = np.append(z_K, z_J), np.append(scores_K, scores_J)
        scores_N = np.maximum(scores_N, of_units_N)
    reached_K = (scores_N[:, None] >= scores_K).sum(0)
    return z_K, (1 + reached_K) / (1 + len(rows))


def usable(seed_N) -> np.ndarray:
    """Return the ordinary pairs that `excesses` counts: those of seeds with enough of them.

    Args:
      seed_N: seed of each ordinary pair, [N].

    Returns:
      Indices of pairs. The smallest p that `excesses` can return is 1 / (1 + their number).
    """
    seeds, counts = np.unique(seed_N, return_counts=True)
    return np.flatnonzero(np.isin(seed_N, seeds[counts >= LEAST_OF_SEED]))


def _beyond(row_K, step, others_NxK, steps_N, least_K):
    """Compute how far a row lies above the power law in the step that the other rows follow.

    The unit is the standard error of the prediction, which grows with the distance in ln(1 + step)
    between the row and the other rows.
    """
    least_K = np.maximum(SMALL * others_NxK.mean(0), least_K)
    logs_NxK = np.log(others_NxK + least_K)
    design_Nx2 = np.stack([np.ones(len(steps_N)), np.log1p(steps_N)], 1)
    at_2, solve_2xN = np.array([1.0, np.log1p(step)]), np.linalg.pinv(design_Nx2)
    law_2xK = solve_2xN @ logs_NxK
    spread_K = np.sqrt(((logs_NxK - design_Nx2 @ law_2xK) ** 2).sum(0) / (len(logs_NxK) - 2))
    leverage = np.sum((at_2 @ solve_2xN) ** 2)
    error_K = np.maximum(spread_K, LEAST_SPREAD) * np.sqrt(1 + leverage)
    return (np.log(row_K + least_K) - at_2 @ law_2xK) / error_K


def _largest_units(of_units, seed_N, step_N, kept, seed, step):
    """Return z [J] of the most moved unit per layer, and the largest over layers per pair [N]."""
    z_J, largest_N = [], np.zeros(len(seed_N))
    for row_U, others_NxU in of_units:
        for other in kept:
            own = np.flatnonzero(seed_N == other)
            at = (row_U, step) if other == seed else (others_NxU[own[0]], step_N[own[0]])
            z, z_N = single_units.largest(*at, others_NxU[own], step_N[own])
            largest_N[own] = np.maximum(largest_N[own], z_N)
            if other == seed:
                z_J.append(z)
    return np.array(z_J), largest_N


def _scores(z_K, largest_N):
    """Express z and the largest z of each row in units of their tail.

    A tenth of the rows reaches 0, and the mean excess of these rows over 0 is 1. This describes the
    tail as far as it is exponential.
    """
    rows = np.append(largest_N, z_K.max(initial=0.0))
    start = np.quantile(rows, 1 - TAIL)
    scale = max((rows[rows > start] - start).mean() if (rows > start).any() else 0.0, 1e-9)
    return [(z - start) / scale for z in (z_K, largest_N)]
