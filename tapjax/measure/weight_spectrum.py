"""Spectra of weight matrices: power-law tails, and values that a random matrix would not have."""

import jax
import jax.numpy as jnp

LEAST = 20  # smallest number of eigenvalues for which a power law is fitted
LEAST_TAIL = 10  # smallest number of eigenvalues in its tail


def measure(model, loss, state, data, key) -> dict:
    """Measure the spectrum of every weight matrix, beside that of the matrix with shuffled entries.

    Question: do the weights become heavy-tailed, and which directions has training written into
    them (Martin and Mahoney 2021, https://jmlr.org/papers/v22/20-410.html)?

    Args:
      model: not used.
      loss: not used.
      state: TrainState of one seed. A convolution kernel is measured as a matrix with one column
        per output channel.
      data: not used.
      key: random key for the shuffle.

    Returns:
      For each weight matrix [W], what `power_law` returns for the squared singular values, with
      `random_alpha` and `random_distance` for the shuffled matrix; `spikes`, the number of singular
      values above the edge of Marchenko and Pastur for independent entries of the same variance,
      and `random_spikes`, that of the shuffled matrix, which is 0 or close to it.
    """
    del model, loss, data
    matrices = [w for w in jax.tree.leaves(state.params) if w.ndim > 1]
    found = [
        _of_matrix(w.reshape(-1, w.shape[-1]), jax.random.fold_in(key, i))
        for i, w in enumerate(matrices)
    ]
    return {name: jnp.stack([each[name] for each in found]) for name in found[0]}


def _of_matrix(w_NxD, key):
    shuffled = jax.random.permutation(key, w_NxD.reshape(-1)).reshape(w_NxD.shape)
    own_R, random_R = (jnp.linalg.svd(w, compute_uv=False) for w in (w_NxD, shuffled))
    law, random = power_law(jnp.square(own_R)), power_law(jnp.square(random_R))
    edge = w_NxD.std() * (w_NxD.shape[0] ** 0.5 + w_NxD.shape[1] ** 0.5)
    return {
        **law,
        "random_alpha": random["alpha"],
        "random_distance": random["distance"],
        "spikes": (own_R > edge).sum().astype(jnp.float32),
        "random_spikes": (random_R > edge).sum().astype(jnp.float32),
    }


def power_law(values_R) -> dict:
    """Fit a power law to the tail of a sample, as Clauset et al. (2009) do.

    Each value is tried as the beginning of the tail. For each, the exponent has its maximum
    likelihood estimate, and the tail with the smallest Kolmogorov-Smirnov distance is chosen
    (https://arxiv.org/abs/0706.1062). The distance compares the fitted distribution with the share
    of smaller values, as in WeightWatcher and the package powerlaw, so that all three find the same
    tail.

    Args:
      values_R: positive numbers in any order.

    Returns:
      `alpha`, the exponent of the density; `alpha_error`, its standard error; `distance`, the
      Kolmogorov-Smirnov distance, from 0 for a perfect fit to 1; and `tail`, the number of values
      in the tail. Not-a-number for fewer than `LEAST` values, for equal values, and for values that
      are not finite.

    Examples:
      >>> quantiles = (jnp.arange(500) + 0.5) / 500
      >>> fit = power_law((1 - quantiles) ** (-1 / 1.5))  # a density x^-2.5
      >>> bool(abs(fit["alpha"] - 2.5) < 0.05)
      True
    """
    n = len(values_R)
    if n < LEAST:
        return dict.fromkeys(("alpha", "alpha_error", "distance", "tail"), jnp.float32(jnp.nan))
    x_R = jnp.log(jnp.maximum(jnp.sort(values_R), jnp.finfo(jnp.float32).tiny))
    rank = jnp.arange(n)

    def of_tail(start):
        inside = rank >= start
        count = n - start
        above_R = jnp.where(inside, x_R - x_R[start], 0.0)
        total = above_R.sum()
        alpha = 1 + count / jnp.where(total > 0, total, 1.0)
        fitted_R = 1 - jnp.exp((1 - alpha) * above_R)
        below_R = (rank - start) / count  # share of smaller values, as in the package powerlaw
        distance = jnp.where(inside, jnp.abs(fitted_R - below_R), -jnp.inf).max()
        return alpha, jnp.where(total > 0, distance, 1.0), count

    alpha_R, distance_R, count_R = jax.lax.map(of_tail, jnp.arange(n - LEAST_TAIL + 1))
    best = distance_R.argmin()
    alpha, count = alpha_R[best], count_R[best].astype(jnp.float32)
    found = {
        "alpha": alpha,
        "alpha_error": (alpha - 1) / jnp.sqrt(count),
        "distance": distance_R[best],
        "tail": count,
    }
    known = jnp.isfinite(values_R).all() & (values_R.max() > values_R.min())
    return {name: jnp.where(known, value, jnp.nan) for name, value in found.items()}
