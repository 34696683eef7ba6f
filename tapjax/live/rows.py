"""Values that were recorded step by step, as the arrays of a record."""

from typing import Any, NamedTuple

import numpy as np

from tapjax.live.arrays import as_array

LEAST_BAD = 3  # last steps that are not finite if a seed has diverged
DIVERGENCE = ("loss", "grad_norm")  # scalars that tell whether a seed has diverged


class OfSeeds(NamedTuple):
    """Measurement that has the leading axis [S] whatever the number of seeds."""

    value: np.ndarray


def by_seed(value: Any, seeds: int) -> np.ndarray:
    """Return a value with the leading axis [S]; one number counts for all seeds.

    Args:
      value: `OfSeeds`, or a number or array of any framework, with that axis if there are several
        seeds.
      seeds: number of seeds S.

    Returns:
      Array [S, ...].
    """
    if isinstance(value, OfSeeds):
        return value.value
    value = as_array(value)
    if value.size == 1:
        return np.full(seeds, value.item())
    return value if seeds > 1 else value[None]


def stacked(group: str, rows, seeds: int) -> dict[str, np.ndarray]:
    """Return the values of rows by name.

    Args:
      group: `scalar`, `probe` or `eval`.
      rows: pairs (step, name -> value).
      seeds: number of seeds S.

    Returns:
      `group/name` -> array [S, T, ...], not-a-number at the steps that lack the name.
    """
    found = {}
    for name in dict.fromkeys(name for _, values in rows for name in values):
        given = {i: by_seed(v[name], seeds) for i, (_, v) in enumerate(rows) if name in v}
        shape = next(iter(given.values())).shape
        kind = np.float32 if group == "probe" else np.float64  # steps and times are large
        held_SxT = np.full((shape[0], len(rows), *shape[1:]), np.nan, kind)
        for i, value in given.items():
            held_SxT[:, i] = value
        found[f"{group}/{name}"] = held_SxT
    return found


def bad_ends(rows, arrays, before: dict) -> dict[int, tuple[int | None, int]]:
    """Count for each seed the last steps at which its loss or its gradient is not finite.

    Args:
      rows: pairs (step, name -> value) of the scalars.
      arrays: the same as arrays, from `stacked`.
      before: the result for the rows before, in the order of the seeds.

    Returns:
      Seed -> (first of these steps, or None; their number).
    """
    given = {name: np.array([name in values for _, values in rows]) for name in DIVERGENCE}
    known_T = np.any(list(given.values()), 0)
    if not rows or not known_T.any():
        return before
    finite_SxT = np.ones((len(before), len(rows)), bool)
    for name, given_T in given.items():
        if given_T.any():
            value = arrays[f"scalar/{name}"].reshape(len(before), len(rows), -1)
            finite_SxT &= np.isfinite(value).all(-1) | ~given_T
    steps, found = np.array([step for step, _ in rows])[known_T], {}
    for (seed, (since, count)), finite_T in zip(
        before.items(), finite_SxT[:, known_T], strict=True
    ):
        good = np.flatnonzero(finite_T)
        bad = len(steps) - 1 - good[-1] if len(good) else len(steps)
        since, count = (None, 0) if len(good) else (since, count)
        found[seed] = (int(steps[-bad]) if bad and since is None else since, count + bad)
    return found
