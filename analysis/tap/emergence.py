"""Does dimensionality move before a capability does? What is measured of one run.

Two time scales are looked at. Fast: lag correlations of increments (see lags.py). Slow: the order
of landmarks over seeds, for a capability that emerges once and late, such as test accuracy long
after the training set is known by heart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.stats import permutation_test, spearmanr

from analysis.runs.reader import Run, RunError
from analysis.statistics import lags

SMOOTH_D, SMOOTH_CAPABILITY = 1.0, 2.0
STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.3)  # of planted leads; 0 gives the false positive rate
PLANTED_STEPS, LEAST_PLANTED = 20, 4
BATCHES = 50  # training steps over which batch accuracy is averaged
LEAST_GAIN = 0.1  # of accuracy; with less, nothing was learned and there is no landmark
LATE = 2.0  # a capability emerges late if it takes so many times as long as fitting the data
EDGE = 0.02  # share of a run at its ends in which an extreme is no landmark
LANDMARKS = ("D_trough_step", "D_peak_step")
WEAKEST = 3


class Coupling(NamedTuple):
    """What the increments of D and of one capability have to do with one another."""

    capability: str
    test: lags.LagTest
    events: dict


def capabilities(run: Run) -> dict[str, np.ndarray]:
    """What a run can do, measured whenever D is; larger is better, except for confidence.

    Args:
      run: an open run.

    Returns:
      Name -> [S, T]: `accuracy`, `-ln loss`, `confidence` and `-ece`, as far as recorded. Without
      a loss on the probe it is that of training batches.
    """
    found = {}
    if run.has("probe", "accuracy"):
        found["accuracy"] = run.array("probe", "accuracy")
    found["-ln loss"] = -np.log(np.maximum(_loss(run), 1e-12))
    if run.has("probe", "confidence"):
        found["confidence"] = run.array("probe", "confidence")
        found["-ece"] = -run.array("probe", "ece")
    return found


def _loss(run):
    if run.has("probe", "loss"):
        return run.array("probe", "loss")
    at, steps = run.steps("probe"), run.steps("scalar")
    return np.stack([np.interp(at, steps, row) for row in run.array("scalar", "loss")])


class Changes(NamedTuple):
    """Increments of ln D and of each capability, [S, T] each, every so many steps.

    `dropped` says which capabilities never change.
    """

    d_SxT: np.ndarray
    capabilities: dict[str, np.ndarray]
    every: int
    dropped: list[str]


def changes(run: Run, metric: str | None = None) -> Changes:
    """What is compared of a run.

    Args:
      run: an open run.
      metric: dimensionality; the run's own by default.

    Returns:
      Changes, of capabilities that change at all.

    Raises:
      RunError: too few measurements, or nothing changes.
    """
    gaps = np.diff(run.steps("probe"))
    if np.ptp(gaps) > 0:
        raise RunError(
            f"{run.path}: measurements are {gaps.min()} to {gaps.max()} steps apart; lags need "
            "an even cadence"
        )
    d_SxT = run.dimension(metric)
    if not d_SxT.min() > 0:
        raise RunError(f"{run.path}: D has values that are zero or not finite")
    try:
        x = lags.increments(np.log(d_SxT), SMOOTH_D)
    except ValueError as error:
        raise RunError(f"{run.path}: D: {error}") from error
    found, dropped = {}, []
    for name, level_SxT in capabilities(run).items():
        try:
            found[name] = lags.increments(level_SxT, SMOOTH_CAPABILITY)
        except ValueError as error:
            dropped.append(f"{run.path}: {name}: {error}")
    if not found:
        raise RunError("; ".join(dropped))
    return Changes(x, found, int(gaps[0]), dropped)


def pool(parts: Sequence[Changes]) -> Changes:
    """Put runs of one cadence and length together, so that a weak effect that they share shows.

    Args:
      parts: of each run.

    Returns:
      Changes with the rows of all.
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
    """Test D against every capability, and how strong a lead would have been found.

    Args:
      of: from `changes` or `pool`.
      rng: random generator.
      tests: p-values of this and all other runs that are corrected together.

    Returns:
      (one Coupling a capability; strength of a planted lead, of `planted_lag` measurements in
      the first capability -> share of trials in which it is called so, after the correction for
      all tests; at strength 0 the rate of false leads).

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
    """Measurements nearest to 20 steps, but so many that they are told from simultaneous."""
    return max(round(PLANTED_STEPS / every), LEAST_PLANTED)


def landmarks(run: Run, metric: str | None = None) -> list[dict]:
    """When each seed knew its training set, when it became able, and when D turned.

    Args:
      run: an open run with training accuracy and probe accuracy.
      metric: dimensionality; the run's own by default.

    Returns:
      One row a seed: `fit_step` and `capability_step`, halfway from the first to the best
      accuracy on training batches and on the probe, None where it hardly rises; `D_trough_step`,
      its minimum, and `D_peak_step`, its later maximum, None at the run's ends.
    """
    if not (run.has("probe", "accuracy") and run.has("scalar", "accuracy")):
        return []
    t, steps = run.steps("probe"), run.steps("scalar")
    window = max(BATCHES // int(np.diff(steps[:2])[0]), 1)
    rows = []
    for i, seed in enumerate(run.seeds):
        able = gaussian_filter1d(run.array("probe", "accuracy")[i], SMOOTH_CAPABILITY)
        batches = run.array("scalar", "accuracy")[i]
        fitted = np.convolve(batches, np.ones(window) / window, "valid")
        d = gaussian_filter1d(run.dimension(metric)[i], SMOOTH_CAPABILITY)
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
    """What the landmarks of all seeds say together.

    Args:
      rows: from `landmarks`.

    Returns:
      `late`: whether the capability took at least twice as long as fitting the data, and the
      medians; for each landmark of D seen in at least half of the seeds: `lead`, the median number
      of steps by which it precedes the capability (negative: follows), `low` and `high` over
      seeds, `precedes` of `seeds`, and `rho` with `p`: whether seeds that turn sooner become able
      sooner (Spearman, p by permutation; from 5 seeds on). None where no seed becomes able.
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
    """Accuracy of each class at the end, and when it passed half of it, means over seeds.

    Args:
      run: an open run.

    Returns:
      One row a class with probe examples, weakest first; empty if it was not recorded.
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
        mean = float(np.mean(half)) if half else None  # None: never right
        rows.append({"class": c, "accuracy": float(a_SxT[:, -1].mean()), "half_step": mean})
    return sorted(rows, key=lambda row: row["accuracy"])
