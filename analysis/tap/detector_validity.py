"""How well a jump detector works: planted jumps it has to find, nulls it has to leave alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from analysis.tap.detector_nulls import LENGTH, autoregressive, nulls, recovery

TOGETHER = 10  # batteries that a detector sees at once
TOLERANCE = 5  # measurements between a planted jump and a found one


class Fixture(NamedTuple):
    """A synthetic series [T] and the indices at which it jumps; none for a null."""

    name: str
    series: np.ndarray
    jumps: tuple[int, ...]


def fixtures(seed: int) -> list[Fixture]:
    """The battery for one seed.

    Args:
      seed: of noise, places and directions.

    Returns:
      Planted steps of 3 to 33 noise standard deviations, three in a row, one during a recovery,
      a drop that heals, steps between constant levels; and nulls, among them the real shape of
      D(t), collapse and recovery, and those of nulls.py.
    """
    rng = np.random.default_rng(seed)
    noise, t = rng.standard_normal(LENGTH), np.arange(LENGTH)
    place, sign = int(rng.integers(LENGTH // 4, 3 * LENGTH // 4)), rng.choice([-1, 1])
    step = sign * (t >= place)
    drop = -0.1 * (t >= place) * np.exp(-(t - place).clip(0) / 50)  # healed in time
    long_noise, long_t = rng.standard_normal(600), np.arange(600)
    levels = np.array([10, 16, 13, 22])[np.digitize(long_t, (150, 350, 450))]
    wandering = {phi: autoregressive(noise, phi) for phi in (0.5, 0.9)}
    planted = [
        *(Fixture(f"step of {k} sd", noise + k * step, (place,)) for k in (3, 4, 6)),
        Fixture("step of 33 sd", 15 + 5 * step + 0.3 * noise, (place,)),
        Fixture("three steps", levels + 0.7 * long_noise, (150, 350, 450)),
        Fixture("step in a recovery", recovery(t, 5, 60, 0.02 * noise + 0.1 * step), (place,)),
        Fixture("break in a quiet recovery", recovery(t, 5, 99, 0.002 * noise + drop), (place,)),
        *_constant_levels(seed),
    ]
    unmoved = {
        "noise": noise,
        "drift": 10 + 10 * t / LENGTH + 0.3 * noise,
        "random walk": np.cumsum(noise),
        "AR(1) 0.5": wandering[0.5],
        "AR(1) 0.9": wandering[0.9],
        "fast collapse, recovery": recovery(t, 4, 50, 0.01 * noise),
        "slow collapse, recovery": recovery(t, 12, 80, 0.02 * noise),
        "quiet collapse, recovery": recovery(t, 5, 60, 0.001 * noise),
        "collapse, recovery, AR(1)": recovery(t, 5, 60, 0.005 * wandering[0.9]),
        "heavy-tailed noise": rng.standard_t(3, LENGTH),
        "shrinking noise": noise * np.exp(-t / 150) + 5 * np.exp(-t / 50),
        # What counts something, as effective_rank_90 does, moves in whole units.
        "rounded noise": np.round(0.3 * noise),
        "rounded walk": np.round(0.1 * np.cumsum(noise)),
        "rounded decay": np.round(20 * np.exp(-t / 80) + 0.2 * noise),
    }
    unmoved |= nulls(seed)
    return planted + [Fixture(name, series, ()) for name, series in unmoved.items()]


def _constant_levels(seed):
    """Steps between levels that are held exactly, or up to the rounding of a float."""
    rng = np.random.default_rng([seed, 2])
    noise, t = rng.standard_normal(LENGTH), np.arange(LENGTH)
    place = int(rng.integers(LENGTH // 4, 3 * LENGTH // 4))
    step, places = (t >= place).astype(float), (120, 180, 280)
    levels = np.array([3, 40, 7, 90])[np.digitize(t, places)]
    rounded = 1 + 0.01 * step + 2e-8 * noise
    return [
        Fixture("constant 0, then 1", step, (place,)),
        Fixture("constant 3, then 40", 3 + 37 * step, (place,)),
        Fixture("3, then 40, noise 1e-9", 3 + 37 * step + 1e-9 * noise, (place,)),
        Fixture("1, then 1.01 in float32", rounded.astype(np.float32).astype(float), (place,)),
        Fixture("four constant levels", levels + 1e-9 * noise, places),
    ]


def attempts(find_each: Callable, seeds: Sequence[int]) -> Iterator[tuple[Fixture, list, int]]:
    """What a detector finds in the batteries of some seeds.

    Args:
      find_each: series [N, T] -> N lists of indices.
      seeds: of the batteries.

    Yields:
      A fixture, the indices found in it, and how many of its jumps they match: at most one
      detection a jump, within 5 measurements.
    """
    for start in range(0, len(seeds), TOGETHER):
        battery = [f for seed in seeds[start : start + TOGETHER] for f in fixtures(seed)]
        for length in sorted({len(f.series) for f in battery}):
            alike = [f for f in battery if len(f.series) == length]
            found = find_each(np.array([f.series for f in alike], float))
            for fixture, indices in zip(alike, found, strict=True):
                yield fixture, list(indices), _matches(indices, fixture.jumps)


def validate(find_each: Callable, seeds: int, first_seed: int = 0) -> list[dict]:
    """Recall and false positives of a detector over the battery.

    Args:
      find_each: series [N, T] -> N lists of indices.
      seeds: how many batteries.
      first_seed: of the first.

    Returns:
      One row a fixture: `recall` (None for a null), the share of planted jumps with a detection
      within 5 measurements, each detection matching one jump; `false_per_1000` measurements.
    """
    counts = {fixture.name: np.zeros(4, int) for fixture in fixtures(first_seed)}
    for fixture, found, hits in attempts(find_each, range(first_seed, first_seed + seeds)):
        counts[fixture.name] += (
            len(fixture.jumps),
            hits,
            len(found) - hits,
            len(fixture.series),
        )
    return [
        {
            "fixture": name,
            "seeds": seeds,
            "recall": hits / planted if planted else None,
            "false_per_1000": 1000 * false / points,
        }
        for name, (planted, hits, false, points) in counts.items()
    ]


def _matches(found, jumps):
    """Greedy one-to-one matching, nearest pairs first."""
    pairs = sorted((abs(f - j), i, k) for i, f in enumerate(found) for k, j in enumerate(jumps))
    used_found, used_jumps = set(), set()
    for distance, i, k in pairs:
        if distance <= TOLERANCE and i not in used_found and k not in used_jumps:
            used_found.add(i)
            used_jumps.add(k)
    return len(used_found)
