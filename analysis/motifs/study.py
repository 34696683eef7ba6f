"""Map of the movements of several series, its states, and statistics of visits to the states."""

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

# Settings of the small map of each series from which its training points are chosen.
OWN_POINTS, OWN_PERPLEXITY, OWN_ITERATIONS = 600, 20.0, 375
CANDIDATES = 4  # number of candidate points per chosen point
FEWEST, LEAST_TRAINED = 200, 100  # fewest points of a map, and fewest training points


class Settings(NamedTuple):
    """Settings of a map; lengths are in points."""

    slowest: int = 500  # period of the lowest frequency
    train: int = 3000  # number of training points of the map, over all series
    every: int = 1  # distance between two placed points
    sigma: float = 1 / 40  # smoothing width of the density, relative to the extent of the map
    seed: int = 0  # random seed of the map


class Mapped(NamedTuple):
    """A joint map of series, which may differ in length."""

    fitted: maps.Map
    regions: Regions
    index: list[np.ndarray]  # indices of the placed points of each series [T]
    trained: list[np.ndarray]  # indices of the training points among the placed points
    place: list[np.ndarray]  # places on the map [T, 2]
    inside: list[np.ndarray]  # whether a point lies among its neighbours [T]
    label: list[np.ndarray]  # basins, from 1 [T]
    total: list[np.ndarray]  # sums of the amplitudes, the total amount of movement [T]


def mapped(series: list[np.ndarray], settings: Settings) -> Mapped:
    """Make a joint map of several series.

    The steps are: wavelet amplitudes, shares, choice of training points, t-SNE, placement of every
    point, density, basins.

    Args:
      series: channels [T, C] of each series, made steady by `channels.steady`.
      settings: settings of the map.

    Returns:
      The map. Points too near the ends of a series for the lowest frequency are left out.

    Raises:
      ValueError: the series are too short, or there are too few training points.
      ImportError: openTSNE or scikit-image is not installed.
    """
    grid = frequencies(1 / settings.slowest, 0.5)
    ends = [cone(len(x), grid[0]) for x in series]
    index = [np.arange(end.start, end.stop, settings.every) for end in ends]
    if sum(map(len, index)) < FEWEST or min(map(len, index)) <= OWN_PERPLEXITY + 1:
        raise ValueError(
            f"{sum(map(len, index))} points can be placed on the map, but at least {FEWEST} are "
            f"needed, and more than {OWN_PERPLEXITY + 1} of each series: lower "
            f"slowest={settings.slowest} (points near the ends of a series are left out) or "
            f"every={settings.every} (the others are thinned)"
        )
    if settings.train < max(LEAST_TRAINED, len(series)):
        raise ValueError(
            f"train={settings.train} points are too few for a map, at least "
            f"{max(LEAST_TRAINED, len(series))} are needed"
        )
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
    """Choose training points of one series from all parts of a small map of this series.

    The method is that of Berman et al. (2014). Each basin of the small map contributes points in
    proportion to its size, and at least one, so that rare movements are represented.

    Args:
      shares_TxM: shares of all points of the series.
      count: number of points to choose.
      seed: random seed of the small map and of the choice.

    Returns:
      Ascending indices [count].
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
    """Return at most `most` indices, spread evenly over a series."""
    return np.linspace(0, length - 1, min(length, most)).astype(int)


def of_series(found: Mapped, settings: Settings) -> dict[str, list]:
    """Measure how each series moves on a map.

    Args:
      found: map.
      settings: settings with which the map was made.

    Returns:
      Lists with one value per series: `basins` and `separation` of the density of its own points;
      `occupied`, the share of its points that are in a stay; `dwell`, the mean length of a stay in
      points (0 if there is none); and `transition_entropy`, the entropy of the next state divided
      by its maximum (None if it is undefined).
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
    """Summarise the states of a map.

    Args:
      found: map.
      settings: settings with which the map was made.

    Returns:
      `states`, the number of states; `hold_90`, the smallest number of states that contain 90 % of
      the points; `inside`, the share of points placed among their neighbours; `fidelity`;
      `series`, see `of_series`; `transitions` of all series together; and `by_state`, rows with
      `state`, `share`, `visits` and `dwell`.
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
    """Measure how well a map represents the data: do similar points predict where a point lies?

    Each training point is placed again by the other training points. Points of the same series
    within two slowest periods are not used, because a wavelet covers them at the same time.

    Args:
      found: map.
      settings: settings with which the map was made.

    Returns:
      The share of training points that are placed in their own basin again, corrected for chance
      (Cohen's kappa): 1 for all of them, 0 for no more than by chance. None if there is only one
      basin or if there are too few points.
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
    """Return the mean entropy of the next state, over all states that are left.

    It is divided by its maximum, so it is 1 if all next states are equally frequent. None for fewer
    than three states or without any move.
    """
    left = moves_KxK.sum(1) > 0
    if len(moves_KxK) < 3 or not left.any():
        return None
    p = transitions(moves_KxK)[left]
    bits = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
    return float(bits.mean() / np.log(len(moves_KxK) - 1))
