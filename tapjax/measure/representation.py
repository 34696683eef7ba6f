"""Activations of every layer on fixed examples, for comparisons between steps, seeds and layers."""

from tapjax.measure.probes import pooled

EXAMPLES = 256


def measure(model, loss, state, data, key) -> dict:
    """Store the activations of every layer on the first probe examples.

    Question: when does a layer have its final representation, and do seeds find the same one?
    `tapjax similarity` compares what is stored.

    Args:
      model: network, a `types.Model`; it is run in evaluation mode.
      loss: not used.
      state: TrainState of one seed.
      data: DeviceData; the first `EXAMPLES` probe examples are used.
      key: not used.

    Returns:
      Name of the layer -> activations [P, D], averaged over space and tokens.
    """
    del loss, key
    _, hidden, _ = model.apply(state.params, state.stats, data.probe.x[:EXAMPLES])
    return {name: pooled(h, "mean") for name, h in zip(model.layer_names, hidden, strict=True)}
