"""Changes beyond ordinary ones, over many quantities at once.

The logarithm of each change, less its trend over training, is put in units of the spread of the
ordinary changes of its seed. A change counts if it exceeds the largest over all quantities of
ordinary pairs of states (Westfall and Young 1993): the test corrects for the number of quantities.
Changes of whole layers and of single units are each put in units of their own tail, because a
single unit sometimes moves very far in ordinary training and would hide a change of a layer.
"""

import numpy as np

from analysis.mechanistic import single_units

LEAST_PAIRS = 19  # ordinary pairs over all seeds: below, no p-value reaches 5 %
LEAST_OF_SEED = 5  # ordinary pairs of one seed: a spread needs that many
LEAST_SPREAD = 0.25  # of the logarithm of a change
TAIL = 0.1  # share of rows that show how far the most unusual go
SMALL = 0.1  # of a mean change: below that, how much smaller a change is does not matter


def excesses(null_NxK, seed_N, step_N, observed_K, seed, step, least_K=1e-9, of_units=()):
    """Changes in units of the spread of ordinary ones, and how often chance goes as far.

    Each row, ordinary or not, is judged against the ordinary ones of its own seed without itself,
    so that under the null all rows are alike.

    Args:
      null_NxK: ordinary changes.
      seed_N: the seed of each.
      step_N: where in training each lies; changes shrink as training goes.
      observed_K: changes at the moment.
      seed: its seed.
      step: its step.
      least_K: changes below that are alike.
      of_units: (changes of the units [U] at the moment, [N, U] of ordinary pairs) of each of J
        layers; the largest over a layer's units, see `units.largest`, is one more quantity.

    Returns:
      (z [K + J], p [K + J]): p is the share of rows whose most unusual quantity is at least as
      unusual.

    Raises:
      ValueError: too few ordinary pairs.
    """
    null_NxK, seed_N, step_N = (np.asarray(a) for a in (null_NxK, seed_N, step_N))
    kept = [s for s in np.unique(seed_N) if np.sum(seed_N == s) >= LEAST_OF_SEED]
    rows = np.flatnonzero(np.isin(seed_N, kept))
    if seed not in kept or len(rows) < LEAST_PAIRS:
        raise ValueError(f"{len(rows)} ordinary pairs are too few, at least {LEAST_PAIRS}")
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


def _beyond(row_K, step, others_NxK, steps_N, least_K):
    """How far a row lies above the power law in the step that others follow.

    In standard errors of its prediction: the further away the others are, the less it says.
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
    """z [J] of each layer's most moved unit, and the largest over layers of each pair [N]."""
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
    """Put z and the largest of each row in units of their tail: 0 is reached by a tenth of rows.

    The mean excess over that point is 1, as far as an exponential tail describes them.
    """
    rows = np.append(largest_N, z_K.max(initial=0.0))
    start = np.quantile(rows, 1 - TAIL)
    scale = max((rows[rows > start] - start).mean() if (rows > start).any() else 0.0, 1e-9)
    return [(z - start) / scale for z in (z_K, largest_N)]
