"""One map of the movements of several series, its states, and what visits to them are like."""

from typing import NamedTuple

import numpy as np

from analysis.motifs import maps
from analysis.motifs.regions import (
    Regions,
    dwell_times,
    extent_of,
    moves,
    separation,
    stays_of,
    transitions,
    watershed,
)
from analysis.motifs.wavelets import amplitudes, cone, frequencies, shares

# Of each series' own map, which chooses its part.
OWN_POINTS, OWN_PERPLEXITY, OWN_ITERATIONS = 600, 20.0, 375
CANDIDATES = 4  # points looked at for each that is chosen
FEWEST, LEAST_TRAINED = 200, 100  # points of a map, and of those that make it


class Settings(NamedTuple):
    """How a map is made; lengths in points."""

    slowest: int = 500  # period of the lowest frequency
    train: int = 3000  # training points of the map, of all series together
    every: int = 1  # points from one that is placed to the next
    sigma: float = 1 / 40  # of the density, relative to the map's extent
    seed: int = 0


class Mapped(NamedTuple):
    """A joint map of series, which may differ in length."""

    fitted: maps.Map
    regions: Regions
    index: list[np.ndarray]  # which points of each series were placed [T]
    trained: list[np.ndarray]  # which of the placed points of each series made the map
    place: list[np.ndarray]  # [T, 2]
    inside: list[np.ndarray]  # whether among their neighbours [T]
    label: list[np.ndarray]  # basins, from 1 [T]
    total: list[np.ndarray]  # sums of the amplitudes: how much moves at all [T]


