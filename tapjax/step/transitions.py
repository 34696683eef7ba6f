"""Changes of the state between two steps.

The host makes them at a step that the config names.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config.fields import is_import_path
from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import parse_architecture
from tapjax.contract.text import did_you_mean
from tapjax.step.step import RESET
from tapjax.types import Model, TrainState


def make_transitions(cfg, model: Model):
    """Make the changes of the state that the config requests during training.

    Args:
      cfg: valid config.
      model: network of the run.

    Returns:
      Pairs (step, function of the states [S, ...]); each function is applied before its step.

    Raises:
      ConfigError: if the network has no such layer or unit.
    """
    if not cfg.reset.step:
        return ()
    layer, unit = cfg.reset.layer, cfg.reset.unit
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    known = (*model.layer_names, *_attention(params, model.layer_names))
    if layer not in known:
        raise ConfigError(
            f"reset.layer={layer!r} is not one of {', '.join(known)}" + did_you_mean(layer, known)
        )
    heads = 0 if is_import_path(cfg.model.name) else parse_architecture(cfg.model.name).heads
    masks = _masks(params, layer, unit, heads)
    return ((cfg.reset.step, lambda states: jax.vmap(_reset(model, masks))(states)),)


def _reset(model, masks):
    """Make a function that reinitialises masked parameters and keeps the optimizer's moments."""

    def reset(state: TrainState) -> TrainState:
        fresh, _ = model.init(jax.random.fold_in(state.key, RESET))
        params = jax.tree.map(jnp.where, masks, fresh, state.params)
        return state._replace(params=params)

    return reset


def _owner(path):
    """Return the name of the module that a parameter belongs to."""
    return jax.tree_util.keystr(path, simple=True, separator="_").rpartition("_")[0]


def _attention(params, layer_names):
    """Name the attention modules that are no layers of their own, as in the blocks of a decoder."""
    owners = [_owner(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    found = {owner.removesuffix("_query") for owner in owners if owner.endswith("_query")}
    return sorted(found - {*layer_names})


def _masks(params, layer, unit, heads):
    """Mark the parameters that belong to a unit of a layer, or to all that is in a block.

    These are the unit's incoming weights; for an attention head they include its outgoing weights.
    """
    projections = {f"{layer}_{name}" for name in ("query", "key", "value", "out")}
    masks = []
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    own = {_owner(path) for path, _ in leaves} & {layer, *projections}
    for path, leaf in leaves:
        name, owner = jax.tree_util.keystr(path, simple=True, separator="_"), _owner(path)
        mask = np.zeros(leaf.shape, bool)
        if owner in {layer, *projections}:
            # Inputs of the output projection belong to single heads, its outputs to all heads.
            axis = leaf.ndim - (2 if owner == f"{layer}_out" else 1)
            if unit < 0:
                mask[:] = True
            elif axis >= 0 and name != f"{layer}_out_bias":
                mask.swapaxes(axis, 0)[_slice(leaf.shape[axis], unit, heads, owner != layer)] = True
        elif not own and owner.startswith(f"{layer}_"):
            if unit >= 0:
                raise ConfigError(
                    f"reset.layer={layer!r} consists of several layers: set reset.unit=-1"
                )
            mask[:] = True
        masks.append(mask)
    if not any(mask.any() for mask in masks):
        raise ConfigError(f"reset.layer={layer!r} has no parameters of that name")
    return jax.tree.unflatten(structure, masks)


def _slice(n, unit, heads, is_head):
    units = heads if is_head else n
    if unit >= units:
        raise ConfigError(f"reset.unit={unit} must be below {units}, or -1 for the whole layer")
    return slice(unit * n // units, (unit + 1) * n // units)
