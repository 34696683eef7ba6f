"""Convergent cross mapping (Sugihara et al. 2012, https://doi.org/10.1126/science.1227079).

If y acts on x, the states of x contain information about y. The embedding of x then estimates y,
and the estimate becomes better the longer the observed part of x is. The neighbours of every state
are sorted once. The nearest members of a random library are then the first members in that sorted
list, and the same weights serve for all estimated variables.
"""

from typing import NamedTuple

import numpy as np

from analysis.edm import scan
from analysis.edm.embedding import columns, delays, row_numbers, targets, whole
from analysis.edm.forecast import varies
from analysis.edm.neighbours import ordered

LISTED = 512  # sorted neighbours kept per state; if they are too few, the whole library is searched


class CrossMap(NamedTuple):
    """Skill with which the states of one variable estimate others, by size of the library."""

    sizes: np.ndarray  # library sizes [L]
    rho: np.ndarray  # correlations [V, L, samples]

    @property
    def mean(self) -> np.ndarray:
        """Mean correlation over the libraries of each size, [V, L]."""
        return self.rho.mean(-1)


class Directions(NamedTuple):
    """Cross maps in both directions between x and y, named after the link that they support."""

    x_drives_y: CrossMap  # the states of y estimate x
    y_drives_x: CrossMap  # the states of x estimate y


