"""Activations of a Flax linen network, noted while it is called."""

import flax.linen as nn
from flax.traverse_util import flatten_dict

from tapjax.adapters.selection import (
    Noted,
    first_array,
    named,
    note,
    select,
    space_of_channels_last,
    trace_state,
)


def activations(model: nn.Module, variables, *args, layers=None, **kwargs) -> dict:
    """Compute the activations of layers of a network on given inputs; may be called inside jit.

    Args:
      model: network.
      variables: its variables, such as {"params": params}.
      *args: inputs of the network.
      layers: names such as `Dense_0` or `encoder/Dense_0`, patterns, or types of modules; None for
        all modules with parameters of their own.
      **kwargs: further arguments of the network, such as `train=False`.

    Returns:
      Name of the layer -> array [N, D] or [N, Q, D]; `head` is the output of the network.

    Raises:
      ValueError: a layer does not exist.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> net, x = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)]), jnp.ones((3, 4))
      >>> found = activations(net, net.init(jax.random.key(0), x), x)
      >>> {name: a.shape for name, a in found.items()}
      {'layers_0': (3, 8), 'head': (3, 2)}
    """
    modules, calls, outside = {}, {}, trace_state()

    def noting(next_method, method_args, method_kwargs, context):
        output = next_method(*method_args, **method_kwargs)
        if context.method_name == "__call__" and trace_state() == outside:
            name = "/".join(context.module.path)
            modules[name] = context.module
            note(calls, name, first_array(output))
        return output

    with nn.intercept_methods(noting):
        output = model.apply(variables, *args, **kwargs)
    own = dict.fromkeys("/".join(path[:-1]) for path in flatten_dict(variables["params"]))
    selection = select(modules | {name: None for name in own if name not in modules}, layers, own)
    if not set(selection.names) <= set(modules) and "mutable" not in kwargs:
        calls = _captured(model, variables, args, kwargs) | calls
    return named(selection, calls, output, model, _space)


def _captured(model, variables, args, kwargs):
    """Return the outputs of all modules, also inside of `nn.remat` and `nn.jit`.

    Those inside of `nn.scan` exist only if its `variable_axes` hold `intermediates`.
    """
    _, state = model.apply(
        variables, *args, capture_intermediates=True, mutable=["intermediates"], **kwargs
    )
    return {
        "/".join(path[:-1]): Noted(first_array(values[-1]), first_array(values[-1]))
        for path, values in flatten_dict(state["intermediates"]).items()
        if path[-1] == "__call__"
    }


def _space(module, axes):
    kinds = (nn.Conv, nn.ConvTranspose)
    return space_of_channels_last(module, axes, kinds, nn.DenseGeneral)
