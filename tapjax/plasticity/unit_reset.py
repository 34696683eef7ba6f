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

from tapjax.models.layers import initializers
from tapjax.models.wiring import Units, lookup, replaced
from tapjax.plasticity.optimizer_reset import Renewed, forget

UTILITIES = (
    "weight", "contribution", "adaptation", "zero_contribution", "adaptable_contribution",
    "feature_by_input", "random",
)  # fmt: skip
LEGACY = ("none", "no_correction", "same_weights")


# Examples on which ReDo judges a unit: as many as the probe has.
JUDGED = 512
INNER = 2**31  # stream of random numbers of the inner optimizer; layers have 0, 1, ...


class Renewal(NamedTuple):
    """The inner optimizer's state; of each layer the running `utility` and `age` of its units [D],
    the running `mean` of its activations [parts D] (of ReDo: of their absolute values [D]), what is
    `due` of a replacement [2], and which were `renewed` by the last update; steps done."""

    inner: optax.OptState
    layers: dict
    step: jax.Array


def renewing(
    inner, table: list[Units], cfg, initializer: str
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that it renews units.

    Args:
      inner: optimizer of which `forgetting.forget` knows the state, from
        `optimizers.make_optimizer(..., per_element=True)`.
      table: units that may be renewed, from `wiring`.
      cfg: `config.renewal`: `name` (`cbp` or `redo`); of continual backprop `rate` (share of the
        mature units a step), `maturity` (steps), `decay` of running means and `utility`; of ReDo
        `threshold` and `period`; `legacy`: `no_correction` does not keep the mean function, as
        published code did not; `same_weights` leaves incoming weights as they are, sets all biases
        of the layer to zero and renews at least one unit a step, as other published code did.
      initializer: `config.model.init`, by which renewed units are drawn.

    Returns:
      A transformation whose update also takes `seen`, the batch's activations, and `key`; these
      and all other extra arguments are passed on to the inner optimizer.
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
    """change(tree, *operands) if there is something to do, which most steps have not."""
    return jax.lax.cond(some, change, lambda tree, *_: tree, tree, *operands)


def continual_backprop(cfg, layer, units: Units, weights, h, step, key):
    """Which units of a layer are due: the least useful of those that are old enough.

    Args:
      cfg: `config.renewal`.
      layer: the layer's part of the state.
      units: the layer.
      weights: parameters after the update.
      h: activations on the batch [B, ..., parts D].
      step: updates done; not used, ReDo has a period.
      key: of the random utility.

    Returns:
      (chosen [D], running mean activation [parts D], the layer's next state).
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
    """What the activations of a unit have together."""
    return size_E if units.parts == 1 else size_E.reshape(units.parts, -1).sum(0)


def redo(cfg, layer, units: Units, weights, h, step, key):
    """Which units of a layer are due: every so often those with little activity.

    A unit is judged by its mean absolute activation over the last 512 examples at least: those of
    one step if a batch has so many, else those of as many steps as it takes. (By a single batch,
    as published, small batches renew units that are only quiet on these few examples.) A period
    in which fewer are seen is lengthened to its first multiple in which 512 are.

    Args and returns as of `continual_backprop`.
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
    """Updates by which the chosen units begin anew.

    Incoming weights and biases are drawn as at the beginning, the norm's scale is 1 and its shift
    0; outgoing weights are 0. What the units gave on average goes into the bias behind them, so
    that the mean function stays (not by ReDo, nor legacy).

    Args:
      cfg: `config.renewal`.
      units: the layer.
      initializer: `config.model.init`.
      updates: so far.
      params: before the update.
      chosen_D: units to renew.
      mean_E: mean activations, of all `parts` of a layer's units.
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
    """Weights by which a constant activation acts on the layer behind: [parts D, outputs]."""
    rounds = _by_unit(units.out, kernel)
    places = rounds.reshape(-1, units.parts * rounds.shape[1], *rounds.shape[2:]).sum(0)
    return places.reshape(len(places), -1, kernel.shape[-1]).sum(1)


def _forget(table: list[Units], inner_state, params, chosen):
    """The inner optimizer's state without what it remembers of the chosen units."""
    masks = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
    for units, chosen_D in zip(table, chosen, strict=True):
        wires = (units.into, *((units.bias,) if units.bias else ()), *units.norm, units.out)
        for wire in wires:
            mask = lookup(masks, wire.path)
            masks = replaced(masks, wire.path, mask | _spread(wire, chosen_D, mask))
    return forget(inner_state, Renewed(masks, params))


def renewed_stats(table: list[Units], stats, state: Renewal):
    """Running statistics of a batch normalisation that begin anew with their units.

    Args:
      table: from `wiring`.
      stats: a model's other variables, after a step.
      state: of the optimizer, after that step.

    Returns:
      stats with mean 0 and variance 1 where a unit was renewed.
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
