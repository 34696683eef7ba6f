"""What the network makes of every single probe example."""

import jax
import jax.numpy as jnp


def measure(model, loss, state, data, key) -> dict:
    """Measure loss, margin and error of every probe example.

    Question: which examples does a change of the network belong to, when is an example learned,
    and is it forgotten (Toneva et al. 2019, https://arxiv.org/abs/1812.05159)?

    Args:
      model: network, a `types.Model`.
      loss: loss per example, `(outputs, batch) -> [B]`.
      state: TrainState of one seed.
      data: DeviceData.
      key: not used.

    Returns:
      `loss [P]`; `correct [P]`, 0 or 1; `margin [P]`, the logit of the right class less the largest
      other one, above 0 if the example is correct; and `el2n [P]`, the norm of the difference
      between the probabilities and the one-hot class, from 0 to the square root of 2 (Paul et al.
      2021, https://arxiv.org/abs/2107.07075).
    """
    del key
    logits_PxC, _, _ = model.apply(state.params, state.stats, data.probe.x)
    right_PxC = data.probe.y[:, None] == jnp.arange(logits_PxC.shape[-1])[None]
    right_P = jnp.where(right_PxC, logits_PxC, 0).sum(-1)
    other_P = jnp.where(right_PxC, -jnp.inf, logits_PxC).max(-1)
    error_PxC = jax.nn.softmax(logits_PxC) - right_PxC
    return {
        "loss": loss(logits_PxC, data.probe),
        "correct": (logits_PxC.argmax(-1) == data.probe.y).astype(jnp.float32),
        "margin": right_P - other_P,
        "el2n": jnp.sqrt(jnp.square(error_PxC).sum(-1)),
    }
