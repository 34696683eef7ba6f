"""Does training pass through states in an order that seeds share, and does the epoch make it?"""

import numpy as np

from analysis.statistics.surrogates import circular_shifts, p_value

BLOCKS, FEWEST_BLOCKS = 20, 8  # of equal length, over which occupancy is compared
PLACES = 20  # parts of an epoch
SHUFFLES = 999
LEAST_SEEDS, RATE = 5, 0.05  # of a claim


def occupancy(label_T, blocks: int, count: int) -> np.ndarray:
    """Shares of the time of each block that are spent in each state, [blocks, count]."""
    parts = np.array_split(np.asarray(label_T), blocks)
    counts = np.array([np.bincount(part, minlength=count + 1)[1:] for part in parts], float)
    total = counts.sum(1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def agreement(shares_SxBxK) -> float:
    """How alike seeds are in the same block, beyond how alike they are in any: mean overlap of the
    occupancies of two seeds at the same time, less the mean at different times."""
    seeds, blocks, _ = shares_SxBxK.shape
    overlap = np.minimum(shares_SxBxK[:, None, :, None], shares_SxBxK[None, :, None]).sum(-1)
    pairs = overlap[np.triu_indices(seeds, 1)]  # [P, B, B]
    same = np.trace(pairs, axis1=1, axis2=2).mean() / blocks
    return float(same - (pairs.sum((1, 2)).mean() - same * blocks) / (blocks * (blocks - 1)))


def contiguity(shares_BxK) -> float:
    """Whether blocks are the more alike the nearer they are: less the correlation of the overlap of
    occupancies with the distance of blocks, from the next but one on; 0 if blocks have no order."""
    overlap = np.minimum(shares_BxK[:, None], shares_BxK[None]).sum(-1)
    i, j = np.triu_indices(len(shares_BxK), 2)
    if not overlap[i, j].std():
        return 0.0
    return float(-np.corrcoef(overlap[i, j], j - i)[0, 1])


def evidence_of_order(label_SxT, count: int, least: int, shuffles=SHUFFLES, seed=0) -> dict:
    """Whether states come in contiguous stretches, and at the same time in every seed.

    Contiguity is held against blocks in random order; agreement against every seed's labels moved
    along its own time, circularly and by at least a block, which keeps stretches and loses when
    they happen.

    Args:
      label_SxT: states from 1, 0 for none, on one step axis.
      count: of states.
      least: points of a block, more than a state's stay and than what a wavelet sees.
      shuffles: of each null.
      seed: of the shuffles.

    Returns:
      `contiguity`, `contiguity_p`; `agreement`, `agreement_p` (None for a single seed, all None for
      fewer than eight blocks); `ordered`: whether both are beyond chance, None for fewer than five
      seeds or eight blocks.
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
    """How much the place in an epoch tells of the state: a map may show nothing but the epoch.

    Held against labels moved circularly inside each epoch, each by an amount of its own.

    Args:
      label_SxT: states from 1, 0 for none.
      step_T: their steps.
      period: steps of an epoch.
      shuffles: of the null.
      seed: of the shuffles.

    Returns:
      `bits` of mutual information, `null_bits` (mean of the null) and `p`; all None for fewer than
      three whole epochs.
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
