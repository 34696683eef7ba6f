"""Measurements of a layer's units: dead, duplicate, dormant and saturated units, and ranks.

Every measurement uses a layer's activations after its nonlinearity, A [N, D], whose rows are
samples (examples, or positions and tokens of examples). All functions are pure and jit-safe.

Names and thresholds are those of the loss-of-plasticity literature (Dohare et al. 2024,
https://doi.org/10.1038/s41586-024-07711-7; Sokar et al. 2023, https://arxiv.org/abs/2302.12902;
Joudaki et al. 2025), with two corrections. Gradients are those of single examples, so that the
batch size does not matter. Each name denotes only one quantity.
"""

import jax
import jax.numpy as jnp

from tapjax.measure.singular_values import spectra

SILENT = 1e-7  # a smaller absolute activation counts as zero
DEAD = 0.95  # share of samples on which a dead unit is silent
ALIKE = 0.95  # duplicates have a larger cosine
SMALL_GRADIENT, SATURATED = 1e-4, 0.99
DORMANT = 0.025  # share of the layer's mean activation
RANK_TOLERANCE = 1e-5  # relative to the largest singular value
VARIANCE = 0.99  # share held by the leading values of an approximate rank
KURTOSIS_CAP = 10.0


def dead_fraction(a_NxD):
    """Return the share of units that are silent on more than 95 % of samples.

    Examples:
      >>> float(dead_fraction(jnp.array([[0.0, 1.0], [0.0, 2.0]])))
      0.5
    """
    silent_D = (jnp.abs(a_NxD) < SILENT).mean(0, dtype=jnp.float32)
    return (silent_D > DEAD).mean(dtype=jnp.float32)


def dup_fraction(a_NxD, absolute: bool = False):
    """Return the share of units that duplicate a later unit.

    Two units are duplicates if the cosine of their activations, without centring, is above .95.
    Among k equal units, k - 1 are counted. A unit that is always zero is never a duplicate.

    Args:
      a_NxD: activations.
      absolute: whether units of opposite sign are duplicates, too.

    Returns:
      Scalar in [0, 1].

    Examples:
      >>> a = jnp.array([[1.0, 2.0, 0.0], [2.0, 4.0, 1.0], [3.0, 6.0, 0.0]])
      >>> round(float(dup_fraction(a)), 3)  # one pair of three is proportional
      0.333
    """
    norm_D = jnp.sqrt(jnp.square(a_NxD).sum(0))
    unit_NxD = a_NxD / jnp.where(norm_D == 0, 1.0, norm_D)[None]
    cosine_DxD = unit_NxD.T @ unit_NxD
    cosine_DxD = jnp.abs(cosine_DxD) if absolute else cosine_DxD
    later = jnp.triu(cosine_DxD > ALIKE, 1)
    return later.any(1).mean(dtype=jnp.float32)


def dormant_fraction(a_NxD):
    """Return the share of dormant units.

    The mean |activation| of a dormant unit is at most .025 of its layer's (Sokar et al. 2023).
    """
    score_D = jnp.abs(a_NxD).mean(0)
    return (score_D <= DORMANT * score_D.mean()).mean(dtype=jnp.float32)


def saturated_fraction(a_NxD, g_NxD):
    """Return the share of units that have almost no effect on the loss of almost every example.

    For such a unit the gradient is below 1e-4 of its mean |activation| on more than 99 % of
    samples.

    Args:
      a_NxD: activations.
      g_NxD: gradient of each sample's own loss with respect to the activations.

    Returns:
      Scalar in [0, 1].
    """
    scale_D = jnp.maximum(jnp.abs(a_NxD).mean(0), 1e-12)
    small_D = (jnp.abs(g_NxD) < SMALL_GRADIENT * scale_D[None]).mean(0, dtype=jnp.float32)
    return (small_D > SATURATED).mean(dtype=jnp.float32)


def standardised(a_NxD):
    """Scale units to mean 0 and variance 1.

    Args:
      a_NxD: activations.

    Returns:
      (standardised activations [N, D], boolean mask [D] of the units whose standard
      deviation exceeds 1e-6).
    """
    centred = a_NxD - a_NxD.mean(0, keepdims=True)
    deviation_D = jnp.sqrt(jnp.square(centred).mean(0))
    varies_D = deviation_D > 1e-6
    return centred / jnp.where(varies_D, deviation_D, 1.0)[None], varies_D


