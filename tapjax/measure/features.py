"""Whether single units carry the answer, and how many inputs the first layer uses."""

import jax.numpy as jnp

from tapjax.measure.unit_probe import named_activations

LEAST = 1e-12  # variance below which a unit is constant


def measure(model, loss, state, data, key) -> dict:
    """Measure the correlation of units with the classes, on the probe examples.

    Question: when does a feature emerge that solves the task, before or after the accuracy shows it
    (hidden progress in sparse parity, Barak et al. 2022, https://arxiv.org/abs/2207.08799)?

    Args:
      model: network, a `types.Model`.
      loss: not used.
      state: TrainState of one seed.
      data: DeviceData.
      key: not used.

    Returns:
      `correlation [L]`, the largest absolute correlation of a unit of each layer, after its
      nonlinearity, with the membership in a class, from 0 to 1; for networks whose nonlinearities
      are not visible, that of the hidden layers. For tokens, units are those of the last position;
      images are averaged over space. For an MLP also `input_share [N]`, the share of each input in
      the squared weights of the first layer, and `inputs`, the effective number of inputs, 1 / sum
      of squared shares, from 1 to N.
    """
    del loss, key
    outputs, layers, _ = model.apply(state.params, state.stats, data.probe.x)
    layers = layers[:-1]
    if model.watch is not None:
        activations = model.watch(state.params, state.stats, data.probe.x)[1]
        layers = [h for _, h in named_activations(activations)] or layers
    member_PxC = (data.probe.y[:, None] == jnp.arange(outputs.shape[-1])[None]).astype(jnp.float32)
    found = {"correlation": jnp.stack([_largest(h, member_PxC) for h in layers])}
    first = state.params.get("hidden_0", {}).get("kernel")
    if first is not None:
        share_N = jnp.square(first).sum(1) / jnp.square(first).sum()
        found |= {"input_share": share_N, "inputs": 1 / jnp.square(share_N).sum()}
    return found


def _largest(h, member_PxC):
    h_PxD = h.mean((1, 2)) if h.ndim == 4 else h[:, -1] if h.ndim == 3 else h
    sides = [a - a.mean(0, keepdims=True) for a in (h_PxD, member_PxC)]
    deviation = [jnp.sqrt(jnp.square(a).mean(0)) for a in sides]
    covariance_DxC = sides[0].T @ sides[1] / len(h_PxD)
    scale_DxC = deviation[0][:, None] * deviation[1][None]
    return jnp.where(scale_DxC > LEAST, jnp.abs(covariance_DxC) / scale_DxC, 0.0).max()
