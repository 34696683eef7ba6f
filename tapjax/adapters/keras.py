"""Activations of a Keras 3 network with any backend, noted while it is called."""

import contextlib

import keras

from tapjax.adapters.selection import calls_noted, named, select
from tapjax.live import Recorder


def activations(model: keras.Model, *args, layers=None, variables=None, **kwargs) -> dict:
    """Compute the activations of layers of a network on given inputs, in evaluation mode.

    Args:
      model: network.
      *args: inputs of the network.
      layers: names of layers, patterns, or types; None for all layers with weights of their own.
        Layers within layers are named by their path, such as `encoder/dense`.
      variables: values (trainable, non-trainable) of a stateless training loop, as
        `model.stateless_call` takes them; None for those that the network holds.
      **kwargs: further arguments of the network.

    Returns:
      Name of the layer -> array [N, D] or [N, Q, D]; `head` is the output of the network.

    Raises:
      ValueError: a layer does not exist.

    Examples:
      >>> import keras, numpy as np
      >>> dense = lambda n: keras.layers.Dense(n, use_bias=False, name=f"dense_of_{n}")
      >>> net = keras.Sequential([dense(8), dense(2)])
      >>> {name: tuple(a.shape) for name, a in activations(net, np.ones((3, 4))).items()}
      {'dense_of_8': (3, 8), 'head': (3, 2)}
    """
    if not model.built:
        model(*args, training=False, **kwargs)
    modules = {}
    _collect(model, "", modules)
    own = [name for name, layer in modules.items() if _has_weights(layer)]
    selection, calls = select(modules, layers, own), {}
    with calls_noted(modules, calls, [keras.layers.Layer]), _own_random_numbers(model):
        if variables is None:
            output = model(*args, training=False, **kwargs)
        else:
            output, _ = model.stateless_call(*variables, *args, training=False, **kwargs)
    return named(selection, calls, output, model, _space)


@contextlib.contextmanager
def _own_random_numbers(model):
    """Restore the states of the random numbers that layers draw when they are called."""
    seeds = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    before = [keras.ops.copy(seed.value) for seed in seeds]
    yield
    for seed, value in zip(seeds, before, strict=True):
        seed.assign(value)


def _space(layer, axes):
    """Return the axes of space of an output with this number of axes after N."""
    first = keras.config.image_data_format() == "channels_first"
    every = tuple(range(1, axes)) if first else tuple(range(axes - 1))
    if isinstance(layer, keras.layers.EinsumDense):  # projections of attention [N, Q, heads, D]
        return ()
    rank = getattr(layer, "rank", None)  # of a convolution
    return every if rank == axes - 1 or (rank is None and axes > 2) else ()


def _collect(layer, name, found):
    found[name] = layer
    for below in layer._layers:
        if isinstance(below, keras.layers.Layer) and below not in found.values():
            _collect(below, f"{name}/{below.name}" if name else below.name, found)


def _has_weights(layer):
    below = {id(w) for each in layer._layers for w in getattr(each, "weights", ())}
    return any(id(weight) not in below for weight in layer.weights)


def weights(model: keras.Model) -> dict:
    """Return the weights of a network as NumPy arrays, for `Recorder.snapshot`.

    Args:
      model: network.

    Returns:
      Path such as `dense_1/kernel` -> array.
    """
    return {v.path.partition("/")[2]: keras.ops.convert_to_numpy(v.value) for v in model.weights}


class RecorderCallback(keras.callbacks.Callback):
    """Callback that records the metrics of `fit` at every step, probes and validations.

    Keras does not tell the norm of the gradient. The metrics of a step are recovered from the means
    over the epoch that Keras reports, for batches of equal size.

    Args:
      record: open Recorder; close it after the training, or use it in a `with` statement.
      probe: inputs of the network for the probe; None for no probe.
      every: number of steps between two probes.
      layers: layers to measure, as in `activations`.

    Example::

        model.fit(x, y, callbacks=[RecorderCallback(record, probe=x_probe)])
    """

    def __init__(self, record: Recorder, probe=None, every: int = 5, layers=None):
        super().__init__()
        self.record, self.inputs, self.every, self.layers = record, probe, every, layers
        self.step, self.sums = 0, {}

    def on_epoch_begin(self, epoch, logs=None):
        """Start the means of the epoch."""
        self.sums = {}

    def on_train_batch_begin(self, batch, logs=None):
        """Measure the network before the step."""
        if self.inputs is not None and self.step % self.every == 0:
            found = activations(self.model, self.inputs, layers=self.layers)
            self.record.probe(self.step, layers=found)

    def on_train_batch_end(self, batch, logs=None):
        """Record the metrics of the step."""
        sums = {name: float(value) * (batch + 1) for name, value in (logs or {}).items()}
        known = {name: total - self.sums.get(name, 0.0) for name, total in sums.items()}
        self.record(self.step, **known)
        self.step, self.sums = self.step + 1, sums

    def on_epoch_end(self, epoch, logs=None):
        """Record the metrics of the validation."""
        scores = {n.removeprefix("val_"): v for n, v in (logs or {}).items() if "val_" in n}
        if scores:
            self.record.evaluate(self.step, **scores)
