"""Metrics of weights, activations and attention, each documented with its unit and range.

All functions take plain arrays. A metric that is undefined, such as the angle of a zero vector, is
not-a-number.
"""

import numpy as np

QUIET = 0.1  # an activation below this share of the root mean square of its layer counts as quiet
SHARE = 0.1  # share of the units of a layer that count as leading
ROUNDING = 1e-3  # tolerance of the sum of a row of probabilities


def _probabilities(p):
    p = np.asarray(p, float)
    if (p < 0).any() or np.abs(p.sum(-1) - 1).max() > ROUNDING:
        raise ValueError("attention must hold probabilities: not negative, with sum 1 per row")
    return p


def attention_entropy(p_PxHxQxK):
    """Compute the attention entropy of each head.

    Args:
      p_PxHxQxK: attention probabilities, [P, H, Q, K]. These must not be logits, and softmax must
        not be applied to them again.

    Returns:
      Mean over examples and queries, [H], in nats: 0 (all attention on one key) to ln K (uniform).

    Raises:
      ValueError: the input does not consist of probabilities.

    Examples:
      >>> attention_entropy(np.full((1, 1, 1, 4), 0.25)).round(3).tolist()  # uniform over 4: ln 4
      [1.386]
    """
    p = _probabilities(p_PxHxQxK)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1).mean((0, 2))


def attention_specialization(p_PxHxQxK) -> dict[str, float]:
    """Measure how much the heads of a block differ in their attention entropy.

    Args:
      p_PxHxQxK: attention probabilities, [P, H, Q, K].

    Returns:
      `mean_entropy`, `min_entropy`, `max_entropy` and `entropy_std` over heads;
      `specialization_index`, the largest minus the smallest entropy of a head; and `max_possible`,
      ln K. All are in nats and at most ln K.
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
    """Compute the total variation distance between two sets of attention probabilities.

    Args:
      p: attention probabilities, [..., K].
      q: attention probabilities, [..., K].

    Returns:
      Distances [...], 0 (identical) to 1 (disjoint).
    """
    return np.abs(_probabilities(p) - _probabilities(q)).sum(-1) / 2


def head_similarity(p_PxHxQxK):
    """Compute how similar the attention of two heads of a block is, mean over all pairs of heads.

    Args:
      p_PxHxQxK: attention probabilities, [P, H, Q, K].

    Returns:
      1 minus the total variation distance, 0 to 1; not-a-number for a single head.
    """
    p = np.asarray(p_PxHxQxK, float)
    pairs = [(i, j) for i in range(p.shape[1]) for j in range(i)]
    distances = [attention_distance(p[:, i], p[:, j]).mean() for i, j in pairs]
    return 1 - float(np.mean(distances)) if pairs else float("nan")


def positional_scores(p_PxHxQxQ) -> dict[str, np.ndarray]:
    """Compute the attention to fixed positions relative to the query, and to the first token.

    Args:
      p_PxHxQxQ: attention probabilities between the tokens of a sequence, [P, H, Q, Q].

    Returns:
      `itself`, `previous`, `next` and `first`: mean attention probability of that position, [H], 0
      to 1. Uniform attention gives 1 / Q.
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
    """Compute the attention from a repeated token to the token that followed its last occurrence.

    The score was introduced by Olsson et al. 2022, https://arxiv.org/abs/2209.11895. It applies to
    sequences that repeat with a period.

    Args:
      p_PxHxQxQ: attention probabilities, [P, H, Q, Q].
      period: number of tokens after which the sequence repeats.

    Returns:
      Mean attention probability, [H], 0 to 1.
    """
    p = _probabilities(p_PxHxQxQ)
    queries = np.arange(period, p.shape[-1])
    return p[:, :, queries, queries - period + 1].mean((0, 2))


def cosine_similarity(a, b) -> float:
    """Compute the cosine of the angle between two arrays, -1 to 1; not-a-number if one is zero."""
    a, b = (np.asarray(x, float).ravel() for x in (a, b))
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.clip(a @ b / norm, -1, 1)) if norm > 0 else float("nan")


def weight_change_magnitude(before, after) -> dict[str, float]:
    """Measure how far weights have moved.

    Args:
      before: weights before the change.
      after: weights after the change, of the same shape.

    Returns:
      `l2_norm`, the norm of the change; `relative_change`, this norm divided by the norm before;
      `max_change` and `mean_change`, the largest and the mean absolute change of a weight; and
      `cosine_similarity` of the weights before and after.
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
      x_NxD: activations of N examples in the first representation, [N, D].
      y_NxE: activations of the same examples in the second representation, [N, E].

    Returns:
      At most 1; near 0 and of either sign for independent representations. It is not-a-number with
      fewer than 4 examples or if a representation does not vary over the examples.

    Examples:
      >>> x = np.random.default_rng(0).standard_normal((20, 3))
      >>> round(linear_cka(x, 2 * x[:, ::-1]), 6)  # the same up to a rotation and a scale
      1.0
    """
    return float(np.vdot(unit_gram(x_NxD), unit_gram(y_NxE)))


def unit_gram(a_NxD) -> np.ndarray:
    """Compute the unbiased centred Gram matrix of a representation, divided by its norm.

    The inner product of two such matrices is the debiased CKA of two representations.

    Args:
      a_NxD: activations of N examples.

    Returns:
      Matrix [N, N] of norm 1; not-a-number with fewer than 4 examples or if the representation does
      not vary over the examples.
    """
    n = len(a_NxD)
    if n < 4:
        return np.full((n, n), np.nan)
    gram = _unbiased_centred_gram(_centred(a_NxD))
    square = np.vdot(gram, gram)
    return gram / np.sqrt(square) if square > 0 else np.full((n, n), np.nan)