def ccm(
    x, y, *, dimension: int, tau=-1, horizon=0, theiler=0, sizes=None, samples=30, neighbours=None,
    seed=0, libraries=None, rows=None,
) -> Directions:  # fmt: skip
    """Compute the cross-map skill between two variables in both directions.

    Args:
      x: series [T], or several series [T, V] that are embedded together. Only the first one is
        estimated.
      y: series like `x`.
      dimension: number of values of each series in a state (E).
      tau: rows between the values of a state.
      horizon: rows from a state to the value that it estimates (Tp).
      theiler: Theiler window in rows.
      sizes: library sizes, see `cross_map`.
      samples: number of random libraries of each size.
      neighbours: number of neighbours, see `cross_map`.
      seed: random seed of the libraries.
      libraries: libraries to use instead of random ones, see `cross_map`.
      rows: rows that may be in a library and are estimated, see `cross_map`.

    Returns:
      Skills of both directions.

    Raises:
      ValueError: see `cross_map`.

    Examples:
      >>> from analysis.edm.coupled_maps import coupled_maps
      >>> x, y = coupled_maps(400, 0.0, 0.2)  # x acts on y
      >>> found = ccm(x, y, dimension=2)
      >>> bool(found.x_drives_y.mean[0, -1] > found.y_drives_x.mean[0, -1])
      True
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
    """Measure how well the states of x estimate other variables, by size of random libraries.

    Args:
      x: series [T] to embed, or several series [T, V] that are embedded together.
      y_TxV: series to estimate. Skill for y is evidence that y acts on x.
      dimension: number of values of each series in a state (E).
      tau: rows between the values of a state; negative values reach into the past.
      horizon: rows from a state to the value that it estimates (Tp). 0 is the present, negative
        values are the past.
      theiler: Theiler window in rows. States at most this far from the estimated one are not used
        as its neighbours.
      sizes: library sizes. None means those of `library_sizes`. If `libraries` is given, its sizes
        are used instead.
      samples: number of random libraries of each size.
      neighbours: number of neighbours. None or 0 means one more than the number of values in a
        state. For one series this is E + 1, as in pyEDM, which uses E + 1 for several series too.
      seed: random seed of the libraries, an int or a SeedSequence.
      libraries: libraries to use instead of random ones. For each size an array [samples, size] of
        positions among the rows that have a complete state and all targets. A library is a set. A
        repeated row is refused because the library would be smaller than its stated size.
      rows: rows that may be in a library and are estimated, as row numbers or a boolean mask; None
        means all.

    Returns:
      Skills by library size.

    Raises:
      ValueError: library sizes do not fit, there are too few rows, or a setting is out of range.
    """
    states, theiler = delays(x, dimension, tau), whole(theiler, "theiler", 0)
    wanted = columns(y_TxV, "y")
    if len(wanted) != len(states):
        raise ValueError(f"x has {len(states)} points, but y has {len(wanted)}")
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
        # A library of all rows is the same in every sample, so one sample is enough.
        libraries = [m[:1] if m.shape[1] == len(at) else m for m in libraries]
    else:
        libraries = [_positions(members, len(at)) for members in libraries]
        sizes = _sizes([members.shape[1] for members in libraries])
        _fitting(sizes, len(at), count)
    listed = ordered(states[at], at, min(len(at), LISTED), theiler)
    space = scan.Space(states[at], at, *listed, theiler)
    wanted = moved[at] - moved[at].mean(0)
    # A constant minus its mean may leave rounding errors, for which a skill would be meaningless.
    wanted[:, ~varies(moved[at])] = 0.0
    rho = [scan.skills(space, wanted, members, count) for members in libraries]
    samples = max(r.shape[1] for r in rho)
    rho = [np.broadcast_to(r, (len(r), samples)) for r in rho]
    return CrossMap(np.asarray(sizes), np.stack(rho, 1))


def _sizes(sizes) -> np.ndarray:
    sizes = np.array([whole(size, "library size", 1) for size in np.ravel(sizes)])
    if not len(sizes):
        raise ValueError("sizes is empty: give at least one library size")
    return sizes


def _fitting(sizes, total, count):
    if min(sizes) <= count or max(sizes) > total:
        raise ValueError(
            f"library sizes {sizes.tolist()} must be above {count}, the number of neighbours, "
            f"and at most {total}, the number of rows"
        )


def _positions(members, total):
    """Check given libraries [samples, size] of one size, in which no row may occur twice."""
    members = np.atleast_2d(np.asarray(members))
    if not np.issubdtype(members.dtype, np.integer):
        raise ValueError(f"libraries are of type {members.dtype}: integer positions are needed")
    if members.size and (members.min() < 0 or members.max() >= total):
        raise ValueError(
            f"libraries have positions {members.min()} to {members.max()}: use 0 to {total - 1}"
        )
    if (np.diff(np.sort(members, 1), axis=1) == 0).any():
        raise ValueError("a library names a row twice: give every row once")
    return members.astype(int)


def cross_maps(x_TxV, *, dimensions, **settings) -> np.ndarray:
    """Compute the cross-map skill among several variables, each of which estimates all.

    Args:
      x_TxV: series.
      dimensions: embedding dimension of each series [V].
      **settings: see `cross_map`.

    Returns:
      Skill [V, V, L, samples] with which the states of the first variable estimate the second.
      This is evidence that the second acts on the first.
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
    """Return library sizes in geometric progression, from the smallest possible one to all rows.

    Args:
      total: number of rows.
      neighbours: number of neighbours that a state needs.
      theiler: Theiler window in rows, which is allowed for in the smallest size.
      count: number of sizes before equal ones are merged.

    Returns:
      Ascending library sizes [L].

    Raises:
      ValueError: there are too few rows for the neighbours and the Theiler window.
    """
    least = neighbours + 1 + 2 * theiler
    if least > total:
        raise ValueError(f"{total} rows are too few for {neighbours} neighbours, theiler={theiler}")
    return np.unique(np.geomspace(least, total, count).round().astype(int))


def random_libraries(total: int, sizes, samples: int, seed) -> list[np.ndarray]:
    """Draw random subsets of rows without repetition, an array [samples, size] per size."""
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    streams = sequence.spawn(len(sizes))
    return [
        np.stack([rng.choice(total, size, replace=False, shuffle=False) for _ in range(samples)])
        for size, rng in zip(sizes, map(np.random.default_rng, streams), strict=True)
    ]
