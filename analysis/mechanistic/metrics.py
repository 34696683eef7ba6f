"""What can be measured of weights, activations and attention, each with its unit and range.

All functions take plain arrays. What has no value, such as the angle of a zero vector, is
not-a-number.
"""

import numpy as np

QUIET = 0.1  # of the root mean square of a layer: below that an activation counts as quiet
SHARE = 0.1  # of a layer's units are its leading ones
ROUNDING = 1e-3  # by which the sum of a row of probabilities may be off


def _probabilities(p):
    p = np.asarray(p, float)
    if (p < 0).any() or np.abs(p.sum(-1) - 1).max() > ROUNDING:
        raise ValueError("attention must be probabilities: non-negative, each row of sum 1")
    return p


def attention_entropy(p_PxHxQxK):
    """Entropy of where each head looks.

    Args:
      p_PxHxQxK: attention probabilities; never logits, never softmaxed again.

    Returns:
      [H], mean over examples and queries in nats, 0 (one place) to ln K (everywhere).

    Raises:
      ValueError: not probabilities.
    """
    p = _probabilities(p_PxHxQxK)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1).mean((0, 2))


def attention_specialization(p_PxHxQxK) -> dict[str, float]:
    """How differently focused the heads of a block are.

    Args:
      p_PxHxQxK: attention probabilities.

    Returns:
      mean_entropy, min_entropy, max_entropy, entropy_std and specialization_index, the largest
      minus the smallest entropy of a head; nats, at most ln K = max_possible.
    """
    entropy_H = attention_entropy(p_PxHxQxK)
    return {
        "mean_entropy": float(entropy_H.mean()),
        "min_entropy": float(entropy_H.min()),
        "max_entropy": float(entropy_H.max()),
        "entropy_std": float(entropy_H.std()),
        "specialization_index": float(np.ptp(entropy_H)),
        "max_possible": float(np.log(np.shape(p_PxHxQxK)[-1])),
    }


def attention_distance(p, q):
    """Total variation distance between two sets of attention probabilities.

    Args:
      p, q: [..., K].

    Returns:
      [...], 0 (the same) to 1 (nothing in common).
    """
    return np.abs(_probabilities(p) - _probabilities(q)).sum(-1) / 2


def head_similarity(p_PxHxQxK):
    """How alike two heads of a block look, mean over all pairs.

    Args:
      p_PxHxQxK: attention probabilities.

    Returns:
      1 minus the total variation distance, 0 to 1; not-a-number for a single head.
    """
    p = np.asarray(p_PxHxQxK, float)
    pairs = [(i, j) for i in range(p.shape[1]) for j in range(i)]
    distances = [attention_distance(p[:, i], p[:, j]).mean() for i, j in pairs]
    return 1 - float(np.mean(distances)) if pairs else float("nan")


def positional_scores(p_PxHxQxQ) -> dict[str, np.ndarray]:
    """Attention that goes to fixed places relative to the query.

    Args:
      p_PxHxQxQ: attention probabilities between the tokens of one sequence.

    Returns:
      `itself`, `previous`, `next` and `first`: [H], the mean probability of looking there, 0 to 1;
      1 / Q is what uniform attention gives.
    """
    mean_HxQxQ = _probabilities(p_PxHxQxQ).mean(0)

    def diagonal(offset):
        return np.diagonal(mean_HxQxQ, offset, 1, 2).mean(-1)

    return {
        "itself": diagonal(0),
        "previous": diagonal(-1),
        "next": diagonal(1),
        "first": mean_HxQxQ[:, 1:, 0].mean(-1),
    }


def induction_score(p_PxHxQxQ, period: int):
    """Attention from a repeated token to the one that followed it the last time.

    Olsson et al. 2022. It applies to sequences that repeat with a period.

    Args:
      p_PxHxQxQ: attention probabilities.
      period: tokens after which the sequence repeats.

    Returns:
      [H], 0 to 1.
    """
    p = _probabilities(p_PxHxQxQ)
    queries = np.arange(period, p.shape[-1])
    return p[:, :, queries, queries - period + 1].mean((0, 2))


