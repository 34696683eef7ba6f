"""Nearest neighbours: Euclidean, without the recent past, with one order for ties.

Equal distances, which rounded series such as an accuracy are full of, are ordered by the time
between the two points and then by row, so that a result does not depend on how a tree was built.
"""

import functools

import numpy as np
from scipy.spatial import cKDTree

from analysis.edm.compiled import AVAILABLE, compiled

BLOCK = 2**17  # distances held at once: they stay in the cache
SAMPLE = 8  # one of so many points finds how far the near ones reach


def squared_distances(a_NxE, b_ExM, out=None, spare=None) -> np.ndarray:
    """All squared distances, summed over differences.

    |a|^2 + |b|^2 - 2ab would be faster; its cancellation reorders near neighbours.

    Args:
      a_NxE: states.
      b_ExM: states, transposed: contiguous coordinates are added faster.
      out: array [N, M] for the result.
      spare: array [N, M] that is overwritten; with `out` nothing is allocated.

    Returns:
      [N, M].
    """
    shape = len(a_NxE), b_ExM.shape[1]
    out = np.empty(shape) if out is None else out
    if AVAILABLE:
        _differences()(np.ascontiguousarray(a_NxE), b_ExM, out)
        return out
    spare = np.empty(shape) if spare is None else spare
    for i, (a_N, b_M) in enumerate(zip(a_NxE.T, b_ExM, strict=True)):
        part = spare if i else out
        np.subtract(a_N[:, None], b_M[None], out=part)
        np.multiply(part, part, out=part)
        if i:
            out += part
    return out


@functools.cache
def _differences():
    @compiled
    def squared(a_NxE, b_ExM, out):
        for i in range(len(out)):
            out[i] = 0.0
            for e in range(len(b_ExM)):
                for j in range(out.shape[1]):
                    apart = a_NxE[i, e] - b_ExM[e, j]
                    out[i, j] += apart * apart

    return squared


def without_window(squared_MxN, rows_N, query_rows_M, theiler: int) -> None:
    """Make the points within a Theiler window infinitely far, in place; `rows_N` ascend."""
    first = np.searchsorted(rows_N, query_rows_M - theiler)
    last = np.searchsorted(rows_N, query_rows_M + theiler, side="right")
    for i in np.flatnonzero(first < last):
        squared_MxN[i, first[i] : last[i]] = np.inf


def nearest(points_NxE, point_rows, queries_MxE, query_rows, count: int, theiler: int = 0):
    """The nearest admissible points of every query.

    Args:
      points_NxE: states to search.
      point_rows: their rows [N].
      queries_MxE: states to search for.
      query_rows: their rows [M].
      count: how many.
      theiler: points at most this many rows away are not admissible; with 0, a point itself
        (Theiler 1986).

    Returns:
      Positions among the points [M, count] and distances [M, count], nearest first; distances
      are infinite where too few points are admissible.
    """
    asked = min(count + 2 * theiler + 2, len(points_NxE))  # one more shows ties at the border
    _, found = cKDTree(points_NxE).query(queries_MxE, np.arange(1, asked + 1))
    apart = np.abs(point_rows[found] - query_rows[:, None])
    squared = ((points_NxE[found] - queries_MxE[:, None]) ** 2).sum(-1)
    farthest = squared.max(1)
    squared[apart <= theiler] = np.inf
    order = np.lexsort((point_rows[found], apart, squared), axis=-1)[:, :count]
    index, squared = np.take_along_axis(found, order, 1), np.take_along_axis(squared, order, 1)
    if asked < len(points_NxE):
        # The tree sums in another order: distances within rounding of the border count as ties.
        (tied,) = np.nonzero(squared[:, -1] >= farthest * (1 - 1e-12))
        step = max(BLOCK // len(points_NxE), 1)
        for start in range(0, len(tied), step):
            part = tied[start : start + step]
            index[part], squared[part] = _search(
                points_NxE, point_rows, queries_MxE[part], query_rows[part], count, theiler
            )
    if index.shape[1] < count:
        more = ((0, 0), (0, count - index.shape[1]))
        index = np.pad(index, more)
        squared = np.pad(squared, more, constant_values=np.inf)
    return index, np.sqrt(squared)


def _search(points_NxE, point_rows, queries_MxE, query_rows, count, theiler):
    """Like `nearest`, by looking at every point."""
    apart = np.abs(point_rows[None] - query_rows[:, None])
    squared = ((queries_MxE[:, None] - points_NxE[None]) ** 2).sum(-1)
    squared[apart <= theiler] = np.inf
    border = np.partition(squared, count - 1, 1)[:, count - 1]
    index = np.empty((len(queries_MxE), count), int)
    for i, limit in enumerate(border):
        near = np.flatnonzero(squared[i] <= limit)
        index[i] = near[np.lexsort((point_rows[near], apart[i, near], squared[i, near]))[:count]]
    return index, np.take_along_axis(squared, index, 1)


def ordered(states_MxE, rows_M, count: int, theiler: int = 0):
    """The nearest admissible states of every state among themselves, sorted.

    Args:
      states_MxE: states.
      rows_M: their rows, ascending.
      count: neighbours of each.
      theiler: see `nearest`.

    Returns:
      Positions int32 [M, count] and distances [M, count], infinite where not admissible.
    """
    total = len(states_MxE)
    index = np.empty((total, count), np.int32)
    distance = np.empty((total, count))
    step = min(max(BLOCK // total, 1), total)
    buffers, transposed = np.empty((2, step, total)), np.ascontiguousarray(states_MxE.T)
    # At random: at regular intervals it would follow a period of the series.
    sample = np.random.default_rng(0).choice(total, total // SAMPLE, replace=False)
    for start in range(0, total, step):
        part = slice(start, min(start + step, total))
        out, spare = buffers[:, : part.stop - start]
        squared = squared_distances(states_MxE[part], transposed, out, spare)
        without_window(squared, rows_M, rows_M[part], theiler)
        for i, squared_M in enumerate(squared, start):
            index[i] = _first(squared_M, rows_M, rows_M[i], count, sample)
            distance[i] = np.sqrt(squared_M[index[i]])
    return index, distance


def _first(squared_M, rows_M, row, count, sample):
    """Positions of the smallest, sorted."""
    total = len(squared_M)
    # A limit that some more lie below, from a sample; sorting those is cheaper than a partition.
    rank = int(1.2 * count * len(sample) / total) + 8
    if rank < len(sample):
        near = np.flatnonzero(squared_M <= np.partition(squared_M[sample], rank)[rank])
    if rank >= len(sample) or len(near) < count:
        near = np.arange(total)
    squared = squared_M[near]
    order = squared.argsort()
    ranked = squared[order]
    if (ranked[1:] == ranked[:-1]).any():
        order = np.lexsort((near, np.abs(rows_M[near] - row), squared))
    return near[order[:count]]
