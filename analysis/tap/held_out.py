"""Held-out scores of predictors of D(t), beside baselines and shuffled structures."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from analysis.tap.calibration import r2
from analysis.tap.predict import Z_90, Example, Forecast, alike, fit

FOLDS, SHUFFLE_SEED = 5, 0  # for the comparison with shuffled architectures


def bracketed(structure: dict, others: Sequence[dict]) -> bool:
    """Decide whether a forecast for an architecture interpolates between calibrated ones.

    Args:
      structure: features of the architecture to predict.
      others: features of the calibrated architectures.

    Returns:
      True if the calibration contains both smaller and larger architectures of the same family, in
      depth and in width. False if the forecast extrapolates.
    """
    family = [o for o in others if o["family"] == structure["family"]]
    return all(
        min((o[size] for o in family), default=np.inf)
        < structure[size]
        < max((o[size] for o in family), default=-np.inf)
        for size in ("depth", "width")
    )


def leave_one_out(
    examples: Sequence[Example], predictor: str, use_init: bool, folds: int | None = None
):
    """Predict every architecture from the others, on all its data sets at once.

    Args:
      examples: calibration to cross-validate.
      predictor: name of the predictor, one of `PREDICTORS`.
      use_init: whether D at initialisation is known; see `fit`.
      folds: number of groups of architectures that are left out in turn; None leaves out one
        architecture at a time.

    Returns:
      (rows, forecasts): one row per example with its names, the scores of `score` and whether it is
      `bracketed`; and the Forecast of each, in the order of the rows.
    """
    rows, forecasts = [], []
    names = list(dict.fromkeys(e.architecture for e in examples))
    count = min(folds or len(names), len(names))
    for left_out in (names[i::count] for i in range(count)):
        others = [e for e in examples if e.architecture not in left_out]
        # BLAS threads wait for each other in busy loops. For such small matrices this costs more
        # than it gains: ten times the time as soon as anything else runs on the machine.
        with threadpool_limits(1, user_api="blas"):
            forecast = fit(others, predictor, use_init)
        for e in (e for e in examples if e.architecture in left_out):
            made = forecast(e.structure, e.data, e.mean_G[0])
            forecasts.append(made)
            rows.append(
                {
                    "architecture": e.architecture,
                    "family": e.structure["family"],
                    "data": e.data,
                    "predictor": predictor,
                    "use_init": use_init,
                    "bracketed": bracketed(e.structure, [o.structure for o in others]),
                    **score(e, made, relative_mean(e, others)),
                }
            )
    return rows, forecasts


def shuffled(examples: Sequence[Example], rng: np.random.Generator) -> list[Example]:
    """Permute the structures at random among the architectures of the same family.

    If the structure has no information about the curve beyond the family, every assignment of
    structures to architectures of a family is equally likely. The permutations form a group. The
    curves of an architecture on several data sets stay together, and each keeps its D at
    initialisation.

    Args:
      examples: calibration to shuffle.
      rng: NumPy generator.

    Returns:
      Examples with the same curves in the same order, and with permuted structures.
    """
    of = {e.architecture: e.structure for e in examples}
    given = {}
    for family in sorted({structure["family"] for structure in of.values()}):
        members = [name for name, structure in of.items() if structure["family"] == family]
        given |= dict(zip(members, rng.permutation(members).tolist(), strict=True))
    return [e._replace(structure=of[given[e.architecture]]) for e in examples]


def skill_of_shuffled(
    examples: Sequence[Example], predictor: str, use_init: bool, shuffles: int
) -> dict[str, float]:
    """Compare the skill of a predictor with that of the same predictor on shuffled structures.

    The skill over the baseline "D at initialisation x mean relative curve" can differ from 0 even
    without knowledge of the architecture, because any regression that learns the mean curve and its
    relation to D at initialisation can beat that baseline. Both skills are measured with FOLDS
    groups, which costs a fraction of leaving out one architecture at a time.

    Args:
      examples: calibration to cross-validate.
      predictor: name of the predictor, one of `PREDICTORS`.
      use_init: whether D at initialisation is known; see `fit`.
      shuffles: number of permutations; at least 19 are needed to reach p = .05.

    Returns:
      `skill_folds`, the median skill over examples; `skill_shuffled` and `skill_shuffled_95`, the
      median and the 95 % quantile of this skill over shuffled calibrations; and `skill_p`, the
      p-value of the permutation test.
    """

    def skill(examples):
        rows, _ = leave_one_out(examples, predictor, use_init, FOLDS)
        return float(np.median([row["skill"] for row in rows]))

    rng = np.random.default_rng(SHUFFLE_SEED)
    found = skill(examples)
    null = np.array([skill(shuffled(examples, rng)) for _ in range(shuffles)])
    return {
        "skill_folds": found,
        "skill_shuffled": float(np.median(null)),
        "skill_shuffled_95": float(np.quantile(null, 0.95)),
        "skill_p": float((1 + (null >= found).sum()) / (1 + shuffles)),
    }


def relative_mean(e: Example, others: Sequence[Example]) -> np.ndarray:
    """Compute the baseline: D at initialisation times the mean relative curve of the same family.

    Args:
      e: example to predict; only the first point of its curve is used.
      others: calibration. The mean is over examples of the same family and data set; a restriction
        that leaves no example is dropped.

    Returns:
      ln D of the baseline, [G].
    """
    similar = alike(e.structure, e.data, others)
    return e.mean_G[0] + np.mean([o.mean_G - o.mean_G[0] for o in similar], 0)


def score(e: Example, made: Forecast, baseline_G: np.ndarray) -> dict:
    """Compute how good a forecast is, and how good a forecast could be.

    Args:
      e: example with the measured curves.
      made: forecast to score.
      baseline_G: ln D of the baseline, [G].

    Returns:
      Scores against the mean over seeds: `r2` on a uniform grid of steps and `r2_log` on the
      log-time grid, both of D and relative to the mean of the run; `mape`, the mean absolute
      relative error of D; `shape`, the correlation of the ln D curves; `skill` over the baseline, 1
      minus the ratio of squared errors of ln D; and `coverage`, the share of points within the 90 %
      band (None without bands). Scores against single seeds: `r2_one_seed`, the median R2 of the
      forecast; and its ceiling `seed_r2`, the median R2 of the mean of the other seeds (None for a
      single seed).
    """
    uniform = np.linspace(0, e.step_G[-1], 400)

    def spread_out(log_d_G):
        return np.exp(np.interp(np.log1p(uniform), np.log1p(e.step_G), log_d_G))

    seeds = [spread_out(seed_G) for seed_G in e.log_d_SxG]
    error = e.mean_G - made.log_d_G
    covered = np.abs(error) <= Z_90 * made.sd_G
    return {
        "r2": r2(spread_out(e.mean_G), spread_out(made.log_d_G)),
        "r2_log": r2(np.exp(e.mean_G), np.exp(made.log_d_G)),
        "mape": float(np.mean(np.abs(np.expm1(made.log_d_G - e.mean_G)))),
        "shape": float(np.corrcoef(e.mean_G, made.log_d_G)[0, 1]),
        "skill": 1 - float(np.square(error).sum() / np.square(e.mean_G - baseline_G).sum()),
        "coverage": float(covered.mean()) if np.isfinite(made.sd_G).all() else None,
        "r2_one_seed": float(np.median([r2(seed, spread_out(made.log_d_G)) for seed in seeds])),
        "seed_r2": _seed_ceiling(seeds),
    }


def _seed_ceiling(curves):
    if len(curves) < 2:
        return None
    total = np.sum(curves, 0)
    return float(np.median([r2(c, (total - c) / (len(curves) - 1)) for c in curves]))