def mapped(series: list[np.ndarray], settings: Settings) -> Mapped:
    """Wavelets, shares, training points, t-SNE, the place of every point, density, basins.

    Args:
      series: channels of each, steady, [T, C].
      settings: how.

    Returns:
      Mapped; points too near the ends for the lowest frequency are left out.

    Raises:
      ValueError: series too short.
      ImportError: openTSNE or scikit-image is not installed.
    """
    grid = frequencies(1 / settings.slowest, 0.5)
    ends = [cone(len(x), grid[0]) for x in series]
    index = [np.arange(end.start, end.stop, settings.every) for end in ends]
    if sum(map(len, index)) < FEWEST or min(map(len, index)) <= OWN_PERPLEXITY + 1:
        raise ValueError(
            f"{sum(map(len, index))} points are left to place, a map takes {FEWEST}: the ends "
            f"reach as far as the slowest period, {settings.slowest} points, and one of "
            f"{settings.every} of the rest is taken"
        )
    if settings.train < max(LEAST_TRAINED, len(series)):
        raise ValueError(f"{settings.train} points make no map, at least {LEAST_TRAINED} do")
    points, totals = zip(
        *(_shares(x, grid, i) for x, i in zip(series, index, strict=True)), strict=True
    )
    count = [min(settings.train // len(series), len(p)) for p in points]
    trained = [
        choose(own, n, settings.seed + i)
        for i, (own, n) in enumerate(zip(points, count, strict=True))
    ]
    chosen = [own[i] for own, i in zip(points, trained, strict=True)]
    fitted = maps.fit(np.concatenate(chosen), seed=settings.seed)
    placed = [maps.place(fitted, p) for p in points]
    everything = np.concatenate([p.place[p.inside] for p in placed])
    extent = extent_of(everything)
    regions = watershed(everything, settings.sigma * extent, extent)
    return Mapped(
        fitted, regions, index, trained, [p.place for p in placed], [p.inside for p in placed],
        [regions.of(p.place) for p in placed], list(totals),
    )  # fmt: skip


def _shares(x_TxC, grid, index):
    share, total = shares(amplitudes(x_TxC, grid)[index])
    return share.astype(np.float32), total


def choose(shares_TxM, count: int, seed: int = 0) -> np.ndarray:
    """Training points of one series, from every part of a small map of its own (Berman et al.).

    Rare movements are represented: each basin gives points in proportion to its size, at least one.

    Args:
      shares_TxM: all points.
      count: how many to choose.
      seed: of the choice.

    Returns:
      Indices [count].
    """
    if count == len(shares_TxM):
        return np.arange(count)
    rng = np.random.default_rng(seed)
    tried = shares_TxM[_spread(len(shares_TxM), OWN_POINTS)]
    own = maps.fit(tried, OWN_PERPLEXITY, seed, OWN_ITERATIONS)
    apart = np.linalg.norm(own.place[:, None] - own.place, axis=-1)
    regions = watershed(own.place, np.median(np.sort(apart, 1)[:, 5]))
    candidates = _spread(len(shares_TxM), CANDIDATES * count)
    label = regions.of(maps.place(own, shares_TxM[candidates], OWN_PERPLEXITY).place)
    members = [candidates[label == k] for k in np.unique(label)]
    size = np.array([len(m) for m in members])
    quota = np.minimum(np.maximum(count * size // size.sum(), 1), size)
    picked = [rng.choice(m, q, replace=False) for m, q in zip(members, quota, strict=True)]
    picked = rng.permutation(np.concatenate(picked))[:count]
    rest = np.setdiff1d(candidates, picked)
    return np.sort(np.r_[picked, rng.choice(rest, count - len(picked), replace=False)])


def _spread(length, most):
    """At most so many indices, evenly over a series."""
    return np.linspace(0, length - 1, min(length, most)).astype(int)


def of_series(found: Mapped, settings: Settings) -> dict[str, list]:
    """What each series of a map does on it.

    Args:
      found: a map.
      settings: it was made with.

    Returns:
      `basins` and `separation` of the density of its own points, `occupied` (share of them in a
      stay), `dwell` (mean length of a stay, in points; 0 without any) and `transition_entropy` (of
      where a state leads, over that of equal shares), a list each.
    """
    sigma, extent = found.regions.sigma, found.regions.extent
    own = [watershed(z[ok], sigma, extent) for z, ok in zip(found.place, found.inside, strict=True)]
    stay = [stays_of(label, settings.every) for label in found.label]
    visits = [np.concatenate([*dwell_times(labels).values(), []]) for labels in stay]
    return {
        "basins": [r.count for r in own],
        "separation": [separation(r) for r in own],
        "occupied": [float((labels > 0).mean()) for labels in stay],
        "dwell": [settings.every * _mean(times) for times in visits],
        "transition_entropy": [_relative_entropy(moves(x, found.regions.count)) for x in stay],
    }


def summary(found: Mapped, settings: Settings) -> dict:
    """What the states of a map are like.

    Args:
      found: a map.
      settings: it was made with.

    Returns:
      `states`, and `hold_90`, the fewest of them that hold nine tenths of the points; `inside`,
      the share of points placed among their neighbours; `fidelity`; `series`, see `of_series`;
      `transitions`, of all series together; `by_state`, rows of `state`, `share`, `visits` and
      `dwell`.
    """
    count = found.regions.count
    stay = [stays_of(label, settings.every) for label in found.label]
    lengths = [dwell_times(labels) for labels in stay]
    largest = np.sort(np.bincount(np.concatenate(found.label), minlength=count + 1))[::-1]
    held = np.searchsorted(np.cumsum(largest), 0.9 * largest.sum()) + 1
    rows = []
    for state in range(1, count + 1):
        visits = np.concatenate([times.get(state, []) for times in lengths])
        share = float((np.concatenate(stay) == state).mean())
        row = {"state": state, "share": share, "visits": len(visits)}
        rows.append(row | {"dwell": settings.every * _mean(visits)})
    return {
        "states": count,
        "hold_90": int(held),
        "inside": float(np.concatenate(found.inside).mean()),
        "fidelity": fidelity(found, settings),
        "series": of_series(found, settings),
        "transitions": transitions(sum(moves(labels, count) for labels in stay)).tolist(),
        "by_state": rows,
    }


def fidelity(found: Mapped, settings: Settings) -> float | None:
    """How well a map stands for what was mapped: do similar points tell where one lies?

    Args:
      found: a map.
      settings: it was made with.

    Returns:
      The share of training points that come back to their own basin, placed without themselves and
      without those of their series that a wavelet sees at the same time, beyond chance (Cohen's
      kappa): 1 all of them, 0 no more than by chance. None for one basin, or for too few points.
    """
    shares_NxM, place_Nx2 = found.fitted
    when = np.concatenate([i[t] for i, t in zip(found.index, found.trained, strict=True)])
    series = np.repeat(range(len(found.trained)), [len(t) for t in found.trained])
    near = np.abs(when[:, None] - when) < 2 * settings.slowest
    near &= series[:, None] == series
    if (~near).sum(1).min() < maps.NEIGHBOURS:
        return None
    again = maps.place(found.fitted, shares_NxM, without=near).place
    one, other = found.regions.of(place_Nx2), found.regions.of(again)
    size = found.regions.count + 1
    chance = (np.bincount(one, minlength=size) * np.bincount(other, minlength=size)).sum()
    chance = chance / len(one) ** 2
    return None if chance == 1 else float(((one == other).mean() - chance) / (1 - chance))


def _mean(values):
    return float(np.mean(values)) if len(values) else 0.0


def _relative_entropy(moves_KxK):
    """Mean over states that are left of the entropy of where to, 1 if everywhere alike."""
    left = moves_KxK.sum(1) > 0
    if len(moves_KxK) < 3 or not left.any():
        return None
    p = transitions(moves_KxK)[left]
    bits = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
    return float(bits.mean() / np.log(len(moves_KxK) - 1))
