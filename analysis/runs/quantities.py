"""All quantities that a run has recorded or measured, with names of their parts."""

from typing import NamedTuple

import numpy as np

from analysis.runs.reader import Run, RunError
from tapjax.contract.layout import OF_LAYERS, OF_WEIGHTS, STEP_AXES

LEFT_OUT = (
    "batch_hash",
    "sketch",
    "weights",
    "unit_mean",
)  # numbers without a meaning of their own
MOST_PARTS = 64


class Quantity(NamedTuple):
    """One quantity over training.

    `group` is `scalar`, `probe`, `eval` or the name of a measure, `steps [T]` are its steps, and
    `values [S, T]` or `[S, T, K]` its values. `parts` names the K parts, such as layers.
    """

    group: str
    name: str
    steps: np.ndarray
    values: np.ndarray
    parts: tuple[str, ...] = ()


def quantities(run: Run) -> tuple[list[Quantity], list[str]]:
    """Read every quantity of a run that is one number or a few numbers per step.

    Args:
      run: open run.

    Returns:
      (quantities, names of those that are left out because they have too many numbers per step).
      The order is: D, scalars, measurements on the probe, evaluations, measures.
    """
    found, left_out = [], []
    if run.known_dimension() is not None:
        found.append(Quantity("probe", "D", run.steps("probe"), run.known_dimension()))
    for group in ("scalar", "probe", "eval", *run.measured):
        for name in run.names(group):
            if name in LEFT_OUT:
                continue
            try:
                values = run.array(group, name)
            except RunError:  # a quantity of the model that some records lack
                left_out.append(f"{group}/{name}")
                continue
            if values.ndim > 3 or (values.ndim == 3 and values.shape[2] > MOST_PARTS):
                left_out.append(f"{group}/{name}")
                continue
            values = values[:, :, 0] if values.shape[2:] == (1,) else values
            parts = _parts(run, group, values.shape[2]) if values.ndim == 3 else ()
            found.append(Quantity(group, name, run.steps(group), values, parts))
    return found, left_out


def _parts(run, group, count):
    """Name the parts of a quantity by the layers or weight matrices that it belongs to."""
    layers, weights = run.layer_names, run.model.get("weight_names", [])
    if group in (*STEP_AXES, *OF_LAYERS):
        for names in (layers, run.model.get("unit_layers", [])):
            if len(names) == count:
                return tuple(names)
    if group in (*STEP_AXES, *OF_WEIGHTS) and len(weights) == count:
        return tuple(weights)
    return tuple(map(str, range(count)))
