"""Activations of a Keras 3 network with any backend, noted while it is called."""

import keras

from tapjax.adapters.selection import calls_noted, named, select


def activations(model: keras.Model, *args, layers=None, **kwargs) -> dict:
    """Compute the activations of layers of a network on given inputs, in evaluation mode.

    Args:
      model: network.
      *args: inputs of the network.
      layers: names of layers, patterns, or types; None for all layers with weights of their own.
        Layers within layers are named by their path, such as `encoder/dense`.
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
    selection, calls = select(modules, layers, _has_weights), {}
    with calls_noted(selection.noted, calls, [keras.layers.Layer]):
        output = model(*args, training=False, **kwargs)
    return named(selection, calls, output, model, _space)


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
