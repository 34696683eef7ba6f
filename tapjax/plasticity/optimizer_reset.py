"""Reset an optimizer's state for renewed units, by the meaning of each part of the state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.step.mitigations import Noise, Spectral, Start
from tapjax.step.optimizers import CountedAdam, Driven, Rate
from tapjax.types import Tree


class Renewed(NamedTuple):
    """Which elements of the parameters begin anew (`where`, bool) and all parameters after that.

    Both are trees like the parameters.
    """

    where: Tree
    params: Tree


def _put(tree, renewed: Renewed, value):
    """A tree like the parameters with another value at renewed elements."""
    return jax.tree.map(lambda a, mask: jnp.where(mask, value, a), tree, renewed.where)


def _adam(state: CountedAdam, renewed):
    mu, nu = (_put(moment, renewed, 0.0) for moment in (state.mu, state.nu))
    return CountedAdam(state.count, _put(state.missed, renewed, state.count), mu, nu)


def _start(state: Start, renewed):
    """A unit's anchor is what it begins anew with: of outgoing weights that is 0."""
    return Start(jax.tree.map(jnp.where, renewed.where, renewed.params, state.weights))


def _stay(state, renewed):
    del renewed
    return state


# Type of a state -> (state, Renewed) -> state.
FORGET = {
    CountedAdam: _adam,
    optax.TraceState: lambda state, renewed: optax.TraceState(_put(state.trace, renewed, 0.0)),
    optax.ScaleByRmsState: lambda state, renewed: optax.ScaleByRmsState(
        _put(state.nu, renewed, 0.0)
    ),
    Start: _start,
    # A power iteration goes on from any vector; rates and noise do not belong to units.
    Spectral: _stay,
    Noise: _stay,
    Rate: _stay,
    Driven: _stay,
    optax.EmptyState: _stay,
}


def forget(state: Tree, renewed: Renewed) -> Tree:
    """An optimizer's state without what it remembers of renewed elements.

    Moments become 0 and their counts begin anew; the weights that `towards_start` pulls to become
    those that a unit is renewed with; learning rates, noise and singular vectors stay.

    Args:
      state: of an optimizer from `make_optimizer`, or a chain of transformations in `FORGET`.
      renewed: which elements, and what they are now.

    Returns:
      The state.

    Raises:
      TypeError: a state of another type, of which it is not known what it means. So is that of
        `optax.adam`, which has one count for all elements (see `scale_by_counted_adam`).
    """
    if type(state) in FORGET:
        return FORGET[type(state)](state, renewed)
    if type(state) is tuple:
        return tuple(forget(part, renewed) for part in state)
    raise TypeError(
        f"{type(state).__name__}: forgetting.FORGET does not say what renewed units do to it"
    )
