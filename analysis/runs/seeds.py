"""Means over seeds with confidence intervals, and grouping of runs by their settings."""

import numpy as np
from scipy import stats

from analysis.runs.reader import Run, RunError, open_runs
from tapjax.contract.text import shortened

CONFIDENCE = 0.95
NAMES = ("data.name", "model.name", "tasks.kind")  # fields that name a setting if there is only one


def open_family(paths, family: str, partial: bool = False) -> tuple[list[Run], list[str]]:
    """Open the runs that belong to one family of experiments.

    Args:
      paths: run directories, or folders that contain them.
      family: name of the family of experiments.
      partial: whether to open unfinished runs, too.

    Returns:
      (open runs of the family, one line for each run left out).

    Raises:
      RunError: no run belongs to the family, or a run cannot be opened.
    """
    runs, left_out = open_runs(paths, partial)
    members = [run for run in runs if run.config.get("family") == family]
    left_out += [f"{run.path} is not of the {family} family" for run in runs if run not in members]
    if not members:
        raise RunError(shortened(left_out))
    return members, left_out


def interval(values_S) -> tuple[float, float]:
    """Compute the mean over seeds and half the width of its 95 % t interval.

    Args:
      values_S: one value per seed, [S].

    Returns:
      (mean, half width). The half width is not-a-number for a single seed.
    """
    values_S = np.asarray(values_S, float)
    n = len(values_S)
    if n < 2:
        return float(values_S.mean()), float("nan")
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * values_S.std(ddof=1) / np.sqrt(n)
    return float(values_S.mean()), float(half)


def field(config: dict, name: str):
    """Return a config field by its dotted name, or None if an older run does not have it."""
    value = config
    for part in name.split("."):
        value = value.get(part, {})
    return None if value == {} else value


def differing(rows: list[dict]) -> set[str]:
    """Return the names of the columns in which not all rows have the same value."""
    return {name for name in rows[0] if len({repr(row[name]) for row in rows}) > 1}


def settings(runs: list[Run], describe) -> list[tuple[str, list[Run]]]:
    """Group runs by their setting, that is by what is trained.

    Args:
      runs: open runs.
      describe: function from a config to a dict of fields and values. It must return the same
        fields for all runs.

    Returns:
      One pair (name, runs) per setting, in the order of the first run of each. The name lists the
      fields that differ between settings, or the fields `NAMES` if there is only one setting.
    """
    groups: dict[str, list[tuple[dict, Run]]] = {}
    for run in runs:
        values = describe(run.config)
        groups.setdefault(repr(sorted(values.items())), []).append((values, run))
    told = differing([members[0][0] for members in groups.values()])
    named = []
    for members in groups.values():
        values = members[0][0]
        keep = [name for name in values if name in told] or [n for n in NAMES if n in values]
        text = ", ".join(f"{name.removesuffix('.name')}={values[name]}" for name in keep)
        named.append((text, [run for _, run in members]))
    return named
