"""Choice of layers and treatment of their outputs, shared by all adapters."""

import contextlib
import math
import sys
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from tapjax.contract.text import did_you_mean

HEAD = "head"  # name of the output of the network
LISTED = 5  # number of layers that a warning names


class Selection(NamedTuple):
    """Layers of a network: `names` of those that were chosen, and `modules`, name -> any module.

    `usual` are the names of the layers with parameters of their own. The last one of them that is
    called computes the output of the network.
    """

    names: list[str]
    modules: dict
    usual: list[str]


def select(modules: Mapping, layers, own: Collection[str]) -> Selection:
    """Choose layers of a network.

    Args:
      modules: name -> module, of the whole network.
      layers: names, patterns such as `encoder.*`, or types of modules, one or several; None for the
        modules with parameters of their own.
      own: names of the modules with parameters of their own.

    Returns:
      The Selection, in the order of `modules`.

    Raises:
      ValueError: a name, pattern or type matches no module, or there is no layer to choose from.
    """
    usual = [name for name in modules if name and name in own]
    if layers is None:
        if not usual and len(modules) > 1:
            raise ValueError(
                "no layer of the network has parameters that this library knows: name some with "
                f"layers=, such as {list(modules)[-1]!r}"
            )
        return Selection(usual, dict(modules), usual)
    single = isinstance(layers, (str, type)) or not isinstance(layers, Sequence)
    wanted = [layers] if single else list(layers)
    for one in wanted:
        if not any(_matches(name, module, one) for name, module in modules.items()):
            hint = did_you_mean(one, modules) if isinstance(one, str) else ""
            known = ", ".join(filter(None, list(modules)[:10]))
            raise ValueError(f"layers={one!r} is none of the network's ({known}, ...){hint}")
    found = [
        name
        for name, module in modules.items()
        if name and any(_matches(name, module, one) for one in wanted)
    ]
    return Selection(found, dict(modules), usual)


def _matches(name, module, wanted):
    return fnmatchcase(name, wanted) if isinstance(wanted, str) else isinstance(module, wanted)


def named(selection, calls, output, model, spatial, batch: int = 1) -> OrderedDict:
    """Return the activations of layers, and the output of the network as `head`.

    Args:
      selection: the chosen layers.
      calls: name -> `Noted` of each noted layer, in the order of their last calls.
      output: output of the network. Of nested outputs, the first array counts.
      model: the network.
      spatial: function (module, number of axes after those of the batch) -> those of these axes
        that are space, an empty tuple if there is none.
      batch: number of leading axes; 0 for the activations of one example.

    Returns:
      Name -> array [N, D] or [N, Q, D], in an order that `jit` keeps. The layer that computes the
      output of the network, up to its shape and a function of each value such as a softmax, is left
      out. Of a layer whose values exist only inside of a transformation of JAX, such as `vmap` or
      `scan`, the next larger block that was called outside of it is measured instead. A warning
      names the layers for which there is none.
    """
    head = first_array(output, batch)
    seen = {name for name, call in calls.items() if call.value is not None}
    chosen = {name: _enclosing(name, seen) for name in selection.names}
    # A block that returns the output of the network shows nothing of the layers within.
    lost = [
        name
        for name, block in chosen.items()
        if not block or (block != name and calls[block].original is head)
    ]
    if lost:
        warnings.warn(
            f"not measured, because they are called inside of vmap, scan, remat or jit, or not at "
            f"all: {', '.join(lost[:LISTED])}{', ...' * (len(lost) > LISTED)}",
            stacklevel=4,
        )
    blocks = list(dict.fromkeys(filter(None, chosen.values())))
    last = next((name for name in reversed(calls) if name in {*selection.usual, *blocks}), "")
    hidden = {}
    for name in blocks:
        original, value = calls[name]
        if original is head:
            continue
        if name == last and head is not None and math.prod(value.shape) == math.prod(head.shape):
            continue  # the layer that computes the output
        hidden[name] = _rows(value, spatial(selection.modules[name], value.ndim - batch), batch)
    if head is not None:
        hidden[HEAD] = _rows(head, spatial(model, head.ndim - batch), batch)
    return OrderedDict(hidden)


