"""Choice of layers and treatment of their outputs, shared by all adapters."""

import contextlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from tapjax.contract.text import did_you_mean

HEAD = "head"  # name of the output of the network


class Selection(NamedTuple):
    """Layers of a network: `names` of those that were chosen, and `noted`, name -> module.

    The latter holds also the layers with parameters of their own, because the last one of them that
    is called is the head of the network.
    """

    names: list[str]
    noted: dict


def select(modules: Mapping, layers, has_parameters) -> Selection:
    """Choose layers of a network.

    Args:
      modules: name -> module, of the whole network.
      layers: names, patterns such as `encoder.*`, or types of modules, one or several; None for the
        modules with parameters of their own.
      has_parameters: function that decides by a module whether it has such parameters.

    Returns:
      The Selection, in the order of `modules`.

    Raises:
      ValueError: a name, pattern or type matches no module.
    """
    usual = {name: module for name, module in modules.items() if has_parameters(module)}
    if layers is None:
        return Selection(list(usual), usual)
    single = isinstance(layers, (str, type)) or not isinstance(layers, Sequence)
    wanted = [layers] if single else list(layers)
    for one in wanted:
        if not any(_matches(name, module, one) for name, module in modules.items()):
            hint = did_you_mean(one, modules) if isinstance(one, str) else ""
            known = ", ".join(filter(None, list(modules)[:10]))
            raise ValueError(f"layers={one!r} is none of the network's ({known}, ...){hint}")
    found = {
        name: module
        for name, module in modules.items()
        if name and any(_matches(name, module, one) for one in wanted)
    }
    return Selection(list(found), usual | found)


def _matches(name, module, wanted):
    return fnmatchcase(name, wanted) if isinstance(wanted, str) else isinstance(module, wanted)


def named(selection, calls, output, channels: str = "last", batch: int = 1) -> dict:
    """Return the activations of layers, and the output of the network as `head`.

    Args:
      selection: the chosen layers.
      calls: name -> output of each noted layer, in the order of their last calls. Of nested
        outputs, the first array counts.
      output: output of the network.
      channels: position of the channels of images, `first` ([N, C, H, W]) or `last`.
      batch: number of leading axes; 0 for the activations of one example.

    Returns:
      Name -> array [N, D] or [N, Q, D]. The layer that computes the output of the network, up to a
      function of each value such as a softmax, is left out.
    """
    head = first_array(output, batch)
    arrays = {name: first_array(value, batch) for name, value in calls.items()}
    last = list(arrays)[-1] if arrays else ""
    if head is not None and arrays and getattr(arrays[last], "shape", None) == head.shape:
        arrays[last] = head
    hidden = {n: arrays[n] for n in selection.names if n in arrays}
    hidden = {n: a for n, a in hidden.items() if a is not None and a is not head}
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


@contextlib.contextmanager
def calls_noted(modules: Mapping, calls: dict, classes=None):
    """Note the outputs of modules while this context lasts.

    Args:
      modules: name -> module.
      calls: dict that gets the output of each module by its name, in the order of the calls.
      classes: classes whose `__call__` the modules use; by default those of the modules.
    """
    names = {id(module): name for name, module in modules.items()}
    classes = classes or {_class_of_call(type(module)) for module in modules.values()}
    before = {each: each.__dict__["__call__"] for each in classes}

    def noting(call):
        def noted(self, *args, **kwargs):
            output = call(self, *args, **kwargs)
            if id(self) in names:
                note(calls, names[id(self)], output)
            return output

        return noted

    try:
        for each, call in before.items():
            each.__call__ = noting(call)
        yield
    finally:
        for each, call in before.items():
            each.__call__ = call


def note(calls: dict, name: str, output) -> None:
    """Add an output at the end of a dict, also if an earlier call has added one."""
    calls.pop(name, None)
    calls[name] = output


def _class_of_call(kind):
    """Return the class, among those that a class inherits from, that defines `__call__`."""
    return next(each for each in kind.__mro__ if "__call__" in each.__dict__)
