"""Activations of a Flax NNX network, noted while it is called."""

from flax import nnx

from tapjax.adapters.selection import calls_noted, named, select, space_of_channels_last


def activations(model: nnx.Module, *args, layers=None, **kwargs) -> dict:
    """Compute the activations of layers of a network on given inputs; may be called inside jit.

    For dropout and batch statistics to behave as in evaluation, call `model.eval()` before.

    Args:
      model: network.
      *args: inputs of the network.
      layers: names such as `layers.0` or `encoder.linear`, patterns, or types of modules; None for
        all modules with parameters of their own.
      **kwargs: further arguments of the network.

    Returns:
      Name of the layer -> array [N, D] or [N, Q, D]; `head` is the output of the network.

    Raises:
      ValueError: a layer does not exist.

    Examples:
      >>> import jax.numpy as jnp
      >>> class Net(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.fc1, self.fc2 = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)
      ...     def __call__(self, x):
      ...         return self.fc2(nnx.relu(self.fc1(x)))
      >>> found = activations(Net(nnx.Rngs(0)), jnp.ones((3, 4)))
      >>> {name: a.shape for name, a in found.items()}
      {'fc1': (3, 8), 'head': (3, 2)}
    """
    modules = {
        ".".join(map(str, path)): node
        for path, node in nnx.iter_graph(model)
        if isinstance(node, nnx.Module) and callable(node)
    }
    own = [name for name, module in modules.items() if _has_parameters(module)]
    selection, calls = select(modules, layers, own), {}
    with calls_noted(modules, calls):
        output = model(*args, **kwargs)
    return named(selection, calls, output, model, _space)


def _space(module, axes):
    kinds = (nnx.Conv, nnx.ConvTranspose)
    return space_of_channels_last(module, axes, kinds, nnx.LinearGeneral)


def _has_parameters(module):
    return any(isinstance(value, nnx.Param) for value in vars(module).values())


def weights(model: nnx.Module) -> dict:
    """Return the parameters of a network as arrays, for `Recorder.snapshot`.

    Args:
      model: network.

    Returns:
      Path such as `encoder/0/kernel` -> array.
    """
    return {
        "/".join(map(str, path)): node[...]
        for path, node in nnx.iter_graph(model)
        if isinstance(node, nnx.Param)
    }
