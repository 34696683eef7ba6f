"""Inner loop of cross mapping: neighbours within random libraries, weights and skills.

If numba is installed, the compiled loops of kernels.py are used. Otherwise NumPy processes one
library at a time.
"""

from typing import NamedTuple

import numpy as np

from analysis.edm.compiled import AVAILABLE
from analysis.edm.neighbours import nearest
from analysis.edm.simplex_projection import weights

WALKED = 0.6  # expected share of the sorted list above which `sweep` is used instead of `walk`


class Space(NamedTuple):
    """States and the sorted neighbours of each state among the other states."""

    states: np.ndarray  # [M, E]
    rows: np.ndarray  # row numbers of the states [M]
    order: np.ndarray  # positions of the neighbours, int32 [M, K], nearest first
    distance: np.ndarray  # distances of the neighbours [M, K], infinite where not admissible
    theiler: int  # Theiler window in rows


def skills(space: Space, wanted_MxV, members_SxL, count: int) -> np.ndarray:
    """Compute the correlation between variables and their estimates from each library.

    Args:
      space: states and their neighbours.
      wanted_MxV: values of the variables at each state, minus their means.
      members_SxL: positions of the L states of each of S libraries.
      count: number of neighbours.

    Returns:
      Correlations [V, S]; NaN where a variable or an estimate is constant.
    """
    sums = compiled_sums if AVAILABLE else array_sums
    moments = sums(space, wanted_MxV, members_SxL, count)
    n, estimate, true, squared, true_squared, product = np.moveaxis(moments, 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = product - estimate * true / n
        spread = (squared - estimate**2 / n) * (true_squared - true**2 / n)
        rho = np.where(spread > 0, covariance / np.sqrt(spread), np.nan)
    return rho.T


def array_sums(space, wanted_MxV, members_SxL, count):
    """Compute sums over the estimated states, [S, 6, V]: n, p, y, p^2, y^2, p y (p estimates y)."""
    return np.stack([_sums(*_estimate(space, wanted_MxV, m, count)) for m in members_SxL])


def _estimate(space, wanted_MxV, members_L, count):
    """Return the estimates and the true values of the states that have enough neighbours."""
    member = np.zeros(len(space.states), bool)
    member[members_L] = True
    met = member[space.order] & np.isfinite(space.distance)
    met &= np.cumsum(met, 1) <= count
    whole = met.sum(1) == count
    index = np.zeros((len(met), count), int)
    distance = np.full((len(met), count), np.inf)
    at = np.nonzero(met[whole])[1].reshape(-1, count)
    index[whole] = np.take_along_axis(space.order[whole], at, 1)
    distance[whole] = np.take_along_axis(space.distance[whole], at, 1)
    if not whole.all() and space.order.shape[1] < len(space.states):
        left = np.flatnonzero(~whole)
        found, distance[left] = nearest(
            space.states[members_L], space.rows[members_L], space.states[left], space.rows[left],
            count, space.theiler,
        )  # fmt: skip
        index[left] = members_L[found]
    weight = weights(distance)
    kept = np.isfinite(weight[:, 0])
    weight = weight[kept] / weight[kept].sum(1, keepdims=True)
    return np.einsum("mk,mkv->mv", weight, wanted_MxV[index[kept]]), wanted_MxV[kept]


def _sums(estimate_MxV, true_MxV):
    n = np.full(true_MxV.shape[1], float(len(true_MxV)))
    products = estimate_MxV**2, true_MxV**2, estimate_MxV * true_MxV
    return np.stack([n, *(a.sum(0) for a in (estimate_MxV, true_MxV, *products))])


def compiled_sums(space, wanted_MxV, members_SxL, count):
    """Compute the same sums as `array_sums` with compiled loops."""
    from analysis.edm.kernels import MEMBER_BITS, WORD, sweep, walk

    samples, size = members_SxL.shape
    total, listed = space.order.shape
    wanted_MxV = np.ascontiguousarray(wanted_MxV)
    moments = np.zeros((samples, 6, wanted_MxV.shape[1]))
    if listed < total and count * total > WALKED * listed * size and size < 2**MEMBER_BITS:
        sweep(space.states, space.rows, space.theiler, wanted_MxV, members_SxL, count, moments)
        return moments
    for start in range(0, samples, WORD):
        part = slice(start, start + WORD)
        walk(*space, wanted_MxV, members_SxL[part], count, moments[part])
    return moments
