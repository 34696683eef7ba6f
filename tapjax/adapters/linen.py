"""Activations of a Flax linen network, by `capture_intermediates`."""

import flax.linen as nn
from flax.traverse_util import flatten_dict

from tapjax.adapters.selection import chosen, named


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
      >>> net, x = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)]), jnp.ones((3, 4))
      >>> found = activations(net, net.init(jax.random.key(0), x), x)
      >>> {name: a.shape for name, a in found.items()}
      {'layers_0': (3, 8), 'head': (3, 2)}
    """
    modules = {}

    def seen(module, method):
        if method == "__call__":
            modules["/".join(module.path)] = module
        return method == "__call__"

    output, state = model.apply(
        variables, *args, capture_intermediates=seen, mutable=["intermediates"], **kwargs
    )
    params = {path[:-1] for path in flatten_dict(variables["params"])}
    with_own = {"/".join(path) for path in params}
    names = {id(module): name for name, module in modules.items()}
    kept = chosen(modules, layers, lambda module: names[id(module)] in with_own)
    outputs = {}
    for path, calls in flatten_dict(state["intermediates"]).items():
        name = "/".join(path[:-1])
        if path[-1] == "__call__" and name in kept:
            outputs[name] = calls[-1]
    return named({name: outputs[name] for name in kept if name in outputs}, output)
