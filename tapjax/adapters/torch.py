"""Activations of a PyTorch network, by forward hooks."""

import contextlib
from collections.abc import Mapping

import torch

from tapjax.adapters.checkpoints import as_in_flax
from tapjax.adapters.selection import first_array, named, note, select


def activations(model: torch.nn.Module, *args, layers=None, **kwargs) -> dict:
    """Compute the activations of layers of a network on given inputs.

    The network is in evaluation mode while it is called, and no gradient is recorded. Its random
    numbers are the same every time, and those of the training are not touched.

    Args:
      model: network; a compiled one is measured without compilation.
      *args: inputs of the network.
      layers: names as in `model.named_modules()`, patterns such as `encoder.*`, or types; None for
        all modules with parameters of their own.
      **kwargs: further inputs of the network.

    Returns:
      Name of the layer -> tensor [N, D] or [N, Q, D]; `head` is the output of the network.

    Raises:
      ValueError: a layer does not exist.

    Examples:
      >>> import torch
      >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
      >>> {name: tuple(a.shape) for name, a in activations(net, torch.ones(3, 4)).items()}
      {'0': (3, 8), 'head': (3, 2)}
    """
    model = getattr(model, "_orig_mod", model)  # torch.compile would ignore new hooks
    modules = dict(model.named_modules())
    own = [name for name, module in modules.items() if _has_parameters(module)]
    selection = select(modules, layers, own)
    calls, was_training = {}, {m: m.training for m in model.modules()}

    def hook(name):
        def noted(module, inputs, output):
            found = first_array(output)
            # Later layers may change it in place.
            note(calls, name, found, None if found is None else found.clone())

        return noted

    hooked = {*selection.usual, *selection.names}
    hooks = [modules[name].register_forward_hook(hook(name)) for name in hooked]
    model.eval()
    try:
        with torch.no_grad(), _own_random_numbers():
            output = model(*args, **kwargs)
    finally:
        for each in hooks:
            each.remove()
        for module, training in was_training.items():
            module.training = training
    return named(selection, calls, output, model, _space)


@contextlib.contextmanager
def _own_random_numbers():
    """Draw random numbers from a fixed seed, and restore the state of the generators afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.random.default_generator.manual_seed(0)
        if devices:
            torch.cuda.manual_seed(0)
        yield


# Axes of space of the outputs of layers that have [N, C] first.
CONVOLUTIONS = {
    1: (torch.nn.Conv1d, torch.nn.ConvTranspose1d, torch.nn.InstanceNorm1d),
    2: (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.BatchNorm2d, torch.nn.InstanceNorm2d),
    3: (torch.nn.Conv3d, torch.nn.ConvTranspose3d, torch.nn.BatchNorm3d, torch.nn.InstanceNorm3d),
}
NORMS = (torch.nn.BatchNorm1d, torch.nn.GroupNorm)


def _space(module, axes):
    """Return the axes of space of an output [N, C, ...] with this number of axes after N."""
    kinds = CONVOLUTIONS.get(axes - 1, ())
    within = any(isinstance(each, kinds) for each in module.modules())
    return tuple(range(1, axes)) if within or isinstance(module, NORMS) else ()


def _has_parameters(module):
    return next(module.parameters(recurse=False), None) is not None


def weights(model: torch.nn.Module | Mapping) -> dict:
    """Return the parameters and buffers of a network as NumPy arrays, for `Recorder.snapshot`.

    Args:
      model: network, or its `state_dict()`. A state dict does not tell the types of its layers:
        all matrices count as those of linear layers or convolutions, unless the layer has the name
        of an embedding.

    Returns:
      Path such as `encoder/0/kernel` -> array. Weights of linear layers are [inputs, units] and
      those of convolutions [h, w, inputs, channels], as in Flax. Other names are kept.
    """
    if isinstance(model, torch.nn.Module):
        model = getattr(model, "_orig_mod", model)  # the network without torch.compile
        kinds = {name: _kind(module) for name, module in model.named_modules()}
        model = model.state_dict()
    else:
        kinds = {}
    return dict(
        as_in_flax(name, value.detach().cpu().float().numpy().copy(), kinds.get(_layer(name)))
        for name, value in model.items()
        if value.is_floating_point()
    )


def _layer(name):
    return name.rpartition(".")[0]


def _kind(module):
    """Return which axes the weights of a layer have, see `checkpoints.as_in_flax`."""
    if isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
        return "embedding"
    if isinstance(module, torch.nn.modules.conv._ConvTransposeNd):
        return "transposed"
    # The layers of GPT-2 in transformers, [inputs, units].
    return "kernel" if type(module).__name__ == "Conv1D" else "matrix"
