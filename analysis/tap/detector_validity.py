"""Validation of a jump detector on series with planted jumps and on nulls without jumps."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from analysis.tap.detector_nulls import LENGTH, autoregressive, nulls, recovery

TOGETHER = 10  # batteries that are passed to the detector in one call
TOLERANCE = 5  # largest distance in measurements between a planted jump and a matching detection


class Fixture(NamedTuple):
    """Synthetic series [T] and the indices at which it jumps; a null has no jumps."""

    name: str
    series: np.ndarray
    jumps: tuple[int, ...]


def fixtures(seed: int) -> list[Fixture]:
    """Make the battery of test series for one seed.

    Args:
      seed: seed of the noise, places and directions.

    Returns:
      Series with planted jumps: steps of 3 to 33 noise standard deviations, three steps in one
      series, a step during a recovery, a drop that recovers, and steps between constant levels.
      Then nulls: the typical shape of D(t), which is a collapse and a recovery, several kinds of
      noise, and the series of detector_nulls.py.
    """
    rng = np.random.default_rng(seed)
    noise, t = rng.standard_normal(LENGTH), np.arange(LENGTH)
    place, sign = int(rng.integers(LENGTH // 4, 3 * LENGTH // 4)), rng.choice([-1, 1])
    step = sign * (t >= place)
    drop = -0.1 * (t >= place) * np.exp(-(t - place).clip(0) / 50)  # decays after the drop
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
        # Metrics that are counts, such as effective_rank_90, change in whole units.
        "rounded noise": np.round(0.3 * noise),
        "rounded walk": np.round(0.1 * np.cumsum(noise)),
        "rounded decay": np.round(20 * np.exp(-t / 80) + 0.2 * noise),
    }
    unmoved |= nulls(seed)
    return planted + [Fixture(name, series, ()) for name, series in unmoved.items()]


def _constant_levels(seed):
    """Make steps between levels that are constant exactly or up to very small noise."""
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
    """Run a detector on the batteries of several seeds.

    Args:
      find_each: detector, a function from series [N, T] to N lists of indices.
      seeds: seeds of the batteries.

    Yields:
      A fixture, the indices that the detector found in it, and the number of jumps that they match.
      A detection matches at most one jump, within 5 measurements.
    """
    for start in range(0, len(seeds), TOGETHER):
        battery = [f for seed in seeds[start : start + TOGETHER] for f in fixtures(seed)]
        for length in sorted({len(f.series) for f in battery}):
            alike = [f for f in battery if len(f.series) == length]
            found = find_each(np.array([f.series for f in alike], float))
            for fixture, indices in zip(alike, found, strict=True):
                yield fixture, list(indices), _matches(indices, fixture.jumps)


def validate(find_each: Callable, seeds: int, first_seed: int = 0) -> list[dict]:
    """Measure recall and false positives of a detector over the battery.

    Args:
      find_each: detector, a function from series [N, T] to N lists of indices.
      seeds: number of batteries, one per seed.
      first_seed: seed of the first battery.

    Returns:
      One row per fixture: `recall`, the share of planted jumps with a detection within 5
      measurements, where each detection matches at most one jump (None for a null); and
      `false_per_1000`, the number of other detections per 1000 measurements.
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
    """Match detections to jumps one to one, nearest pairs first, and count the matches."""
    pairs = sorted((abs(f - j), i, k) for i, f in enumerate(found) for k, j in enumerate(jumps))
    used_found, used_jumps = set(), set()
    for distance, i, k in pairs:
        if distance <= TOLERANCE and i not in used_found and k not in used_jumps:
            used_found.add(i)
            used_jumps.add(k)
    return len(used_found)
