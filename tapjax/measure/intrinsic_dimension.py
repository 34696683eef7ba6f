"""Intrinsic dimension of activations from the distances to their nearest neighbours."""

import jax
import jax.numpy as jnp

from tapjax.measure.probes import pooled

LEAST = 1e-6  # smallest ratio of two distances to one, in ln


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
      `two_nn [L]`, see `two_nn`; `error [L]`, its standard error; and `scale [L]`, the mean
      distance to the second nearest neighbour relative to the root mean square distance from the
      mean.
    """
    del loss, key
    _, hidden, _ = model.apply(state.params, state.stats, data.probe.x)
    found = [two_nn(pooled(h, "mean")) for h in hidden]
    return {name: jnp.stack([each[name] for each in found]) for name in found[0]}


def two_nn(h_PxD) -> dict:
    """Estimate the intrinsic dimension from the ratio of the distances to two neighbours.

    The ratio mu = r_2 / r_1 of each example has the distribution d mu^(-d - 1), of which d is the
    maximum-likelihood estimate (N - 1) / sum(ln mu) without bias (Facco et al. 2017,
    https://doi.org/10.1038/s41598-017-11873-y; Denti et al. 2022,
    https://doi.org/10.1038/s41598-022-20991-1). Examples that equal another one do not count.

    Args:
      h_PxD: activations.

    Returns:
      `two_nn`, the dimension; not-a-number if fewer than three examples count. `error`, its
      standard error; `scale`, see `measure`.
    """
    r1_P, r2_P = jax.lax.map(lambda row: _nearest(row, h_PxD), jnp.arange(len(h_PxD)))
    counts_P = r1_P > 0
    ratio_P = jnp.log(r2_P / jnp.where(counts_P, r1_P, 1.0))
    n = counts_P.sum()
    total = jnp.maximum(jnp.where(counts_P, ratio_P, 0.0).sum(), LEAST * n)
    d = jnp.where(n > 2, (n - 1) / total, jnp.nan)
    size = jnp.sqrt(jnp.square(h_PxD - h_PxD.mean(0, keepdims=True)).sum(1).mean())
    return {
        "two_nn": d,
        "error": d / jnp.sqrt(jnp.maximum(n - 2, 1)),
        "scale": r2_P.mean() / jnp.where(size > 0, size, 1.0),
    }


def _nearest(i, h_PxD):
    """Return the distances of an example to its two nearest neighbours."""
    square_P = jnp.square(h_PxD - h_PxD[i][None]).sum(1)  # no inner products: they cancel digits
    square_P = square_P.at[i].set(jnp.inf)
    smallest, _ = jax.lax.top_k(-square_P, 2)
    return jnp.sqrt(-smallest[0]), jnp.sqrt(-smallest[1])
