"""Optimizers that reset units of low utility while a network trains.

Continual backprop (Dohare et al. 2024, https://doi.org/10.1038/s41586-024-07711-7) and ReDo
(Sokar et al. 2023, https://arxiv.org/abs/2302.12902) are implemented as wrappers of an optimizer.
After the optimizer's update, the chosen units get new incoming weights, their outgoing weights are
set to 0, and the optimizer's state for these weights is reset. If no unit is chosen, the update is
the same as without the wrapper, bit for bit.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.models.layers import initializers
from tapjax.models.wiring import Units, lookup, replaced
from tapjax.plasticity.optimizer_reset import Renewed, forget

UTILITIES = (
    "weight", "contribution", "adaptation", "zero_contribution", "adaptable_contribution",
    "feature_by_input", "random",
)  # fmt: skip
# Number of examples on which ReDo judges a unit; the default size of the probe.
JUDGED = 512
INNER = 2**31  # random stream of the inner optimizer; layers use streams 0, 1, ...


class Renewal(NamedTuple):
    """State of an optimizer that resets units.

    `inner` is the state of the wrapped optimizer, `layers` has a dict for each layer, and `step` is
    the number of updates made. In the dict of a layer, `utility` [D] is the running utility of its
    units and `age` [D] the number of steps since their last reset. `mean` is the running mean of
    their activations [parts D] (for ReDo, of their absolute values [D]). `due` [2] is the
    accumulated fraction of a replacement. `renewed` [D] marks the units that the last update reset.
    """

    inner: optax.OptState
    layers: dict
    step: jax.Array


def renewing(
    inner, table: list[Units], cfg, initializer: str
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that it also resets units.

    Args:
      inner: optimizer whose state `optimizer_reset.forget` can reset, from
        `optimizers.make_optimizer(..., per_element=True)`.
      table: units that may be reset, from `wiring`.
      cfg: `config.renewal`. `name` is `cbp` or `redo`. Continual backprop uses `rate` (share of the
        mature units that are reset per step), `maturity` (steps), `decay` of the running means and
        `utility`. ReDo uses `threshold` and `period` (steps). `legacy` reproduces faults of
        published code. With `no_correction`, the mean input of the next layer is not kept.
        `same_weights`, from other published code, keeps the incoming weights, sets all biases of
        the layer to zero and resets at least one unit per step.
      initializer: `config.model.init`, the initialisation from which reset units are drawn.

    Returns:
      A transformation whose update also takes `seen`, the batch's activations, and a random `key`.
      It passes these and all other extra arguments on to the inner optimizer.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params):
        def fresh(units):
            zeros = jnp.zeros(lookup(params, units.into.path).shape[units.into.axis])
            return {
                "utility": zeros,
                "age": zeros,
                "mean": zeros if cfg.name == "redo" else jnp.tile(zeros, units.parts),
                "due": jnp.zeros(2),
                "renewed": zeros > 0,
            }

        layers = {"/".join(units.name): fresh(units) for units in table}
        return Renewal(inner.init(params), layers, jnp.int32(0))

    def update(updates, state, params=None, *, seen, key, **extra):
        own = jax.random.fold_in(key, INNER)
        updates, inner_state = inner.update(
            updates, state.inner, params, seen=seen, key=own, **extra
        )
        layers, chosen = {}, []
        for i, units in enumerate(table):
            name, own_key = "/".join(units.name), jax.random.fold_in(key, i)
            weights = optax.apply_updates(params, updates)
            pick = redo if cfg.name == "redo" else continual_backprop
            chosen_D, mean, layer = pick(
                cfg,
                state.layers[name],
                units,
                weights,
                lookup(seen, units.name),
                state.step,
                own_key,
            )
            layers[name] = layer | {"renewed": chosen_D}
            updates = _if(
                chosen_D.any(),
                partial(renew, cfg, units, initializer),
                updates,
                params,
                chosen_D,
                mean,
                own_key,
            )
            chosen.append(chosen_D)
        some = jnp.array([chosen_D.any() for chosen_D in chosen]).any()
        after = optax.apply_updates(params, updates)
        inner_state = _if(some, partial(_forget, table), inner_state, after, chosen)
        return updates, Renewal(inner_state, layers, state.step + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def _if(some, change, tree, *operands):
    """Apply `change` to a tree if `some` is true, which is rare; else return the tree unchanged."""
    return jax.lax.cond(some, change, lambda tree, *_: tree, tree, *operands)


def continual_backprop(cfg, layer, units: Units, weights, h, step, key):
    """Choose the units of a layer to reset: those of lowest utility among the mature ones.

    Args:
      cfg: `config.renewal`.
      layer: state of the layer.
      units: wiring of the layer's units.
      weights: parameters after the update.
      h: activations on the batch [B, ..., parts D].
      step: number of updates made; only `redo` uses it.
      key: random key for the random utility.

    Returns:
      (mask of the chosen units [D], running mean activation [parts D], next state of the layer).
    """
    del step
    h_NxE = h.reshape(-1, h.shape[-1])
    age = layer["age"] + 1
    unbiased = 1 - cfg.decay**age
    mean = cfg.decay * layer["mean"] + (1 - cfg.decay) * h_NxE.mean(0)
    mean_E = mean / jnp.tile(unbiased, units.parts)
    now = _utility(cfg.utility, units, weights, h_NxE, mean_E, key)
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
    new = {
        "utility": jnp.where(chosen, 0.0, utility),
        "age": jnp.where(chosen, 0.0, age),
        "mean": jnp.where(jnp.tile(chosen, units.parts), 0.0, mean),
    }
    return chosen, mean_E, layer | new | {"due": due}


def fallen_due(due, amount):
    """Add a fraction of a replacement and remove the whole replacements.

    A float32 sum of increments of 1e-7 has an error of some per cent. The sum is therefore stored
    as two numbers, which keep its error below 1e-13 per step (two-sum; Knuth 1997, section 4.2.2).

    Args:
      due: accumulated fraction [2]: a number in about [0, 1), and its rounding error.
      amount: number of replacements to add, at least 0.

    Returns:
      (number of whole replacements, remaining fraction [2]).
    """
    high, low = due
    total = high + amount
    added = total - high
    low = low + ((high - (total - added)) + (amount - added))
    high = total + low
    low = low - (high - total)
    whole = jnp.floor(high)
    return whole, jnp.stack([high - whole, low])


def _utility(kind, units, weights, h_NxE, mean_E, key):
    if kind == "random":
        return jax.random.uniform(key, (len(mean_E) // units.parts,))
    leaving = _mean_size(units.out, weights)
    entering = _mean_size(units.into, weights)
    size = _of_units(units, jnp.abs(h_NxE).mean(0))
    deviation = _of_units(units, jnp.abs(h_NxE - mean_E[None]).mean(0))
    return {
        "weight": lambda: leaving,
        "contribution": lambda: leaving * size,
        "adaptation": lambda: 1 / entering,
        "zero_contribution": lambda: leaving * deviation,
        "adaptable_contribution": lambda: leaving * deviation / entering,
        "feature_by_input": lambda: deviation / entering,
    }[kind]()


def _of_units(units, size_E):
    """Sum over the activations of each unit."""
    return size_E if units.parts == 1 else size_E.reshape(units.parts, -1).sum(0)


def redo(cfg, layer, units: Units, weights, h, step, key):
    """Choose the units of a layer to reset: those with little activity, once per period.

    A unit is judged by its mean absolute activation over at least the last 512 examples. These are
    the examples of one step if a batch is large enough, else of as many steps as necessary. (The
    published method uses a single batch. If it is small, units are reset that are inactive only on
    these few examples.) A period with fewer than 512 examples is lengthened to its smallest
    multiple that has at least 512.

    Args:
      cfg: `config.renewal`.
      layer: state of the layer.
      units: wiring of the layer's units.
      weights: parameters after the update; not used.
      h: activations on the batch [B, ..., parts D].
      step: number of updates made.
      key: random key; not used.

    Returns:
      (mask of the chosen units [D], zeros in place of a mean activation [parts D], next state of
      the layer).
    """
    del weights, key
    window = -(-JUDGED // len(h))  # steps
    every = cfg.period * -(-window // cfg.period)
    left = every - 1 - step % every
    now_D = _of_units(units, jnp.abs(h.reshape(-1, h.shape[-1])).mean(0))
    size_D = jnp.where(left < window, layer["mean"] + now_D / window, 0.0)
    quiet = (size_D <= cfg.threshold * size_D.mean()) & (left == 0)
    kept = jnp.where(left == 0, 0.0, size_D)
    return quiet, jnp.zeros(h.shape[-1]), layer | {"mean": kept}


def renew(cfg, units: Units, initializer: str, updates, params, chosen_D, mean_E, key):
    """Change the updates so that they reset the chosen units.

    Incoming weights and biases are drawn from their initial distribution. The scale of the
    normalisation becomes 1 and its shift 0. Outgoing weights become 0. The mean contribution of the
    units is added to the bias of the next layer, so that the mean input of the next layer does not
    change. ReDo and the legacy variants leave this bias unchanged.

    Args:
      cfg: `config.renewal`.
      units: wiring of the layer's units.
      initializer: `config.model.init`.
      updates: updates so far.
      params: parameters before the update.
      chosen_D: mask of the units to reset.
      mean_E: mean activations of the layer's units [parts D].
      key: random key for the new weights.

    Returns:
      The changed updates.
    """
    same = cfg.legacy == "same_weights"

    def put(updates, wire, value, mask_D=chosen_D):
        old, now = lookup(params, wire.path), lookup(updates, wire.path)
        mask = _spread(wire, mask_D, old)
        return replaced(updates, wire.path, jnp.where(mask, value - old, now))

    if units.out_bias and cfg.name == "cbp" and cfg.legacy == "none":
        gone_E = jnp.where(jnp.tile(chosen_D, units.parts), mean_E, 0.0)
        weights = lookup(params, units.out.path) + lookup(updates, units.out.path)
        now = lookup(updates, units.out_bias)
        updates = replaced(updates, units.out_bias, now + gone_E @ _leaving(units, weights))
    kernel = lookup(params, units.into.path)
    draw, draw_bias = initializers(initializer, kernel.size // kernel.shape[-1])
    if not same:
        updates = put(updates, units.into, draw(key, kernel.shape))
    if units.bias and same:
        updates = put(updates, units.bias, 0.0, jnp.broadcast_to(chosen_D.any(), chosen_D.shape))
    elif units.bias:
        fresh = draw_bias(jax.random.fold_in(key, 1), kernel.shape[-1:])
        updates = put(updates, units.bias, fresh)
    for wire in units.norm:
        updates = put(updates, wire, 1.0 if wire.path[-1] == "scale" else 0.0)
    return put(updates, units.out, 0.0)


def _leaving(units, kernel):
    """Sum outgoing weights over positions, for constant activations: [parts D, outputs]."""
    rounds = _by_unit(units.out, kernel)
    places = rounds.reshape(-1, units.parts * rounds.shape[1], *rounds.shape[2:]).sum(0)
    return places.reshape(len(places), -1, kernel.shape[-1]).sum(1)


def _forget(table: list[Units], inner_state, params, chosen):
    """Reset what the inner optimizer's state remembers of the chosen units."""
    masks = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
    for units, chosen_D in zip(table, chosen, strict=True):
        wires = (units.into, *((units.bias,) if units.bias else ()), *units.norm, units.out)
        for wire in wires:
            mask = lookup(masks, wire.path)
            masks = replaced(masks, wire.path, mask | _spread(wire, chosen_D, mask))
    return forget(inner_state, Renewed(masks, params))


