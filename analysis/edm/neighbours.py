"""Nearest neighbours by Euclidean distance, with a Theiler window and a fixed order of ties.

Equal distances are frequent in rounded series such as an accuracy. They are ordered by the time
between the two points and then by row. A result therefore does not depend on how a tree was built.
"""

import functools

import numpy as np
from scipy.spatial import cKDTree

from analysis.edm.compiled import AVAILABLE, compiled

BLOCK = 2**17  # distances held at once; this many fit into the processor's cache
SAMPLE = 8  # one point in 8 is sampled to estimate the distance of the farthest neighbour


def squared_distances(a_NxE, b_ExM, out=None, spare=None) -> np.ndarray:
    """Return the squared distances of all pairs, computed from coordinate differences.

    The formula |a|^2 + |b|^2 - 2ab would be faster, but its cancellation errors change the order
    of near neighbours.

    Args:
      a_NxE: states.
      b_ExM: states, transposed, because contiguous coordinates are added faster.
      out: array [N, M] for the result; None allocates one.
      spare: array [N, M] for intermediate results, which is overwritten; None allocates one. If
        `out` is given too, no memory is allocated.

    Returns:
      Squared distances [N, M].
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
    """Set the distances of points within a Theiler window to infinity, in place.

    Args:
      squared_MxN: squared distances of M queries from N points.
      rows_N: rows of the points, ascending.
      query_rows_M: rows of the queries.
      theiler: Theiler window in rows.
    """
    first = np.searchsorted(rows_N, query_rows_M - theiler)
    last = np.searchsorted(rows_N, query_rows_M + theiler, side="right")
    for i in np.flatnonzero(first < last):
        squared_MxN[i, first[i] : last[i]] = np.inf


def nearest(points_NxE, point_rows, queries_MxE, query_rows, count: int, theiler: int = 0):
    """Find the nearest admissible points of every query.

    Args:
      points_NxE: states to search among.
      point_rows: rows of these states [N].
      queries_MxE: states whose neighbours are searched.
      query_rows: rows of the queries [M].
      count: number of neighbours per query.
      theiler: Theiler window in rows. Points at most this many rows away from the query are not
        admissible; with 0, only the query itself is excluded (Theiler 1986,
        https://doi.org/10.1103/PhysRevA.34.2427).

    Returns:
      Positions among the points [M, count] and distances [M, count], nearest first. Distances
      are infinite where too few points are admissible.
    """
    asked = min(count + 2 * theiler + 2, len(points_NxE))  # one extra point shows ties at the end
    _, found = cKDTree(points_NxE).query(queries_MxE, np.arange(1, asked + 1))
    apart = np.abs(point_rows[found] - query_rows[:, None])
    squared = ((points_NxE[found] - queries_MxE[:, None]) ** 2).sum(-1)
    farthest = squared.max(1)
    squared[apart <= theiler] = np.inf
    order = np.lexsort((point_rows[found], apart, squared), axis=-1)[:, :count]
    index, squared = np.take_along_axis(found, order, 1), np.take_along_axis(squared, order, 1)
    if asked < len(points_NxE):
        # The tree sums the coordinates in another order. Distances that differ from the farthest
        # one only by rounding therefore count as ties.
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
    """Find the same neighbours as `nearest` by an exhaustive search."""
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
    """Find, for every state, its nearest admissible neighbours among the other states, sorted.

    Args:
      states_MxE: states.
      rows_M: rows of the states, ascending.
      count: number of neighbours per state.
      theiler: Theiler window in rows, see `nearest`.

    Returns:
      Positions int32 [M, count] and distances [M, count]. Distances are infinite where a state is
      not admissible.
    """
    total = len(states_MxE)
    index = np.empty((total, count), np.int32)
    distance = np.empty((total, count))
    step = min(max(BLOCK // total, 1), total)
    buffers, transposed = np.empty((2, step, total)), np.ascontiguousarray(states_MxE.T)
    # The sample is random because regular intervals could coincide with a period of the series.
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
    """Return the positions of the `count` smallest squared distances, sorted."""
    total = len(squared_M)
    # The sample gives a limit below which slightly more than `count` distances lie. Sorting only
    # these is cheaper than a partition of all.
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