def non_gaussianity(a_NxD):
    """Measure how far the distribution of each unit is from a normal one, as the mean over units.

    Args:
      a_NxD: activations.

    Returns:
      Dict with `ks`, the Kolmogorov-Smirnov distance from N(0, 1) after standardising (1 for a
      constant unit), and `excess_kurtosis`, the absolute excess kurtosis, limited to 10 (10 for a
      constant unit).
    """
    z_NxD, varies_D = standardised(a_NxD)
    n = len(z_NxD)
    expected_NxD = jax.scipy.stats.norm.cdf(jnp.sort(z_NxD, 0))
    upper_N = (jnp.arange(n) + 1.0)[:, None] / n
    gap_NxD = jnp.maximum(upper_N - expected_NxD, expected_NxD - (upper_N - 1 / n))
    kurtosis_D = jnp.minimum(jnp.abs((z_NxD**4).mean(0) - 3.0), KURTOSIS_CAP)
    return {
        "ks": jnp.where(varies_D, gap_NxD.max(0), 1.0).mean(),
        "excess_kurtosis": jnp.where(varies_D, kurtosis_D, KURTOSIS_CAP).mean(),
    }


def effective_rank(s_R):
    """Compute the exponential of the entropy of the singular values' shares; 0 if all are 0.

    The definition is that of Roy and Vetterli 2007.

    Args:
      s_R: singular values.

    Returns:
      Scalar.

    Examples:
      >>> round(float(effective_rank(jnp.ones(4))), 3)
      4.0
    """
    total = s_R.sum()
    p_R = s_R / jnp.where(total == 0, 1.0, total)
    entropy = -jnp.where(p_R > 0, p_R * jnp.log(jnp.where(p_R > 0, p_R, 1.0)), 0.0).sum()
    return jnp.where(total == 0, 0.0, jnp.exp(entropy))


def ranks(s_R, centred_R):
    """Compute the ranks of a layer from the spectra of its activations and its centred activations.

    Args:
      s_R: singular values of the activations, largest first.
      centred_R: singular values of the centred activations, largest first.

    Returns:
      Dict of scalars. `eff_rank` is that of `effective_rank`. `stable_rank` is sum(s^2) / s_1^2.
      `centred_participation` is sum(s^2)^2 / sum(s^4) of the centred activations (called stable
      rank by Joudaki et al.). `hard_rank` is the number of values above 1e-5 of the largest.
      `approximate_rank` and `approximate_rank_abs` are the smallest numbers of leading values that
      hold 99 % of sum(s^2) and of sum(s) (the latter is called stable rank by Dohare et al.).
    """
    top, top_centred = s_R[0], centred_R[0]
    s = s_R / jnp.where(top == 0, 1.0, top)
    c2 = jnp.square(centred_R / jnp.where(top_centred == 0, 1.0, top_centred))

    def fewest(values):
        total = values.sum()
        share = jnp.cumsum(values) / jnp.where(total == 0, 1.0, total)
        needed = jnp.minimum((share < VARIANCE).sum() + 1, len(values))
        return jnp.where(total == 0, 0.0, needed.astype(jnp.float32))

    fourth = jnp.square(c2).sum()
    return {
        "eff_rank": effective_rank(s),
        "stable_rank": jnp.square(s).sum(),
        "centred_participation": c2.sum() ** 2 / jnp.where(fourth == 0, 1.0, fourth),
        "hard_rank": (s > RANK_TOLERANCE).sum(dtype=jnp.float32),
        "approximate_rank": fewest(jnp.square(s)),
        "approximate_rank_abs": fewest(s),
    }


def unit_metrics(a_NxD, g_NxD):
    """Compute all measurements of one layer.

    Args:
      a_NxD: activations.
      g_NxD: gradient of each sample's own loss with respect to the activations.

    Returns:
      Dict from name to scalar; not-a-number if an activation or a gradient is not finite.
    """
    finite = jnp.isfinite(a_NxD).all() & jnp.isfinite(g_NxD).all()
    a = jnp.where(finite, a_NxD, 0.0)
    measured = {
        "dead_fraction": dead_fraction(a),
        "dup_fraction": dup_fraction(a),
        "dup_fraction_abs": dup_fraction(a, absolute=True),
        "dormant_fraction": dormant_fraction(a),
        "saturated_fraction": saturated_fraction(a, g_NxD),
        "feature_norm": jnp.sqrt(jnp.square(a).sum(1)).mean(),
        **non_gaussianity(a),
        **ranks(*spectra(a, centred=True)),
    }
    return {name: jnp.where(finite, value, jnp.nan) for name, value in measured.items()}


def gram_rank(rows, power: int = 1):
    """Compute the effective rank of vectors that are given in parts.

    Each part has one row per example.

    Args:
      rows: tree of arrays [N, ...].
      power: 1 for the effective rank of the matrix of all vectors, 2 for that of its Gram matrix.

    Returns:
      Scalar, at most N.
    """
    flat = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(rows)], 1)
    (s_R,) = spectra(flat, centred=False)
    return effective_rank((s_R / jnp.where(s_R[0] == 0, 1.0, s_R[0])) ** power)
