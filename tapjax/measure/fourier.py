"""Fourier spectrum of the embedding of numbers, for addition modulo a prime."""

import jax.numpy as jnp

TOP = 5  # frequencies whose share is summed


def measure(model, loss, state, data, key) -> dict:
    """Measure how far the embedding of the numbers consists of a few frequencies.

    Question: has a network found the trigonometric algorithm for addition modulo p (Nanda et al.
    2023, https://arxiv.org/abs/2301.05217)?

    Args:
      model: not used.
      loss: not used.
      state: TrainState of one seed, of a network whose first layer is named `embed` or `hidden_0`.
      data: DeviceData of `modular:p=...`, whose inputs are one-hot rows [2, p, 1].
      key: not used.

    Returns:
      `power [(p - 1) / 2]`, the share of each frequency from 1 on in the variance of the embedding;
      `top_share`, the share of the five largest ones, from 10 / (p - 1) to 1; and `frequencies`,
      the effective number of frequencies, 1 / sum of squared shares.

    Raises:
      ValueError: the data or the network are of another kind.
    """
    del model, loss, key
    shape = data.probe.x.shape[1:]
    if len(shape) != 3 or shape[0] != 2 or shape[2] != 1:
        raise ValueError("the data are not pairs of one-hot numbers, such as modular:p=59")
    first = next((name for name in ("embed", "hidden_0") if name in state.params), None)
    kernel = state.params[first]["kernel"] if first else jnp.zeros((1, 1))
    if kernel.shape[0] not in (shape[1], 2 * shape[1]):
        raise ValueError("the first layer does not take the numbers")
    w_NxpxD = kernel.reshape(-1, shape[1], kernel.shape[1])
    power_F = jnp.square(jnp.abs(jnp.fft.rfft(w_NxpxD, axis=1)[:, 1:])).sum((0, 2))
    share_F = power_F / power_F.sum()
    return {
        "power": share_F,
        "top_share": jnp.sort(share_F)[-TOP:].sum(),
        "frequencies": 1 / jnp.square(share_F).sum(),
    }
