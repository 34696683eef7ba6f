"""Tests of whether training passes through states in an order that seeds share.

A further test asks whether the states only follow the place within an epoch.
"""

import numpy as np

from analysis.statistics.surrogates import circular_shifts, p_value

BLOCKS, FEWEST_BLOCKS = 20, 8  # most and fewest blocks of equal length that are compared
PLACES = 20  # number of parts of an epoch
SHUFFLES = 999
LEAST_SEEDS, RATE = 5, 0.05  # fewest seeds and largest p-value of a claim


def occupancy(label_T, blocks: int, count: int) -> np.ndarray:
    """Compute the share of the time that each block spends in each state.

    Time in no state does not count. A block without any state has shares of 0.

    Args:
      label_T: states from 1, 0 for none.
      blocks: number of blocks.
      count: number of states.

    Returns:
      Shares [blocks, count].
    """
    parts = np.array_split(np.asarray(label_T), blocks)
    counts = np.array([np.bincount(part, minlength=count + 1)[1:] for part in parts], float)
    total = counts.sum(1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def agreement(shares_SxBxK) -> float:
    """Measure how similar seeds are in the same block, compared with different blocks.

    Args:
      shares_SxBxK: occupancies of K states in B blocks, from `occupancy`.

    Returns:
      The mean overlap of the occupancies of two seeds in the same block, minus the mean overlap in
      different blocks.
    """
    seeds, blocks, _ = shares_SxBxK.shape
    overlap = np.minimum(shares_SxBxK[:, None, :, None], shares_SxBxK[None, :, None]).sum(-1)
    pairs = overlap[np.triu_indices(seeds, 1)]  # [P, B, B]
    same = np.trace(pairs, axis1=1, axis2=2).mean() / blocks
    return float(same - (pairs.sum((1, 2)).mean() - same * blocks) / (blocks * (blocks - 1)))


def contiguity(shares_BxK) -> float:
    """Measure whether blocks that are closer in time have more similar occupancies.

    Args:
      shares_BxK: occupancies of K states in B blocks, from `occupancy`.

    Returns:
      Minus the correlation between the overlap of two blocks and their distance. Only blocks at
      least two apart are compared. 0 if all overlaps are equal.
    """
    overlap = np.minimum(shares_BxK[:, None], shares_BxK[None]).sum(-1)
    i, j = np.triu_indices(len(shares_BxK), 2)
    if not overlap[i, j].std():
        return 0.0
    return float(-np.corrcoef(overlap[i, j], j - i)[0, 1])


def evidence_of_order(label_SxT, count: int, least: int, shuffles=SHUFFLES, seed=0) -> dict:
    """Test whether states occur in contiguous stretches, and at the same time in every seed.

    Contiguity is compared with that of blocks in random order. Agreement is compared with that of
    labels shifted circularly in time. Each seed has its own shift of at least one block, which
    keeps the stretches but not the times at which they occur.

    Args:
      label_SxT: states from 1, 0 for none, on one step axis.
      count: number of states.
      least: smallest number of points per block. It should be longer than a stay in a state and
        longer than the reach of a wavelet.
      shuffles: number of random repetitions for each null.
      seed: random seed of the shuffles.

    Returns:
      `seeds` and `blocks`, their numbers; `contiguity`, `contiguity_p`; `agreement`, `agreement_p`
      (None for a single seed); and `ordered`, whether both are beyond chance (None for fewer than
      five seeds). All but the numbers are None for fewer than eight blocks.
    """
    rng = np.random.default_rng(seed)
    label_SxT = np.asarray(label_SxT)
    seeds, length = label_SxT.shape
    blocks = min(BLOCKS, length // least)
    result = {"seeds": seeds, "blocks": blocks, "contiguity": None, "contiguity_p": None}
    result |= {"agreement": None, "agreement_p": None, "ordered": None}
    if blocks < FEWEST_BLOCKS:
        return result
    shares = np.stack([occupancy(row, blocks, count) for row in label_SxT])
    found = np.mean([contiguity(s) for s in shares])
    null = [np.mean([contiguity(rng.permutation(s)) for s in shares]) for _ in range(shuffles)]
    result |= {"contiguity": float(found), "contiguity_p": p_value(found, null)}
    if seeds == 1:
        return result
    together, null = agreement(shares), []
    for _ in range(shuffles):
        shifts = circular_shifts(length, length // blocks, seeds, rng)
        moved = [np.roll(row, shift) for row, shift in zip(label_SxT, shifts, strict=True)]
        null.append(agreement(np.stack([occupancy(row, blocks, count) for row in moved])))
    result |= {"agreement": together, "agreement_p": p_value(together, null)}
    if seeds >= LEAST_SEEDS:
        result["ordered"] = max(result["contiguity_p"], result["agreement_p"]) <= RATE
    return result


def epoch_information(label_SxT, step_T, period: int, shuffles=SHUFFLES, seed=0) -> dict:
    """Measure how much information the place within an epoch gives about the state.

    If it gives much, the map may show only the epoch. The null consists of labels that are shifted
    circularly within each epoch, by a different amount in each epoch.

    Args:
      label_SxT: states from 1, 0 for none.
      step_T: steps of the labels.
      period: number of steps per epoch.
      shuffles: number of random repetitions for the null.
      seed: random seed of the shuffles.

    Returns:
      `bits` of mutual information, `null_bits` (mean of the null) and `p`. All are None for fewer
      than three complete epochs.
    """
    epoch, place = np.divmod(step_T, period)
    whole, counts = np.unique(epoch, return_counts=True)
    whole = whole[counts >= counts.max() - 1]
    if len(whole) < 3:
        return {"bits": None, "null_bits": None, "p": None}
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(epoch == e) for e in whole]
    bins = np.concatenate([place[part] * PLACES // period for part in parts])

    def information(pick):
        labels = np.concatenate([label_SxT[:, pick(part)] for part in parts], 1)
        table = np.zeros((labels.max() + 1, PLACES))
        np.add.at(table, (labels, np.broadcast_to(bins, labels.shape)), 1)
        joint = table / table.sum()
        independent = joint.sum(1, keepdims=True) * joint.sum(0)
        seen = joint > 0
        return float((joint[seen] * np.log2(joint[seen] / independent[seen])).sum())

    def moved(part):
        return np.roll(part, rng.integers(len(part)))

    found = information(lambda part: part)
    null = [information(moved) for _ in range(shuffles)]
    return {"bits": found, "null_bits": float(np.mean(null)), "p": p_value(found, null)}
