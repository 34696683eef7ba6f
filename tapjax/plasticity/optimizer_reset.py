"""Reset of an optimizer's state for reset units, according to the meaning of its parts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.step.mitigations import Noise, Spectral, Start
from tapjax.step.optimizers import CountedAdam, Driven, Rate
from tapjax.types import Tree


class Renewed(NamedTuple):
    """Mask of the reset elements of the parameters, and all parameters after the reset.

    `where` (bool) and `params` are both trees like the parameters.
    """

    where: Tree
    params: Tree


def _put(tree, renewed: Renewed, value):
    """Replace the reset elements of a tree like the parameters by a value."""
    return jax.tree.map(lambda a, mask: jnp.where(mask, value, a), tree, renewed.where)


def _adam(state: CountedAdam, renewed):
    mu, nu = (_put(moment, renewed, 0.0) for moment in (state.mu, state.nu))
    return CountedAdam(state.count, _put(state.missed, renewed, state.count), mu, nu)


def _start(state: Start, renewed):
    """Set the anchor of a reset unit to its weights after the reset.

    These are 0 for its outgoing weights.
    """
    return Start(jax.tree.map(jnp.where, renewed.where, renewed.params, state.weights))


def _stay(state, renewed):
    del renewed
    return state


# Type of a state -> function (state, Renewed) -> state.
FORGET = {
    CountedAdam: _adam,
    optax.TraceState: lambda state, renewed: optax.TraceState(_put(state.trace, renewed, 0.0)),
    optax.ScaleByRmsState: lambda state, renewed: optax.ScaleByRmsState(
        _put(state.nu, renewed, 0.0)
    ),
    Start: _start,
    # A power iteration can continue from any vector. Rates and noise do not belong to units.
    Spectral: _stay,
    Noise: _stay,
    Rate: _stay,
    Driven: _stay,
    optax.EmptyState: _stay,
}


def forget(state: Tree, renewed: Renewed) -> Tree:
    """Remove what an optimizer's state remembers of reset elements.

    Their moments become 0, and their counts of updates restart. The weights to which
    `towards_start` pulls become the weights after the reset. Learning rates, noise and singular
    vectors stay.

    Args:
      state: state of an optimizer from `make_optimizer`, or of a chain of transformations whose
        types of state are in `FORGET`.
      renewed: mask of the reset elements, and parameters after the reset.

    Returns:
      The state after the reset.

    Raises:
      TypeError: if a part of the state has another type, whose meaning is not known. The state of
        `optax.adam` is such a type, because it has one count for all elements (see
        `scale_by_counted_adam`).
    """
    if type(state) in FORGET:
        return FORGET[type(state)](state, renewed)
    if type(state) is tuple:
        return tuple(forget(part, renewed) for part in state)
    raise TypeError(
        f"{type(state).__name__}: optimizer_reset.FORGET does not say how it is reset for a unit"
    )