def renewed_stats(table: list[Units], stats, state: Renewal):
    """Reset the running statistics of batch normalisation for reset units.

    Args:
      table: list of units from `wiring`.
      stats: other variables of the model, after a step.
      state: state of the optimizer after that step.

    Returns:
      stats with mean 0 and variance 1 for the units that this step reset.
    """
    for units in table:
        renewed_D = state.layers["/".join(units.name)]["renewed"]
        for wire in units.stats:
            old = lookup(stats, wire.path)
            first = 1.0 if wire.path[-1] == "var" else 0.0
            new = jnp.where(_spread(wire, renewed_D, old), first, old)
            stats = replaced(stats, wire.path, new)
    return stats


def _spread(wire, mask_D, like):
    """Expand a mask of units to a mask of a parameter array."""
    shape = [1] * like.ndim
    shape[wire.axis] = -1
    return jnp.broadcast_to(jnp.tile(mask_D, wire.repeats).reshape(shape), like.shape)


def _by_unit(wire, kernel):
    """Return a parameter array with repeats and units as the first axes: [repeats, D, ...]."""
    moved = jnp.moveaxis(kernel, wire.axis, 0)
    return moved.reshape(wire.repeats, -1, *moved.shape[1:])


def _mean_size(wire, weights):
    kernel = jnp.abs(_by_unit(wire, lookup(weights, wire.path)))
    repeats, width = kernel.shape[:2]
    rows = kernel.reshape(repeats, width, -1)
    # A product with ones, because XLA's reductions on CPU are several times slower.
    return (rows @ jnp.ones(rows.shape[-1])).sum(0) / (repeats * rows.shape[-1])
