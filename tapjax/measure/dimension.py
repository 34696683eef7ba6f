"""Dimensionalities of every layer, measured like those of the probe of the tap family."""

from tapjax.measure.probes import make_probe


def measure(model, loss, state, data, key) -> dict:
    """Measure the dimensionalities of every layer with the default settings of the probe.

    Question: how many directions do the activations of a layer use? Any two runs are measured in
    the same way, whatever probes they have.

    Args:
      model: network, a `types.Model`.
      loss: loss per example, `(outputs, batch) -> [B]`.
      state: TrainState of one seed.
      data: DeviceData; the probe examples are used.
      key: not used.

    Returns:
      What `probes.make_probe` returns, such as `participation_ratio [L]` and `accuracy`.
    """
    del key
    outputs = model.apply(state.params, state.stats, data.probe.x[:1])[0]
    probe = make_probe(model, lambda outputs, y: loss(outputs, data.probe), outputs.shape[-1])
    return probe(state, data)
