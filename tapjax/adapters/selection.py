"""Choice of layers and treatment of their outputs, shared by all adapters."""

import contextlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from tapjax.contract.text import did_you_mean

HEAD = "head"  # name of the output of the network


def chosen(modules: Mapping, layers, has_parameters) -> dict:
    """Choose layers of a network.

    Args:
      modules: name -> module, of the whole network.
      layers: names, patterns such as `encoder.*`, or types of modules, one or several; None for the
        modules with parameters of their own.
      has_parameters: function that decides by a module whether it has such parameters.

    Returns:
      Name -> module, in the order of `modules`.

    Raises:
      ValueError: a name, pattern or type matches no module.
    """
    if layers is None:
        return {name: module for name, module in modules.items() if name and has_parameters(module)}
    single = isinstance(layers, (str, type)) or not isinstance(layers, Sequence)
    wanted = [layers] if single else list(layers)
    for one in wanted:
        if not any(_matches(name, module, one) for name, module in modules.items()):
            hint = did_you_mean(one, modules) if isinstance(one, str) else ""
            known = ", ".join(filter(None, list(modules)[:10]))
            raise ValueError(f"layers={one!r} is none of the network's ({known}, ...){hint}")
    return {
        name: module
        for name, module in modules.items()
        if name and any(_matches(name, module, one) for one in wanted)
    }


def _matches(name, module, wanted):
    return fnmatchcase(name, wanted) if isinstance(wanted, str) else isinstance(module, wanted)


def named(outputs: Mapping, output, channels: str = "last", batch: int = 1) -> dict:
    """Return the activations of layers, and the output of the network as `head`.

    Args:
      outputs: name -> output of the layer; of nested outputs, the first array counts.
      output: output of the network.
      channels: position of the channels of images, `first` ([N, C, H, W]) or `last`.
      batch: number of leading axes; 0 for the activations of one example.

    Returns:
      Name -> array [N, D] or [N, Q, D]. A layer whose output is that of the network is left out.
    """
    head = first_array(output, batch)
    arrays = {name: first_array(value, batch) for name, value in outputs.items()}
    hidden = {name: a for name, a in arrays.items() if a is not None and a is not head}
    everything = hidden | ({HEAD: head} if head is not None else {})
    places = (batch + 1, batch + 2) if channels == "first" else (batch, batch + 1)
    return {n: a.mean(places) if a.ndim == batch + 3 else a for n, a in everything.items()}


def first_array(value, batch: int = 1):
    """Return the first array of a nested output, such as (output, state); None if there is none."""
    if hasattr(value, "logits"):  # outputs of Hugging Face
        return value.logits
    if hasattr(value, "ndim"):
        return value if value.ndim > batch else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return next((a for a in (first_array(v, batch) for v in value) if a is not None), None)
    return None


def class_of_call(kind: type) -> type:
    """Return the class among those that a class inherits from which defines `__call__`."""
    return next(each for each in kind.__mro__ if "__call__" in each.__dict__)


@contextlib.contextmanager
def calls_noted(names: Mapping[int, str], classes, note):
    """Note the outputs of modules while this context lasts.

    Args:
      names: id of a module -> its name.
      classes: classes whose `__call__` the modules use.
      note: function that is called with the name and the output of a module.
    """
    before = {each: each.__dict__["__call__"] for each in classes}

    def noting(call):
        def noted(self, *args, **kwargs):
            output = call(self, *args, **kwargs)
            if id(self) in names:
                note(names[id(self)], output)
            return output

        return noted

    try:
        for each, call in before.items():
            each.__call__ = noting(call)
        yield
    finally:
        for each, call in before.items():
            each.__call__ = call
