"""Arrays of the measures that were made of a run afterwards, by replay."""

from pathlib import Path

import numpy as np

from tapjax.contract.files import RunError, names_and_arrays, read_npz
from tapjax.contract.layout import measure_files, measure_names


def quantities(run: Path, measure: str) -> list[str]:
    """Return the sorted names of the quantities of a measure; empty if it was not made."""
    files = measure_files(run, measure)
    names = set().union(*(names_and_arrays(file, ().__contains__)[0] for file in files))
    return sorted(names - {"step"})


def read(run: Path, measure: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a quantity of a measure at all steps at which it was measured.

    Args:
      run: run directory.
      measure: name of the measure.
      quantity: name of one of its arrays.

    Returns:
      (steps [T] in ascending order, float64 array [S, T, ...] of all seeds).

    Raises:
      RunError: the measure was not made, lacks the quantity, or a file is damaged.
    """
    files = measure_files(run, measure)
    if not files:
        made = ", ".join(measure_names(run)) or "none"
        raise RunError(
            f"{run} has no measure {measure!r} (made: {made}): tapjax measure --run={run} "
            f"--measures={measure} --steps=... makes it"
        )
    steps, parts = [], []
    for file in files:
        found = read_npz(file, {"step", quantity}.__contains__)
        if "step" not in found or quantity not in found:
            known = ", ".join(quantities(run, measure))
            raise RunError(f"{file} has no {quantity!r}; {measure} has {known}")
        values = found[quantity]
        if values.ndim < 2 or values.shape[1] != len(found["step"]):
            raise RunError(f"{file}: {quantity!r} is of shape {values.shape}, not [S, T, ...]")
        steps.append(found["step"])
        parts.append(values.astype(float))
    if len({part.shape[0:1] + part.shape[2:] for part in parts}) > 1:
        raise RunError(f"{files[0].parent}: {quantity!r} has other shapes in some files")
    at, order = np.unique(np.concatenate(steps), return_index=True)
    return at, np.concatenate(parts, 1)[:, order]


def one_value(run, measure: str, quantity: str) -> np.ndarray:
    """Return a quantity of a measure with one value per step, or one of its values.

    Args:
      run: open run.
      measure: name of the measure.
      quantity: name of the quantity, or `NAME/INDEX` for one of several values.

    Returns:
      Array [S, T].

    Raises:
      RunError: the quantity is unknown or has several values per step.
    """
    short, _, index = quantity.rpartition("/")
    if quantity in run.names(measure) or not index.isdigit():
        short, index = quantity, ""
    values = run.array(measure, short)
    if index and values.ndim == 3 and int(index) < values.shape[2]:
        return values[:, :, int(index)]
    if index or values.ndim > 2:
        sizes = " x ".join(map(str, values.shape[2:])) or "one value"
        one = f": name one of them, as in {measure}/{short}/0" if values.ndim == 3 else ""
        raise RunError(f"{run.path}: {measure}/{short} has {sizes} per step{one}")
    return values


def of_measure(metric: str | None) -> bool:
    """Decide whether a metric is a quantity of a measure, MEASURE/QUANTITY."""
    return "/" in (metric or "")


def leading(run, metric: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantity whose movement is analysed: D, or a quantity of a measure.

    Args:
      run: open run.
      metric: recorded dimensionality metric that D is computed from, None for that of the run; or
        `MEASURE/QUANTITY`, see `one_value`.

    Returns:
      (steps [T], values [S, T]).

    Raises:
      RunError: the metric was not recorded.
    """
    measure, _, quantity = (metric or "").partition("/")
    if quantity:
        return run.steps(measure), one_value(run, measure, quantity)
    return run.steps("probe"), run.dimension(metric)
