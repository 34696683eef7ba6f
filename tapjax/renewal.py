"""Units that are of little use begin anew while a network learns.

Continual backprop (Dohare et al. 2024) and ReDo (Sokar et al. 2023) as wrappers of an optimizer:
after its update the chosen units get new incoming weights and lose their outgoing ones, and what
the optimizer remembers of them is forgotten. With nothing chosen an update stays what it was, bit
for bit.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.models.wiring import Units, lookup, replaced

UTILITIES = (
    "weight", "contribution", "adaptation", "zero_contribution", "adaptable_contribution",
    "feature_by_input", "random",
)  # fmt: skip
LEGACY = ("none", "no_correction", "same_weights")


class Renewal(NamedTuple):
    """The inner optimizer's state; of each layer the running `utility`, `age` and `mean` activation
    of its units [D] and fractions of replacements that are `due` [2]; steps done."""

    inner: optax.OptState
    layers: dict
    step: jax.Array


def renewing(inner, table: list[Units], cfg) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that it renews units.

    Args:
      inner: optimizer.
      table: units that may be renewed, from `wiring`.
      cfg: `config.renewal`: `name` (`cbp` or `redo`); of continual backprop `rate` (share of the
        mature units a step), `maturity` (steps), `decay` of running means and `utility`; of ReDo
        `threshold` and `period`; `legacy`: `no_correction` does not keep the mean function, as
        published code did not; `same_weights` leaves incoming weights as they are, sets all biases
        of the layer to zero and renews at least one unit a step, as other published code did.

    Returns:
      A transformation whose update also takes `seen`, the batch's activations, and `key`.
    """

    def init(params):
        def fresh(units):
            zeros = jnp.zeros(lookup(params, units.into.path).shape[units.into.axis])
            return {"utility": zeros, "age": zeros, "mean": zeros, "due": jnp.zeros(2)}

        layers = {"/".join(units.name): fresh(units) for units in table}
        return Renewal(inner.init(params), layers, jnp.int32(0))

    def update(updates, state, params=None, *, seen, key, **extra):
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        layers, chosen = {}, []
        for i, units in enumerate(table):
            name, own_key = "/".join(units.name), jax.random.fold_in(key, i)
            h = lookup(seen, units.name)
            h_NxD = h.reshape(-1, h.shape[-1])
            weights = optax.apply_updates(params, updates)
            pick = redo if cfg.name == "redo" else continual_backprop
            chosen_D, mean_D, layers[name] = pick(
                cfg, state.layers[name], units, weights, h_NxD, state.step, own_key
            )
            updates = _if(
                chosen_D.any(),
                partial(renew, cfg, units),
                updates,
                params,
                chosen_D,
                mean_D,
                own_key,
            )
            chosen.append(chosen_D)
        some = jnp.array([chosen_D.any() for chosen_D in chosen]).any()
        inner_state = _if(some, partial(forget, inner, table), inner_state, params, chosen)
        return updates, Renewal(inner_state, layers, state.step + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def _if(some, change, tree, *operands):
    """change(tree, *operands) if there is something to do, which most steps have not."""
    return jax.lax.cond(some, change, lambda tree, *_: tree, tree, *operands)


def continual_backprop(cfg, layer, units: Units, weights, h_NxD, step, key):
    """Which units of a layer are due: the least useful of those that are old enough.

    Args:
      cfg: `config.renewal`.
      layer: the layer's part of the state.
      units: the layer.
      weights: parameters after the update.
      h_NxD: activations on the batch.
      step: unused; ReDo has a period.
      key: of the random utility.

    Returns:
      (chosen [D], running mean activation [D], the layer's next state).
    """
    del step
    age = layer["age"] + 1
    unbiased = 1 - cfg.decay**age
    mean = cfg.decay * layer["mean"] + (1 - cfg.decay) * h_NxD.mean(0)
    now = _utility(cfg.utility, units, weights, h_NxD, mean / unbiased, key)
    utility = cfg.decay * layer["utility"] + (1 - cfg.decay) * now
    mature = age > cfg.maturity
    count, due = fallen_due(layer["due"], cfg.rate * mature.sum())
    if cfg.legacy == "same_weights":
        count = jnp.maximum(count, 1.0)
    chosen = jax.lax.cond(
        count > 0,
        lambda use: (jnp.argsort(jnp.argsort(use)) < count) & mature,
        lambda use: jnp.zeros(use.shape, bool),
        jnp.where(mature, utility / unbiased, jnp.inf),
    )
    kept = {"utility": utility, "age": age, "mean": mean}
    new = {name: jnp.where(chosen, 0.0, value) for name, value in kept.items()}
    return chosen, mean / unbiased, new | {"due": due}


def fallen_due(due, amount):
    """Add a fraction of a replacement and take out the whole ones.

    A float32 sum of steps of 1e-7 is off by some per cent. The sum is kept as two numbers, so that
    its error stays below 1e-13 a step (two-sum; Knuth 1997, section 4.2.2).

    Args:
      due: fractions left so far [2]: a number in about [0, 1), and what its rounding left out.
      amount: replacements to add, 0 or above.

    Returns:
      (whole replacements, the fractions left [2]).
    """
    high, low = due
    total = high + amount
    added = total - high
    low = low + ((high - (total - added)) + (amount - added))
    high = total + low
    low = low - (high - total)
    whole = jnp.floor(high)
    return whole, jnp.stack([high - whole, low])


def _utility(kind, units, weights, h_NxD, mean_D, key):
    if kind == "random":
        return jax.random.uniform(key, mean_D.shape)
    leaving = _mean_size(units.out, weights)
    entering = _mean_size(units.into, weights)
    size, deviation = jnp.abs(h_NxD).mean(0), jnp.abs(h_NxD - mean_D[None]).mean(0)
    return {
        "weight": lambda: leaving,
        "contribution": lambda: leaving * size,
        "adaptation": lambda: 1 / entering,
        "zero_contribution": lambda: leaving * deviation,
        "adaptable_contribution": lambda: leaving * deviation / entering,
        "feature_by_input": lambda: deviation / entering,
    }[kind]()


def redo(cfg, layer, units: Units, weights, h_NxD, step, key):
    """Which units of a layer are due: every so often those with little activity.

    Args and returns as of `continual_backprop`.
    """
    del units, weights, key
    size_D = jnp.abs(h_NxD).mean(0)
    quiet = size_D <= cfg.threshold * size_D.mean()
    return quiet & ((step + 1) % cfg.period == 0), jnp.zeros_like(size_D), layer


def renew(cfg, units: Units, updates, params, chosen_D, mean_D, key):
    """Updates by which the chosen units begin anew.

    Incoming weights are drawn as at the beginning (uniform of variance 2 / fan-in), the bias is 0,
    the norm's scale 1 and shift 0; outgoing weights are 0. What the units gave on average goes into
    the bias behind them, so that the mean function stays (not by ReDo, nor legacy).

    Args:
      cfg: `config.renewal`.
      units: the layer.
      updates: so far.
      params: before the update.
      chosen_D: units to renew.
      mean_D: their mean activations.
      key: of the new weights.

    Returns:
      Updates.
    """
    same = cfg.legacy == "same_weights"

    def put(updates, wire, value, mask_D=chosen_D):
        old, now = lookup(params, wire.path), lookup(updates, wire.path)
        mask = _spread(wire, mask_D, old)
        return replaced(updates, wire.path, jnp.where(mask, value - old, now))

    if units.out_bias and cfg.name == "cbp" and cfg.legacy == "none":
        weights = lookup(params, units.out.path) + lookup(updates, units.out.path)
        leaving = _by_unit(units.out, weights).sum(0)
        gone = jnp.where(chosen_D, mean_D, 0.0) @ leaving.reshape(
            len(mean_D), -1, leaving.shape[-1]
        ).sum(1)
        now = lookup(updates, units.out_bias)
        updates = replaced(updates, units.out_bias, now + gone)
    if not same:
        kernel = lookup(params, units.into.path)
        fresh = jax.nn.initializers.he_uniform()(key, kernel.shape)
        updates = put(updates, units.into, fresh)
    if units.bias:
        everyone = jnp.broadcast_to(chosen_D.any(), chosen_D.shape)
        updates = put(updates, units.bias, 0.0, everyone if same else chosen_D)
    for wire in units.norm:
        updates = put(updates, wire, 1.0 if wire.path[-1] == "scale" else 0.0)
    return put(updates, units.out, 0.0)


def forget(inner, table: list[Units], inner_state, params, chosen):
    """The inner optimizer's state without what it remembers of the chosen units.

    Args:
      inner: optimizer.
      table: from `wiring`.
      inner_state: its state.
      params: parameters, for their shapes.
      chosen: units of each layer [D].

    Returns:
      The state.
    """
    masks = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
    for units, chosen_D in zip(table, chosen, strict=True):
        wires = (units.into, *((units.bias,) if units.bias else ()), *units.norm, units.out)
        for wire in wires:
            mask = lookup(masks, wire.path)
            masks = replaced(masks, wire.path, mask | _spread(wire, chosen_D, mask))
    return optax.tree_utils.tree_map_params(
        inner, lambda moment, mask: jnp.where(mask, 0.0, moment), inner_state, masks
    )


def _spread(wire, mask_D, like):
    """A mask of units as one of a parameter."""
    shape = [1] * like.ndim
    shape[wire.axis] = -1
    return jnp.broadcast_to(jnp.tile(mask_D, wire.repeats).reshape(shape), like.shape)


def _by_unit(wire, kernel):
    """A parameter with its rounds and units in front: [repeats, D, ...]."""
    moved = jnp.moveaxis(kernel, wire.axis, 0)
    return moved.reshape(wire.repeats, -1, *moved.shape[1:])


def _mean_size(wire, weights):
    kernel = jnp.abs(_by_unit(wire, lookup(weights, wire.path)))
    repeats, width = kernel.shape[:2]
    rows = kernel.reshape(repeats, width, -1)
    # As a product with ones: XLA's reductions on CPU are several times slower.
    return (rows @ jnp.ones(rows.shape[-1])).sum(0) / (repeats * rows.shape[-1])