def cosine_similarity(a, b) -> float:
    """Cosine of the angle between two arrays, -1 to 1; not-a-number if one is zero."""
    a, b = (np.asarray(x, float).ravel() for x in (a, b))
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.clip(a @ b / norm, -1, 1)) if norm > 0 else float("nan")


def weight_change_magnitude(before, after) -> dict[str, float]:
    """How far weights have moved.

    Args:
      before, after: of the same shape.

    Returns:
      l2_norm, relative_change (of the norm before), max_change, mean_change, cosine_similarity.
    """
    before, after = np.asarray(before, float), np.asarray(after, float)
    change, norm = after - before, np.linalg.norm(before)
    moved = float(np.linalg.norm(change))
    return {
        "l2_norm": moved,
        "relative_change": moved / norm if norm > 0 else float("nan"),
        "max_change": float(np.abs(change).max()),
        "mean_change": float(np.abs(change).mean()),
        "cosine_similarity": cosine_similarity(before, after),
    }


def linear_cka(x_NxD, y_NxE) -> float:
    """Compute the debiased linear centred kernel alignment of two representations.

    The usual estimate approaches 1 for independent representations that are wide relative to the
    number of examples. This one uses the unbiased estimate of HSIC (Song et al. 2012,
    https://www.jmlr.org/papers/v13/song12a.html, equation 5; Kornblith et al. 2019,
    https://arxiv.org/abs/1905.00414). It does not change under rotation and scaling.

    Args:
      x_NxD, y_NxE: activations of the same N examples.

    Returns:
      At most 1, near 0 and of either sign for independent representations; not-a-number with fewer
      than 4 examples or where one does not vary.
    """
    if len(x_NxD) < 4:
        return float("nan")
    x, y = (_unbiased_centred_gram(_centred(a)) for a in (x_NxD, y_NxE))
    self_x, self_y = np.vdot(x, x), np.vdot(y, y)
    if not min(self_x, self_y) > 0:
        return float("nan")
    # Divide one by one: the product of two small or large squares leaves the range of floats.
    return float(np.vdot(x / np.sqrt(self_x), y / np.sqrt(self_y)))


def _unbiased_centred_gram(a_NxD):
    """The U-centred Gram matrix; inner products of two of them are unbiased in HSIC.

    Szekely and Rizzo 2014, https://arxiv.org/abs/1310.2926, show that this centring gives the
    estimate of Song et al.
    """
    n, size = len(a_NxD), np.abs(a_NxD).max(initial=0.0)
    a_NxD = a_NxD / size if size > 0 else a_NxD
    gram = a_NxD @ a_NxD.T
    np.fill_diagonal(gram, 0.0)
    rows = gram.sum(0)
    gram += rows.sum() / ((n - 1) * (n - 2)) - (rows[:, None] + rows) / (n - 2)
    np.fill_diagonal(gram, 0.0)
    return gram


def _centred(a_NxD):
    """Activations less their means; exactly zero where only rounding is left."""
    a_NxD = np.asarray(a_NxD, float)
    left = a_NxD - a_NxD.mean(0)
    return np.where(np.abs(left).max(0) > 1e-12 * np.abs(a_NxD).max(0), left, 0.0)


def principal_angles(x_NxD, y_NxE, k: int):
    """Angles between the leading principal subspaces of two representations, over the examples.

    Args:
      x_NxD, y_NxE: activations.
      k: dimensions of each subspace; fewer where a representation has fewer.

    Returns:
      At most [k] angles in radians, smallest first, 0 (shared) to pi / 2 (orthogonal).
    """
    bases = []
    for a in (x_NxD, y_NxE):
        u, s, _ = np.linalg.svd(_centred(a), full_matrices=False)
        bases.append(u[:, :k][:, s[:k] > 1e-10 * max(s[0], 1e-300)])
    cosines = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return np.arccos(np.clip(cosines, -1, 1))


def activation_sparsity(a) -> float:
    """Share of activations below a tenth of their layer's root mean square, 0 to 1.

    The threshold moves with the scale of the layer. Normal values give 0.08.
    """
    a = np.asarray(a, float)
    return float((np.abs(a) < QUIET * np.sqrt(np.mean(a**2))).mean()) if a.any() else float("nan")


