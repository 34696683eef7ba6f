"""Activations of an Equinox network, noted while it is called."""

from collections import OrderedDict

import equinox as eqx
import jax

from tapjax.adapters.checkpoints import as_in_flax
from tapjax.adapters.selection import calls_noted, named, select


def activations(model, *args, layers=None, batched: bool = True, **kwargs) -> dict:
    """Compute the activations of layers of a network on given inputs; may be called inside jit.

    For dropout to be off, pass `eqx.nn.inference_mode(model)`.

    Args:
      model: network, a module of one example.
      *args: inputs with the leading axis [N].
      layers: names such as `layers.0`, patterns, or types of modules; None for all modules with
        parameters of their own.
      batched: whether the network takes one example, so that it is mapped over the leading axis.
      **kwargs: further arguments, which are the same for all examples.

    Returns:
      Name of the layer -> array [N, D] or [N, Q, D]; `head` is the output of the network.

    Raises:
      ValueError: a layer does not exist, or the inputs differ in their numbers of examples.

    Examples:
      >>> import equinox as eqx, jax, jax.numpy as jnp
      >>> net = eqx.nn.MLP(4, 2, 8, depth=1, key=jax.random.key(0))
      >>> found = activations(net, jnp.ones((3, 4)))
      >>> {name: a.shape for name, a in found.items()}
      {'layers.0': (3, 8), 'head': (3, 2)}
    """
    modules = {}
    _collect(model, "", modules)
    modules = {name: module for name, module in modules.items() if callable(module)}
    own = [name for name, module in modules.items() if _has_parameters(module)]
    selection, names = select(modules, layers, own), []

    def run(*inputs):
        calls = {}
        batch = 0 if batched else 1
        with calls_noted(modules, calls, batch=batch):
            output = model(*inputs, **kwargs)
        found = named(selection, calls, output, model, _space, batch)
        names[:] = found
        return list(found.values())  # a dict would lose its order

    sizes = {jax.numpy.shape(leaf)[:1] for leaf in jax.tree.leaves(args)}
    if batched and (len(sizes) > 1 or () in sizes):
        raise ValueError(
            "the inputs have no common first axis [N]: pass what is the same for all examples by "
            "keyword, such as state=state"
        )
    arrays = (jax.vmap(run) if batched else run)(*args)
    return OrderedDict(zip(names, arrays, strict=True))


def _space(module, axes):
    """Return the axes of space of an output [C, ...] with this number of axes."""
    found = {}
    _collect(module, "", found)
    spatial = {
        each.num_spatial_dims for each in found.values() if hasattr(each, "num_spatial_dims")
    }
    norm = isinstance(module, (eqx.nn.BatchNorm, eqx.nn.GroupNorm)) and axes > 1
    return tuple(range(1, axes)) if axes - 1 in spatial or norm else ()


def _collect(node, name, found):
    """Collect all modules below a node of the network by the path of their attributes."""
    if isinstance(node, eqx.Module):
        found[name] = node
        below = {field: getattr(node, field, None) for field in node.__dataclass_fields__}
    elif isinstance(node, (tuple, list)):
        below = dict(enumerate(node))
    elif isinstance(node, dict):
        below = node
    else:
        return
    for key, each in below.items():
        _collect(each, f"{name}.{key}" if name else str(key), found)


def _has_parameters(module):
    """Whether a module has arrays of its own."""
    fields = (getattr(module, field, None) for field in module.__dataclass_fields__)
    return any(eqx.is_inexact_array(value) for value in fields)


def weights(model) -> dict:
    """Return the parameters of a network as arrays, for `Recorder.snapshot`.

    Args:
      model: network.

    Returns:
      Path such as `layers/0/kernel` -> array. Weights of linear layers are [inputs, units] and
      those of convolutions [h, w, inputs, channels], as in Flax. Other names are kept.
    """
    modules = {}
    _collect(model, "", modules)
    arrays = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_inexact_array))
    found = {}
    for path, value in arrays:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        module = modules.get(name.rpartition(".")[0])
        kind = "embedding" if isinstance(module, eqx.nn.Embedding) else "matrix"
        name, value = as_in_flax(name, value, kind)
        found[name] = value
    return found
