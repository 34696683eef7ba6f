"""Running means that an optimizer keeps, whatever chain or partition they are in."""

import jax

from tapjax.types import Tree


def moment(opt: Tree, params: Tree, names) -> Tree | None:
    """Find a running mean in the state of an optimizer.

    `optax.tree_utils.tree_get` refuses states in which several parts of the parameters have an
    optimizer each, and parameters of the same name.

    Args:
      opt: state of the optimizer.
      params: parameters.
      names: names of the field, such as `mu` and `trace`; the first that exists is used.

    Returns:
      Tree like the parameters, or None if the optimizer keeps no such mean of all parameters.
    """
    paths, tree = jax.tree_util.tree_flatten_with_path(params)
    for name in names:
        found = {}
        for part in _fields(opt, name):
            for path, leaf in jax.tree_util.tree_leaves_with_path(part):
                found.setdefault(path, leaf)
        if all(path in found and found[path].shape == leaf.shape for path, leaf in paths):
            return jax.tree.unflatten(tree, [found[path] for path, _ in paths])
    return None


def _fields(state, name):
    """Yield the fields of this name of all named tuples in a state."""
    if hasattr(state, "_fields"):
        if name in state._fields:
            yield getattr(state, name)
        for field in state._fields:
            yield from _fields(getattr(state, field), name) if field != name else ()
    elif isinstance(state, dict):
        for value in state.values():
            yield from _fields(value, name)
    elif isinstance(state, (tuple, list)):
        for value in state:
            yield from _fields(value, name)
