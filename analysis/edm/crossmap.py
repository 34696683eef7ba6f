"""Convergent cross mapping (Sugihara et al. 2012).

If y acts on x, the states of x know y: the embedding of x estimates y, better the more of x has
been seen. The neighbours of every state are sorted once; the nearest members of a random library
are then the first members met in that list, and the same weights serve every variable estimated.
"""

from typing import NamedTuple

import numpy as np

from analysis.edm import scan
from analysis.edm.embedding import columns, delays, row_numbers, targets, whole
from analysis.edm.forecast import varies
from analysis.edm.neighbours import ordered

LISTED = 512  # neighbours kept of each state; beyond that a library is searched whole


class CrossMap(NamedTuple):
    """Skill with which the states of one variable estimate others, by size of the library."""

    sizes: np.ndarray  # [L]
    rho: np.ndarray  # [V, L, samples]

    @property
    def mean(self) -> np.ndarray:
        """[V, L]."""
        return self.rho.mean(-1)


class Directions(NamedTuple):
    """Both directions between x and y, named by what they are evidence for."""

    x_drives_y: CrossMap  # the states of y estimate x
    y_drives_x: CrossMap  # the states of x estimate y


def ccm(
    x, y, *, dimension: int, tau=-1, horizon=0, theiler=0, sizes=None, samples=30, neighbours=None,
    seed=0, libraries=None, rows=None,
) -> Directions:  # fmt: skip
    """Cross mapping between two variables, in both directions.

    Args:
      x: series [T], or several [T, V] that are embedded together; the first is estimated.
      y: as `x`.
      dimension, tau, horizon, theiler, sizes, samples, neighbours, seed, libraries, rows: see
        `cross_map`.

    Returns:
      Skills of both directions.
    """
    settings = {
        "dimension": dimension, "tau": tau, "horizon": horizon, "theiler": theiler,
        "sizes": sizes, "samples": samples, "neighbours": neighbours, "libraries": libraries,
        "rows": rows,
    }  # fmt: skip
    first = [columns(v, name)[:, :1] for v, name in ((x, "x"), (y, "y"))]
    seeds = np.random.SeedSequence(seed).spawn(2)
    return Directions(
        cross_map(y, first[0], seed=seeds[0], **settings),
        cross_map(x, first[1], seed=seeds[1], **settings),
    )


def cross_map(
    x, y_TxV, *, dimension: int, tau=-1, horizon=0, theiler=0, sizes=None, samples=30,
    neighbours=None, seed=0, libraries=None, rows=None,
) -> CrossMap:  # fmt: skip
    """How well the states of x estimate other variables, from random libraries of several sizes.

    Args:
      x: series [T] to embed, or several [T, V] that are embedded together.
      y_TxV: series to estimate; skill for y is evidence that y acts on x.
      dimension: values of each series in a state (E).
      tau: rows between them.
      horizon: rows from a state to what it estimates (Tp); 0 is the present, negative the past.
      theiler: states at most this far from the estimated one are left out of its neighbours.
      sizes: library sizes; `library_sizes` by default, those of `libraries` if they are given.
      samples: random libraries of each size.
      neighbours: how many; by default (None or 0) one more than the values of a state, E + 1 for
        one series, as in pyEDM (which takes E + 1 for several series too).
      seed: of the libraries, an int or a SeedSequence.
      libraries: instead of random ones, for each size positions [samples, size] among the rows
        that have a whole state and all targets. A library is a set: a repeated row is refused,
        since the library would be smaller than its size says.
      rows: only these rows, numbers or a boolean mask, are library and estimated; all by default.

    Returns:
      Skills.

    Raises:
      ValueError: sizes that do not fit, too few rows, or a setting out of range.
    """
    states, theiler = delays(x, dimension, tau), whole(theiler, "theiler", 0)
    wanted = columns(y_TxV, "y")
    if len(wanted) != len(states):
        raise ValueError(f"x has {len(states)} points and y has {len(wanted)}")
    moved = targets(wanted, horizon)
    usable = np.isfinite(states).all(1) & np.isfinite(moved).all(1)
    if rows is not None:
        asked = row_numbers(rows, len(states), "cross-map")
        usable &= np.isin(np.arange(len(states)), asked)
    (at,) = np.nonzero(usable)
    count = whole(neighbours or states.shape[1] + 1, "neighbours", 1)
    if libraries is None:
        sizes = library_sizes(len(at), count, theiler) if sizes is None else _sizes(sizes)
        _fitting(sizes, len(at), count)
        libraries = random_libraries(len(at), sizes, whole(samples, "samples", 1), seed)
        # All samples of all rows are the same library.
        libraries = [m[:1] if m.shape[1] == len(at) else m for m in libraries]
    else:
        libraries = [_positions(members, len(at)) for members in libraries]
        sizes = _sizes([members.shape[1] for members in libraries])
        _fitting(sizes, len(at), count)
    listed = ordered(states[at], at, min(len(at), LISTED), theiler)
    space = scan.Space(states[at], at, *listed, theiler)
    wanted = moved[at] - moved[at].mean(0)
    wanted[:, ~varies(moved[at])] = 0.0  # without the rounding of the mean, which has no skill
    rho = [scan.skills(space, wanted, members, count) for members in libraries]
    samples = max(r.shape[1] for r in rho)
    rho = [np.broadcast_to(r, (len(r), samples)) for r in rho]
    return CrossMap(np.asarray(sizes), np.stack(rho, 1))