def _enclosing(name, seen):
    """Return the smallest block around a layer, or itself, that was seen; empty if none was."""
    while name and name not in seen:
        name = name[: max(name.rfind("."), name.rfind("/"), 0)]
    return name


def _rows(value, axes, batch):
    """Average over space, and join the last axes if there are more than tokens and features."""
    if axes:
        value = value.mean(tuple(batch + axis for axis in axes))
    if value.ndim == batch:
        return value.reshape(*value.shape, 1)
    if value.ndim > batch + 2:  # heads of attention [N, Q, H, D]
        return value.reshape(*value.shape[: batch + 1], -1)
    return value


def space_of_channels_last(module, axes: int, convolutions, projections) -> tuple[int, ...]:
    """Return the axes of space of an output [N, ..., C] of a module of Flax.

    Args:
      module: layer or network.
      axes: number of axes after N.
      convolutions: classes of convolutions, whose `kernel_size` tells how many axes are space.
      projections: class of projections to the heads of attention, [N, Q, heads, D].

    Returns:
      Axes, counted after N; those of other modules are space if there are two or more.
    """
    if isinstance(module, convolutions):
        sizes = module.kernel_size
        return tuple(range(len(sizes) if isinstance(sizes, (tuple, list)) else 1))
    return () if isinstance(module, projections) or axes < 3 else tuple(range(axes - 1))


def first_array(value, batch: int = 1):
    """Return the first array of a nested output, such as (output, state); None if there is none."""
    if hasattr(value, "logits"):  # outputs of Hugging Face
        return value.logits
    if hasattr(value, "ndim"):
        return value if value.ndim >= batch else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return next((a for a in (first_array(v, batch) for v in value) if a is not None), None)
    return None


class Noted(NamedTuple):
    """Output of a layer: the array of the network itself, and a value that stays as it was."""

    original: Any
    value: Any


@contextlib.contextmanager
def calls_noted(modules: Mapping, calls: dict, classes=None, batch: int = 1):
    """Note the outputs of modules while this context lasts.

    Calls inside of inner transformations of JAX, such as the steps of a recurrent network, are left
    out, because their values do not exist outside.

    Args:
      modules: name -> module.
      calls: dict that gets the `Noted` of each module by its name, in the order of the calls.
      classes: classes whose `__call__` the modules use; by default those of the modules.
      batch: number of leading axes of the outputs.
    """
    names = {id(module): name for name, module in modules.items()}
    classes = classes or {_class_of_call(type(module)) for module in modules.values()}
    before, outside = {each: each.__dict__["__call__"] for each in classes}, trace_state()

    def noting(call):
        def noted(self, *args, **kwargs):
            output = call(self, *args, **kwargs)
            if id(self) in names and trace_state() == outside:
                note(calls, names[id(self)], first_array(output, batch))
            return output

        return noted

    try:
        for each, call in before.items():
            each.__call__ = noting(call)
        yield
    finally:
        for each, call in before.items():
            each.__call__ = call


def trace_state():
    """Return what tells the transformations of JAX that are going on; None without JAX."""
    if "jax" not in sys.modules:
        return None
    import jax.extend.core

    here = hasattr(jax.extend.core, "get_opaque_trace_state")  # jax.core holds it in jax 0.8
    return (jax.extend.core if here else jax.core).get_opaque_trace_state(convention="flax")


def note(calls: dict, name: str, output, value=None) -> None:
    """Add the output of a layer at the end of a dict, also if an earlier call has added one.

    Args:
      calls: name -> `Noted`.
      name: name of the layer.
      output: array that the network computes with; None if there is none.
      value: copy of it, if it may change in place.
    """
    calls.pop(name, None)
    calls[name] = Noted(output, output if value is None else value)


def _class_of_call(kind):
    """Return the class, among those that a class inherits from, that defines `__call__`."""
    return next(each for each in kind.__mro__ if "__call__" in each.__dict__)