def _unbiased_centred_gram(a_NxD):
    """Compute the U-centred Gram matrix; inner products of two such matrices are unbiased in HSIC.

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
    """Subtract the mean of each feature; the result is exactly zero for constant features."""
    a_NxD = np.asarray(a_NxD, float)
    left = a_NxD - a_NxD.mean(0)
    return np.where(np.abs(left).max(0) > 1e-12 * np.abs(a_NxD).max(0), left, 0.0)


def principal_angles(x_NxD, y_NxE, k: int):
    """Compute the angles between the leading principal subspaces of two representations.

    The subspaces are in the space of the N examples.

    Args:
      x_NxD: activations of N examples in the first representation, [N, D].
      y_NxE: activations of the same examples in the second representation, [N, E].
      k: number of dimensions of each subspace; fewer are used if a representation has fewer.

    Returns:
      Up to k angles in radians, smallest first, 0 (shared direction) to pi / 2 (orthogonal).

    Examples:
      >>> x = np.random.default_rng(0).standard_normal((20, 2))
      >>> principal_angles(x, x @ np.array([[1.0, 2.0], [0.0, 1.0]]), 2).round(3).tolist()
      [0.0, 0.0]
    """
    bases = []
    for a in (x_NxD, y_NxE):
        u, s, _ = np.linalg.svd(_centred(a), full_matrices=False)
        bases.append(u[:, :k][:, s[:k] > 1e-10 * max(s[0], 1e-300)])
    cosines = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return np.arccos(np.clip(cosines, -1, 1))


def activation_sparsity(a) -> float:
    """Compute the share of activations below a tenth of the root mean square of their layer.

    The threshold is relative to the scale of the layer. Normally distributed values give 0.08.

    Args:
      a: activations of a layer, of any shape.

    Returns:
      Share between 0 and 1; not-a-number if all activations are zero.
    """
    a = np.asarray(a, float)
    return float((np.abs(a) < QUIET * np.sqrt(np.mean(a**2))).mean()) if a.any() else float("nan")


def class_selectivity(a_PxD, y_P):
    """Compute how much more a unit responds to its best class than to the other classes.

    The index is that of Morcos et al. 2018, https://arxiv.org/abs/1803.06959, applied to the
    positive part of the activations: (best - rest) / (best + rest) of the class means.

    Args:
      a_PxD: activations of P probe examples, [P, D].
      y_P: class of each example, [P].

    Returns:
      Index of each unit, [D], 0 (equal response to all classes) to 1 (response to one class only);
      not-a-number for a unit that is never positive.

    Raises:
      ValueError: there are fewer than two classes.
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
    """Compare the mean class selectivity of a layer with that for shuffled labels.

    Args:
      a_PxD: activations of P probe examples, [P, D].
      y_P: class of each example, [P].
      rng: NumPy generator.
      shuffles: number of times the labels are shuffled.

    Returns:
      `selectivity`; `chance`, its mean over shuffles; and `p`, the permutation p-value. All are 0
      to 1.
    """
    found = float(np.nanmean(class_selectivity(a_PxD, y_P)))
    null = [np.nanmean(class_selectivity(a_PxD, rng.permutation(y_P))) for _ in range(shuffles)]
    p = (1 + np.sum(np.array(null) >= found)) / (1 + shuffles)
    return {"selectivity": found, "chance": float(np.mean(null)), "p": float(p)}


def filter_differentiation(w_DxN) -> dict[str, float]:
    """Measure how different the filters of a layer are.

    Args:
      w_DxN: flattened filters, one per row, [D, N]. Filters that are all zeros are left out.

    Returns:
      `similarity`, the mean |cosine| over pairs, 0 to 1; `orthogonality`, 1 minus the root mean
      square cosine, which is 1 for an orthogonal set; and `rank`, the participation ratio
      (sum s^2)^2 / sum s^4 of the singular values of the normalised filters, 1 to min(D, N).
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
    """Measure how much the set of the leading units of a layer has changed.

    Args:
      before_D: values by which the units are ranked before, such as their selectivity, [D].
      after_D: values by which the units are ranked after, [D].
      share: share of the units that count as leading, 0 to 1.

    Returns:
      1 minus the Jaccard index of the two sets, 0 (the same units) to 1 (no unit in common).
    """
    count = max(round(share * len(before_D)), 1)
    old, new = (
        set(np.argsort(-np.nan_to_num(np.asarray(x, float), nan=-np.inf), kind="stable")[:count])
        for x in (before_D, after_D)
    )
    return 1 - len(old & new) / len(old | new)


def births_and_deaths(positive_before_D, positive_after_D) -> dict[str, int]:
    """Count the rectified units that became active or inactive on all probe examples.

    Args:
      positive_before_D: share of the probe for which each unit is above zero before, [D].
      positive_after_D: the same share after, [D].

    Returns:
      Numbers of units: `born`, which became active; `died`, which became inactive; and `dead`,
      which are inactive after.
    """
    before, after = (np.asarray(x) > 0 for x in (positive_before_D, positive_after_D))
    return {
        "born": int((after & ~before).sum()),
        "died": int((before & ~after).sum()),
        "dead": int((~after).sum()),
    }
