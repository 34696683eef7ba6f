"""Measurements of one run that show whether dimensionality moves before a capability does.

The module looks at two time scales. On the fast one, it tests lag correlations of increments (see
lags.py). On the slow one, it compares the order of landmarks over seeds. The slow scale is meant
for a capability that emerges once and late, such as test accuracy that rises long after the
training set is memorised.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.stats import permutation_test, spearmanr

from analysis.runs.measures import leading, of_measure
from analysis.runs.reader import Run, RunError
from analysis.statistics import lags

SMOOTH_D, SMOOTH_CAPABILITY = 1.0, 2.0
STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.3)  # strengths of planted leads; 0: false positive rate
PLANTED_STEPS, LEAST_PLANTED = 20, 4
BATCHES = 50  # training steps over which batch accuracy is averaged
LEAST_GAIN = 0.1  # minimum rise of accuracy; a smaller one counts as no learning, no landmark
LATE = 2.0  # a capability emerges late if it takes at least this many times as long as fitting
EDGE = 0.02  # share of a run at its end in which an extremum is not a landmark
LANDMARKS = ("D_trough_step", "D_peak_step")
WEAKEST = 3


class Coupling(NamedTuple):
    """Relation between the increments of D and those of one capability.

    `test` is the test of their lag correlations, and `events` the average of the capability around
    large changes of D.
    """

    capability: str
    test: lags.LagTest
    events: dict


def capabilities(run: Run) -> dict[str, np.ndarray]:
    """Return the capabilities of a run at the steps at which D was measured.

    Larger values are better, except for confidence.

    Args:
      run: open run.

    Returns:
      Arrays [S, T] by name: `accuracy`, that of each skill of a task by the name of the skill,
      `-ln loss`, `confidence` and `-ece`, as far as they were recorded. The loss of training
      batches is used if no loss on the probe examples was recorded.

    Raises:
      RunError: none of them was recorded.
    """
    found = {}
    if run.has("probe", "accuracy"):
        found["accuracy"] = run.array("probe", "accuracy")
    if run.has("probe", "skill_accuracy"):
        skills_KxSxT = np.moveaxis(run.array("probe", "skill_accuracy"), 2, 0)
        found |= dict(zip(run.model["skill_names"], skills_KxSxT, strict=True))
    if run.has("probe", "loss") or run.has("scalar", "loss"):
        found["-ln loss"] = -np.log(np.maximum(_loss(run), 1e-12))
    if run.has("probe", "confidence"):
        found["confidence"] = run.array("probe", "confidence")
    if run.has("probe", "ece"):
        found["-ece"] = -run.array("probe", "ece")
    if not found:
        raise RunError(f"{run.path} has no capability to test: record the loss or the accuracy")
    return found


def _loss(run):
    if run.has("probe", "loss"):
        return run.array("probe", "loss")
    at, steps = run.steps("probe"), run.steps("scalar")
    return np.stack([np.interp(at, steps, row) for row in run.array("scalar", "loss")])


class Changes(NamedTuple):
    """Increments of ln D and of each capability, [S, T] each.

    `every` is the number of training steps between measurements. `dropped` lists messages about the
    capabilities that could not be used, for example because they never change.
    """

    d_SxT: np.ndarray
    capabilities: dict[str, np.ndarray]
    every: int
    dropped: list[str]


def changes(run: Run, metric: str | None = None) -> Changes:
    """Compute the increments of D and of the capabilities of a run.

    Args:
      run: open run.
      metric: name of the dimensionality metric; None uses the metric that the run names. It may be
        a quantity of a measure, MEASURE/QUANTITY.

    Returns:
      Changes with the capabilities that do change.

    Raises:
      RunError: there are too few measurements, they are not evenly spaced, D is not positive and
        finite, or D or all capabilities never change.
    """
    at, d_SxT = leading(run, metric)
    gaps = np.diff(at)
    if not len(gaps):
        raise RunError(f"{run.path}: {metric or 'D'} was measured at one step")
    if np.ptp(gaps) > 0:
        raise RunError(
            f"{run.path}: measurements are {gaps.min()} to {gaps.max()} steps apart, but "
            "lags need a constant distance"
        )
    if not d_SxT.min() > 0 and not of_measure(metric):
        raise RunError(f"{run.path}: D has values that are zero or not finite")
    where = _among(run.steps("probe"), at, run)
    try:
        x = lags.increments(np.log(d_SxT) if d_SxT.min() > 0 else d_SxT, SMOOTH_D)
    except ValueError as error:
        raise RunError(f"{run.path}: {metric or 'D'}: {error}") from error
    found, dropped = {}, []
    for name, level_SxT in capabilities(run).items():
        try:
            found[name] = lags.increments(level_SxT[:, where], SMOOTH_CAPABILITY)
        except ValueError as error:
            dropped.append(f"{run.path}: {name}: {error}")
    if not found:
        raise RunError("; ".join(dropped))
    return Changes(x, found, int(gaps[0]), dropped)


def _among(steps, wanted, run):
    """Return the positions of some steps among those of the probe."""
    where = np.searchsorted(steps, wanted)
    if where[-1] >= len(steps) or (steps[where] != wanted).any():
        raise RunError(
            f"{run.path}: the quantity was measured at steps without a measurement of the "
            "capabilities: measure it at multiples of probe.every"
        )
    return where


def pool(parts: Sequence[Changes]) -> Changes:
    """Pool runs, so that a weak effect that they share can be detected.

    Args:
      parts: changes of each run. All runs need the same number of measurements, the same number of
        steps apart.

    Returns:
      Changes with the rows of all runs and the capabilities that all runs have.
    """
    shared = set.intersection(*(set(part.capabilities) for part in parts))
    names = [name for name in parts[0].capabilities if name in shared]

    return Changes(
        d_SxT=np.concatenate([part.d_SxT for part in parts]),
        capabilities={n: np.concatenate([part.capabilities[n] for part in parts]) for n in names},
        every=parts[0].every,
        dropped=[],
    )


def couplings(
    of: Changes, rng: np.random.Generator, tests: int
) -> tuple[list[Coupling], dict[float, float]]:
    """Test D against every capability, and measure the power of the test.

    Args:
      of: increments from `changes` or `pool`.
      rng: random generator.
      tests: number of p-values that are corrected together, over this and all other runs.

    Returns:
      (couplings, power): one Coupling per capability, and a dict from the strength of a lead to the
      share of trials in which it is found after the correction for all tests. The lead is planted
      in the first capability at a lag of `planted_lag` measurements. At strength 0 the share is the
      rate of false leads.

    Raises:
      RunError: no correlation, however strong, could pass the correction.
    """
    x = of.d_SxT
    least = lags.least_p(x.shape[1], tests)
    if least * tests > lags.LEVEL:
        raise RunError(
            f"{x.shape[1] + 1} measurements allow no p below {least:.2g}, which is "
            f"{min(least * tests, 1):.2g} after the correction for {tests} tests: measure more "
            "often, or give fewer runs"
        )
    surrogates, count = lags.same_spectrum(x, rng), lags.surrogates_for(tests)
    found = [
        Coupling(
            name,
            lags.lag_test(x, y, surrogates, rng, count),
            lags.event_average(x, y, rng),
        )
        for name, y in of.capabilities.items()
    ]
    y, lag = next(iter(of.capabilities.values())), planted_lag(of.every)
    power = {rho: lags.planted_power(x, y, surrogates, rho, lag, rng, tests) for rho in STRENGTHS}
    return found, power


def planted_lag(every: int) -> int:
    """Return the lag of a planted lead in measurements: about 20 steps, at least 4 measurements.

    The minimum is there to distinguish the lead from simultaneous changes.
    """
    return max(round(PLANTED_STEPS / every), LEAST_PLANTED)


def landmarks(run: Run, metric: str | None = None) -> list[dict]:
    """Find when each seed fitted its training set, when its capability emerged, and when D turned.

    Args:
      run: open run with training accuracy and probe accuracy.
      metric: name of the dimensionality metric; None uses the metric that the run names. It may be
        a quantity of a measure, MEASURE/QUANTITY.

    Returns:
      One row per seed; no rows if one of the accuracies was not recorded. `fit_step` and
      `capability_step` are the steps at which the accuracy on training batches and on the probe
      examples is halfway from its first to its best value, None if it hardly rises.
      `D_trough_step` is the step of the minimum of D and `D_peak_step` that of the later maximum,
      None if it lies at an end of the run.
    """
    if not (run.has("probe", "accuracy") and run.has("scalar", "accuracy")):
        return []
    (t, d_SxT), steps = leading(run, metric), run.steps("scalar")
    where = _among(run.steps("probe"), t, run)
    window = max(BATCHES // int(np.diff(steps[:2])[0]), 1)
    rows = []
    for i, seed in enumerate(run.seeds):
        able = gaussian_filter1d(run.array("probe", "accuracy")[i, where], SMOOTH_CAPABILITY)
        batches = run.array("scalar", "accuracy")[i]
        fitted = np.convolve(batches, np.ones(window) / window, "valid")
        d = gaussian_filter1d(d_SxT[i], SMOOTH_CAPABILITY)
        trough = int(d.argmin())
        rows.append(
            {
                "seed": seed,
                "fit_step": _halfway(steps[window // 2 :], fitted),
                "capability_step": _halfway(t, able),
                "D_trough_step": _inside(t, trough),
                "D_peak_step": _inside(t, trough + int(d[trough:].argmax())),
            }
        )
    return rows


def _halfway(t, series):
    if series.max() - series[0] < LEAST_GAIN:
        return None
    return int(t[np.argmax(series >= (series[0] + series.max()) / 2)])


def _inside(t, index):
    margin = EDGE * len(t)
    return int(t[index]) if 0 < index and index < len(t) - margin else None


def order(rows: list[dict]) -> dict | None:
    """Summarise the order of the landmarks over all seeds.

    Args:
      rows: rows from `landmarks`.

    Returns:
      `fit_step` and `capability_step`, the medians over seeds, and `late`, whether the capability
      took at least twice as long as fitting the data. A dict for each landmark of D that exists in
      at least half of the seeds: `lead`, the median number of steps by which the landmark precedes
      the capability (negative if it follows); `low` and `high`, the range of the lead over seeds;
      `precedes`, the number of seeds with a positive lead; `seeds`, the number of seeds with the
      landmark; and `rho` with `p`, the Spearman correlation of the two steps over seeds and its
      permutation p-value (None below 5 seeds). A positive `rho` means that the capability emerges
      earlier in seeds in which D turns earlier. The result is None if the capability emerges in no
      seed.
    """
    rows = [row for row in rows if None not in (row["fit_step"], row["capability_step"])]
    if not rows:
        return None
    able = np.array([row["capability_step"] for row in rows], float)
    fit = np.array([row["fit_step"] for row in rows], float)
    result = {
        "fit_step": float(np.median(fit)),
        "capability_step": float(np.median(able)),
        "late": bool(np.median(able) >= LATE * max(np.median(fit), 1)),
    }
    for name in LANDMARKS:
        at = np.array([np.nan if row[name] is None else row[name] for row in rows])
        seen = np.isfinite(at)
        if seen.mean() < 0.5:
            continue
        lead = (able - at)[seen]
        result[name] = {
            "lead": float(np.median(lead)),
            "low": float(lead.min()),
            "high": float(lead.max()),
            "precedes": int((lead > 0).sum()),
            "seeds": int(seen.sum()),
        } | _rank_correlation(at[seen], able[seen])
    return result


def _rank_correlation(a, b):
    if len(a) < 5 or len(set(a)) < 2 or len(set(b)) < 2:
        return {"rho": None, "p": None}

    def rho(a):
        return spearmanr(a, b).statistic

    test = permutation_test((a,), rho, permutation_type="pairings", random_state=0)
    return {"rho": float(test.statistic), "p": float(test.pvalue)}


def class_table(run: Run) -> list[dict]:
    """Compute the final accuracy of each class and the step at which half of it was reached.

    Args:
      run: open run.

    Returns:
      One row per class that has probe examples, in order of increasing accuracy: `class`,
      `accuracy` and `half_step`, means over seeds. The list is empty if class accuracy was not
      recorded.
    """
    if not run.has("probe", "class_accuracy"):
        return []
    t, a_SxTxC = run.steps("probe"), run.array("probe", "class_accuracy")
    rows = []
    for c in range(a_SxTxC.shape[2]):
        a_SxT = a_SxTxC[:, :, c]
        if not np.isfinite(a_SxT).all():
            continue
        smooth = gaussian_filter1d(a_SxT, SMOOTH_CAPABILITY, axis=1)
        half = [int(t[np.argmax(row >= row[-1] / 2)]) for row in smooth if row[-1] > 0]
        mean = float(np.mean(half)) if half else None  # None: final accuracy is 0 in all seeds
        rows.append({"class": c, "accuracy": float(a_SxT[:, -1].mean()), "half_step": mean})
    return sorted(rows, key=lambda row: row["accuracy"])