def _sizes(sizes) -> np.ndarray:
    sizes = np.array([whole(size, "library size", 1) for size in np.ravel(sizes)])
    if not len(sizes):
        raise ValueError("no library sizes")
    return sizes


def _fitting(sizes, total, count):
    if min(sizes) <= count or max(sizes) > total:
        raise ValueError(f"library sizes {sizes.tolist()} of {total} rows, {count} neighbours")


def _positions(members, total):
    """Given libraries [samples, size] of one size, in which no row is named twice."""
    members = np.atleast_2d(np.asarray(members))
    if not np.issubdtype(members.dtype, np.integer):
        raise ValueError(f"libraries are of type {members.dtype}: positions are needed")
    if members.size and (members.min() < 0 or members.max() >= total):
        raise ValueError(f"libraries have positions {members.min()} to {members.max()} of {total}")
    if (np.diff(np.sort(members, 1), axis=1) == 0).any():
        raise ValueError("a library names a row twice: it is a set, whose size is that of its rows")
    return members.astype(int)


def cross_maps(x_TxV, *, dimensions, **settings) -> np.ndarray:
    """Cross mapping among several variables, each of which estimates all.

    Args:
      x_TxV: series.
      dimensions: of the embedding of each [V].
      **settings: see `cross_map`.

    Returns:
      [V, V, L, samples]: skill with which the states of the first estimate the second; evidence
      that the second acts on the first.
    """
    x_TxV = columns(x_TxV)
    seeds = np.random.SeedSequence(settings.pop("seed", 0)).spawn(x_TxV.shape[1])
    return np.stack(
        [
            cross_map(x_TxV[:, i], x_TxV, dimension=own, seed=seeds[i], **settings).rho
            for i, own in zip(range(x_TxV.shape[1]), dimensions, strict=True)
        ]
    )


def library_sizes(total: int, neighbours: int, theiler: int = 0, count: int = 12) -> np.ndarray:
    """Sizes in geometric progression from the smallest that has enough neighbours to all rows."""
    least = neighbours + 1 + 2 * theiler
    if least > total:
        raise ValueError(f"{total} rows are too few for {neighbours} neighbours, theiler={theiler}")
    return np.unique(np.geomspace(least, total, count).round().astype(int))


def random_libraries(total: int, sizes, samples: int, seed) -> list[np.ndarray]:
    """Random subsets without repetition: for each size [samples, size]."""
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    streams = sequence.spawn(len(sizes))
    return [
        np.stack([rng.choice(total, size, replace=False, shuffle=False) for _ in range(samples)])
        for size, rng in zip(sizes, map(np.random.default_rng, streams), strict=True)
    ]