def class_selectivity(a_PxD, y_P):
    """How much more a unit responds to its best class than to the others.

    Morcos et al. 2018, on the activations above zero: (best - rest) / (best + rest) of the class
    means.

    Args:
      a_PxD: activations.
      y_P: class of each example.

    Returns:
      [D], 0 (all classes alike) to 1 (one class only); not-a-number for a silent unit.
    """
    a_PxD, y_P = np.maximum(np.asarray(a_PxD, float), 0), np.asarray(y_P)
    member_CxP = np.unique(y_P)[:, None] == y_P[None]
    mean_CxD = (member_CxP / member_CxP.sum(1, keepdims=True)) @ a_PxD
    if len(mean_CxD) < 2:
        raise ValueError("selectivity needs at least two classes")
    best_D = mean_CxD.max(0)
    rest_D = (mean_CxD.sum(0) - best_D) / (len(mean_CxD) - 1)
    total_D = best_D + rest_D
    index_D = np.clip(best_D - rest_D, 0, None) / np.where(total_D > 0, total_D, 1)
    return np.where(total_D > 0, index_D, np.nan)


def selectivity_beyond_chance(a_PxD, y_P, rng, shuffles: int = 20) -> dict[str, float]:
    """A layer's mean class selectivity, and what shuffled labels give.

    Args:
      a_PxD: activations.
      y_P: class of each example.
      rng: NumPy generator.
      shuffles: of the labels.

    Returns:
      `selectivity`, `chance` (mean over shuffles) and `p`, all 0 to 1.
    """
    found = float(np.nanmean(class_selectivity(a_PxD, y_P)))
    null = [np.nanmean(class_selectivity(a_PxD, rng.permutation(y_P))) for _ in range(shuffles)]
    p = (1 + np.sum(np.array(null) >= found)) / (1 + shuffles)
    return {"selectivity": found, "chance": float(np.mean(null)), "p": float(p)}


def filter_differentiation(w_DxN) -> dict[str, float]:
    """How different the filters of a layer are.

    Args:
      w_DxN: one filter a row.

    Returns:
      `similarity`, the mean |cosine| over pairs, 0 to 1; `orthogonality`, 1 minus the root mean
      square cosine, 1 for an orthogonal set; `rank`, the participation ratio
      (sum s^2)^2 / sum s^4 of the singular values, 1 to min(D, N). Filters of zeros are left out.
    """
    w = np.asarray(w_DxN, float)
    norms = np.linalg.norm(w, axis=1)
    w = w[norms > 0] / norms[norms > 0, None]
    energy = np.linalg.svd(w, compute_uv=False) ** 2 if len(w) else np.zeros(1)
    cosines = np.abs(w @ w.T)[np.triu_indices(len(w), 1)]
    return {
        "similarity": float(cosines.mean()) if len(cosines) else float("nan"),
        "orthogonality": 1 - float(np.sqrt((cosines**2).mean())) if len(cosines) else float("nan"),
        "rank": float(energy.sum() ** 2 / (energy**2).sum()) if energy.any() else 0.0,
    }


def feature_turnover(before_D, after_D, share: float = SHARE) -> float:
    """How many of a layer's leading units are no longer among them.

    Args:
      before_D, after_D: what ranks the units, such as their selectivity.
      share: of the units that lead.

    Returns:
      1 minus the Jaccard index of the two sets, 0 (the same units) to 1 (all others).
    """
    count = max(round(share * len(before_D)), 1)
    old, new = (
        set(np.argsort(-np.nan_to_num(np.asarray(x, float), nan=-np.inf), kind="stable")[:count])
        for x in (before_D, after_D)
    )
    return 1 - len(old & new) / len(old | new)


def births_and_deaths(positive_before_D, positive_after_D) -> dict[str, int]:
    """Rectified units that fell silent or spoke up.

    Args:
      positive_before_D, positive_after_D: share of the probe for which each unit is above zero.

    Returns:
      `born`, `died` and `dead` (after), numbers of units.
    """
    before, after = (np.asarray(x) > 0 for x in (positive_before_D, positive_after_D))
    return {
        "born": int((after & ~before).sum()),
        "died": int((before & ~after).sum()),
        "dead": int((~after).sum()),
    }
