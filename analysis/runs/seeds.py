"""Means over seeds with their intervals, differences seed by seed, and runs put side by side."""

import numpy as np
from scipy import stats

from analysis.runs.reader import Run, RunError, find_runs, open_run

CONFIDENCE = 0.95
NAMES = ("data.name", "model.name", "tasks.kind")  # of a setting that is the only one


def open_family(paths, family: str, partial: bool = False) -> list[Run]:
    """Open runs that must be of one family.

    Args:
      paths: run directories or folders of them.
      family: of experiments.
      partial: open unfinished runs too.

    Returns:
      The runs.

    Raises:
      RunError: a run of another family, or one that cannot be opened.
    """
    runs = [open_run(path, partial) for path in find_runs(paths)]
    for run in runs:
        if run.config.get("family") != family:
            raise RunError(f"{run.path} is not of the {family} family")
    return runs


def interval(values_S) -> tuple[float, float]:
    """Mean over seeds and half the width of its t interval; not-a-number of a single seed.

    Args:
      values_S: one value a seed.

    Returns:
      (mean, half width).
    """
    values_S = np.asarray(values_S, float)
    n = len(values_S)
    if n < 2:
        return float(values_S.mean()), float("nan")
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * values_S.std(ddof=1) / np.sqrt(n)
    return float(values_S.mean()), float(half)


def field(config: dict, name: str):
    """A field of a config by its dotted name; None where an older run had none."""
    value = config
    for part in name.split("."):
        value = value.get(part, {})
    return None if value == {} else value


def differing(rows: list[dict]) -> set[str]:
    """Names under which rows do not all have the same value."""
    return {name for name in rows[0] if len({repr(row[name]) for row in rows}) > 1}


def settings(runs: list[Run], describe) -> list[tuple[str, list[Run]]]:
    """Runs put together by what is trained.

    Args:
      runs: open runs.
      describe: config -> fields and their values, the same fields for all.

    Returns:
      (a name made of what differs between settings, its runs), in order of the first run.
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
