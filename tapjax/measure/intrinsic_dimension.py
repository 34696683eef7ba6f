"""Intrinsic dimension of activations from the distances to their nearest neighbours."""

import jax
import jax.numpy as jnp

from tapjax.measure.probes import pooled

LEAST = 1e-6  # smallest ratio of two distances to one, in ln
ORDERS = (2, 4, 8, 16, 32)  # neighbours n of Gride, whose distances are compared with those of 2 n
RANGE = (1e-2, 1e3)  # of the dimensions among which Gride searches


def measure(model, loss, state, data, key) -> dict:
    """Measure the intrinsic dimension of every layer on the probe examples.

    Question: does D(t) follow the dimension of the manifold on which the activations lie, or their
    linear spread?

    Args:
      model: network, a `types.Model`; it is run in evaluation mode.
      loss: not used.
      state: TrainState of one seed.
      data: DeviceData; layers are averaged over space and tokens.
      key: not used.

    Returns:
      `two_nn [L]`, see `two_nn`, and `error [L]`, its standard error; `gride` and `gride_error`
      [L, 5], see `gride`, from neighbours that are further and further away. `scale [L]` and
      `gride_scale [L, 5]` are the mean distances to the further neighbour, relative to the root
      mean square distance from the mean. A dimension that depends on the scale is that of noise, or
      of a curved manifold.
    """
    del loss, key
    _, hidden, _ = model.apply(state.params, state.stats, data.probe.x)
    found = [_of_layer(pooled(h, "mean")) for h in hidden]
    return {name: jnp.stack([each[name] for each in found]) for name in found[0]}


def _of_layer(h_PxD):
    r_PxK = neighbours(h_PxD)
    size = jnp.sqrt(jnp.square(h_PxD - h_PxD.mean(0, keepdims=True)).sum(1).mean())
    scale_K = r_PxK.mean(0) / jnp.where(size > 0, size, 1.0)
    scales = [scale_K[2 * n - 1] if 2 * n <= len(scale_K) else jnp.nan for n in ORDERS]
    further = {"scale": scale_K[1], "gride_scale": jnp.stack(scales)}
    return two_nn(r_PxK) | gride(r_PxK) | further


def neighbours(h_PxD):
    """Return the distances of every example to its nearest neighbours.

    Args:
      h_PxD: activations.

    Returns:
      Distances [P, K] in ascending order, with K = 64, or P - 1 if that is less.
    """
    most = min(2 * max(ORDERS), len(h_PxD) - 1)

    def of_example(i):
        # Without inner products, which would cancel digits.
        square_P = jnp.square(h_PxD - h_PxD[i][None]).sum(1).at[i].set(jnp.inf)
        return jnp.sqrt(jnp.maximum(-jax.lax.top_k(-square_P, most)[0], 0.0))

    return jax.lax.map(of_example, jnp.arange(len(h_PxD)))


def two_nn(r_PxK) -> dict:
    """Estimate the intrinsic dimension from the ratio of the distances to two neighbours.

    The ratio mu = r_2 / r_1 of each example has the distribution d mu^(-d - 1), of which d is the
    maximum-likelihood estimate (N - 1) / sum(ln mu) without bias (Facco et al. 2017,
    https://doi.org/10.1038/s41598-017-11873-y; Denti et al. 2022,
    https://doi.org/10.1038/s41598-022-20991-1). Examples that equal another one do not count.

    Args:
      r_PxK: distances from `neighbours`.

    Returns:
      `two_nn`, the dimension; not-a-number if fewer than three examples count; and `error`, its
      standard error.
    """
    r1_P, r2_P = r_PxK[:, 0], r_PxK[:, 1]
    counts_P = r1_P > 0
    ratio_P = jnp.log(r2_P / jnp.where(counts_P, r1_P, 1.0))
    n = counts_P.sum()
    total = jnp.maximum(jnp.where(counts_P, ratio_P, 0.0).sum(), LEAST * n)
    d = jnp.where(n > 2, (n - 1) / total, jnp.nan)
    return {"two_nn": d, "error": d / jnp.sqrt(jnp.maximum(n - 2, 1))}


def gride(r_PxK) -> dict:
    """Estimate the intrinsic dimension at several scales (Denti et al. 2022).

    For each n of `ORDERS`, the ratio mu of the distances to neighbours 2 n and n has the density
    d (mu^d - 1)^(n - 1) / (mu^((2 n - 1) d + 1) B(n, n)), of which d is the maximum-likelihood
    estimate (https://doi.org/10.1038/s41598-022-20991-1, eq. 4). Examples with a neighbour at
    distance 0 do not count.

    Args:
      r_PxK: distances from `neighbours`.

    Returns:
      `gride [5]`, the dimensions; not-a-number where there are not enough examples; and
      `gride_error`, standard errors of independent examples. Because examples share neighbours, the
      spread over samples is up to twice as large.
    """
    missing = (jnp.nan, jnp.nan)
    found = [
        _gride_of(r_PxK[:, n - 1], r_PxK[:, 2 * n - 1], n) if 2 * n <= r_PxK.shape[1] else missing
        for n in ORDERS
    ]
    dimensions, errors = (jnp.stack(values) for values in zip(*found, strict=True))
    return {"gride": dimensions, "gride_error": errors}


def _gride_of(near_P, far_P, n):
    """Find the root of the derivative of the log-likelihood by bisection in ln d."""
    counts_P = near_P > 0
    ratio_P = jnp.log(far_P / jnp.where(counts_P, near_P, 1.0))
    ratio_P = jnp.where(counts_P, jnp.maximum(ratio_P, LEAST), 0.0)
    count = counts_P.sum()

    def missing_share(d):  # 1 - mu^-d
        return jnp.where(counts_P, -jnp.expm1(-d * ratio_P), 1.0)

    def slope(d):
        # Derivative of count ln d + (n - 1) ln(mu^d - 1) - (2 n - 1) d ln mu, summed over examples.
        grown = (n - 1) * jnp.where(counts_P, ratio_P / missing_share(d), 0.0)
        return count / d + grown.sum() - (2 * n - 1) * ratio_P.sum()

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        above = slope(jnp.exp(middle)) > 0
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    bounds = jnp.log(jnp.array(RANGE))
    low, high = jax.lax.fori_loop(0, 50, halve, (bounds[0], bounds[1]))
    d = jnp.exp((low + high) / 2)
    share_P = missing_share(d)
    # The observed information is minus the second derivative.
    curve = jnp.where(counts_P, ratio_P**2 * (1 - share_P) / share_P**2, 0.0).sum()
    error = 1 / jnp.sqrt(count / d**2 + (n - 1) * curve)
    enough = (count > 2) & (ratio_P.sum() > 0)
    return jnp.where(enough, d, jnp.nan), jnp.where(enough, error, jnp.nan)
