"""Loss barriers between networks, before and after their units are matched."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from tapjax.config.schema import ConfigError
from tapjax.measure.training_examples import training_examples
from tapjax.models.wiring import Units, lookup, replaced

EXAMPLES = 1024
POINTS = 11  # on the line between two networks, with both ends
MOST_ROUNDS = 20  # of matching all layers, one after another


def measure(model, loss, state, other, data, key) -> dict:
    """Measure the barrier of the training loss on the line between two networks.

    Question: are two networks in one basin of the loss, and since when (Frankle et al. 2020,
    https://arxiv.org/abs/1912.05671)? Units have no order, so that two seeds are compared again
    after the units of one are matched to those of the other by their weights (Ainsworth et al.
    2023, https://arxiv.org/abs/2209.04836).

    Args:
      model: network, a `types.Model`; it is run in evaluation mode. Running statistics are
        interpolated like parameters.
      loss: loss per example, `(outputs, batch) -> [B]`.
      state: TrainState of one seed.
      other: TrainState of another seed at the same step, of the same seed at the end, or of the
        network from which this one was cloned, with as many units.
      data: DeviceData; `EXAMPLES` training examples are used.
      key: not used.

    Returns:
      `barrier`, the largest excess of the loss over the line between the losses at both ends, at
      least 0; and `matched`, the same after matching, not-a-number for weights that are not finite
      and for architectures whose wiring tapjax does not know. In networks with skip connections
      only the units inside of blocks are matched, so that it is an upper bound.
    """
    del key
    batch = training_examples(data, EXAMPLES)

    @jax.jit
    def on_the_line(here, there):
        def at(share):
            params, stats = jax.tree.map(lambda a, b: (1 - share) * a + share * b, here, there)
            return loss(model.apply(params, stats, batch.x)[0], batch).mean()

        losses_K = jax.lax.map(at, jnp.linspace(0.0, 1.0, POINTS))
        straight_K = jnp.linspace(losses_K[0], losses_K[-1], POINTS)
        return (losses_K - straight_K).max()

    here, there = ((s.params, s.stats) for s in (state, other))
    found = {"barrier": np.asarray(on_the_line(here, there))}
    units = _known_units(model, *here)
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((here, there)))
    if not (units and finite):
        return found | {"matched": np.float32(np.nan)}
    return found | {"matched": np.asarray(on_the_line(here, matched(units, here, there)))}


def _known_units(model, params, stats):
    if model.units is None:
        return []
    try:
        return model.units(params, stats)
    except ConfigError:
        return []


def matched(units: list[Units], here, there):
    """Give the units of a network the order in which its weights are nearest to those of another.

    Layer after layer, the assignment of units with the largest inner product of incoming and
    outgoing weights is found, until no layer changes.

    Args:
      units: units of each layer, see `models.wiring.wiring`.
      here: (parameters, other variables) of the network whose order is kept.
      there: those of the network whose units are ordered anew.

    Returns:
      (parameters, other variables) of a network that computes the same function as `there`.
    """
    here, there = (jax.tree.map(np.asarray, side) for side in (here, there))
    for _ in range(MOST_ROUNDS):
        changed = False
        for layer in units:
            width = lookup(here[0], layer.into.path).shape[layer.into.axis] // layer.into.repeats
            a, b = (_features(layer, side[0], width) for side in (here, there))
            _, order = linear_sum_assignment(a @ b.T, maximize=True)
            if (order != np.arange(width)).any():
                there, changed = _ordered(layer, there, order), True
        if not changed:
            break
    return there


def _wires(layer):
    """Return the wires of a layer that are parameters, and those that are statistics."""
    bias = [layer.bias] if layer.bias else []
    return [layer.into, *bias, *layer.norm, layer.out], list(layer.stats)


def _features(layer, params, width):
    """Return all weights that lead into and out of each unit, [units, weights]."""
    parts = []
    for wire in _wires(layer)[0]:
        moved = np.moveaxis(lookup(params, wire.path), wire.axis, 0)
        by_unit = moved.reshape(wire.repeats, width, -1)
        parts.append(np.moveaxis(by_unit, 1, 0).reshape(width, -1))
    return np.concatenate(parts, 1)


def _ordered(layer, side, order):
    """Return (parameters, other variables) with the units of a layer in another order."""
    trees = list(side)
    for i, wires in enumerate(_wires(layer)):
        for wire in wires:
            array = lookup(trees[i], wire.path)
            starts = np.arange(wire.repeats)[:, None] * len(order)
            index = (starts + order[None]).reshape(-1)
            trees[i] = replaced(trees[i], wire.path, np.take(array, index, wire.axis))
    return tuple(trees)
