"""Tests of whether one recorded variable acts on another, by cross mapping against nulls.

A claim of a link has three conditions. The states of the effect estimate the cause better than
they estimate its surrogates. The skill rises more with the size of the library than it does for
surrogates. The skill is best at a lag at which the cause does not come later than the effect. For
training runs, the cause must also be estimated better than the causes of other seeds' runs.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from analysis.edm.crossmap import cross_map
from analysis.edm.embedding import rows, targets
from analysis.edm.permutation import EXACT, count_orders, exchanged_p
from analysis.edm.select import decorrelation, embed_dimension, smallest_good
from analysis.statistics.corrections import q_values
from analysis.statistics.surrogates import p_value

LEAST = 2  # smallest dimension: one value for the variable itself, one for a variable acting on it
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # sizes of the library, as shares of the rows
RATE = 0.05  # false discovery rate among the claims
ROUNDING = 1 + 1e-9  # tolerance with which p = 1/120 in 6 tests passes a rate of .05
UNPROVEN = "no claim: a known link was not recovered"
UNTESTED = "untested: too few seeds"
CHOSEN_ON = 0.3  # share of a series, at its beginning, on which the embedding is chosen


class Embedding(NamedTuple):
    """Settings that define the states of a variable."""

    dimension: int  # number of values in a state
    tau: int  # rows between the values of a state
    theiler: int  # Theiler window in rows


def choose(x_T, most: int = 8, tau: int = -1) -> tuple[Embedding, np.ndarray]:
    """Choose the embedding of a variable, and return the rows that were not used for the choice.

    The dimension is the smallest one, from 2, whose one-step simplex skill on the first part of the
    series is within .01 of the best. The Theiler window is the decorrelation time of the first
    part. It is at least as long as the longest state tried and, unless that is longer, at most a
    tenth of the first part.

    Args:
      x_T: series.
      most: largest dimension tried.
      tau: rows between the values of a state.

    Returns:
      The embedding and the row numbers after the first part.

    Raises:
      ValueError: the first part is constant or too short.
    """
    x_T = np.asarray(x_T, float)
    split = int(CHOSEN_ON * len(x_T))
    first = x_T[:split]
    middle, reach = split // 2, abs(tau) * (most - 1)
    window = int(np.clip(decorrelation(first), reach, max(split // 10, reach)))
    library = rows([(0, middle)], most, tau, horizon=1)
    prediction = rows([(middle, split)], most, tau, horizon=1)
    dimensions = range(LEAST, most + 1)
    skill = embed_dimension(first, first, library, prediction, dimensions, tau=tau)
    dimension = smallest_good(dimensions, skill)
    return Embedding(dimension, tau, window), np.arange(split, len(x_T))


class Evidence(NamedTuple):
    """Evidence that one variable acts on another; skills are means over seeds."""

    sizes: np.ndarray  # sizes of the library, as shares of the rows [L]
    rho: np.ndarray  # skill at the best lag at which the cause does not come later [L]
    null: np.ndarray  # skill for each set of surrogates, smallest and largest library [N, 2]
    other_runs: np.ndarray  # mean skill for causes from other seeds' runs [L]; NaN for one seed
    lags: np.ndarray  # rows from the state to the estimated cause; negative: the cause precedes
    lag_rho: np.ndarray  # skill by lag with the largest library
    p_surrogates: float  # p-value against surrogates, at least 1 / (1 + N)
    p_runs: float  # p-value of `permutation.exchanged_p`, against other seeds' runs; 1 for one seed
    n: int  # number of seeds

    @property
    def best_lag(self) -> int:
        return int(self.lags[np.nanargmax(self.lag_rho)])

    @property
    def tendency(self) -> float:
        """Kendall's tau between skill and the size of the library."""
        return float(kendalltau(self.sizes, self.rho).statistic)

    def p(self, runs: bool = True) -> float:
        """Return the p-value against surrogates and, if `runs`, also against other seeds' runs."""
        return max(self.p_surrogates, self.p_runs) if runs else self.p_surrogates


def evidence(
    effect_SxT, cause_SxT, make_null, surrogates: int, lags=range(-5, 6), shares=SHARES,
    samples: int = 20, seed: int = 0,
) -> Evidence:  # fmt: skip
    """Measure how well an effect estimates its supposed cause, surrogates, and other runs' causes.

    Surrogates are estimated only where their p-value needs it: from the smallest and the largest
    library, at lags at which the cause does not come later.

    Args:
      effect_SxT: series of each seed from which the states are made.
      cause_SxT: series of each seed that the states estimate.
      make_null: function from `nulls.NULLS` that makes surrogates.
      surrogates: number of surrogates of each cause. `surrogates_for` returns the number that a
        claim needs.
      lags: lags at which the skill is measured, in rows. At least one must be 0 or negative.
      shares: sizes of the library as shares of the rows, ascending. Each size is raised, if needed,
        to contain enough rows for all neighbours.
      samples: number of random libraries of each size.
      seed: random seed of libraries and surrogates.

    Returns:
      Evidence.

    Raises:
      ValueError: a series is constant or too short, or the cause comes later at all lags.
    """
    cause_SxT, effect_SxT = np.asarray(cause_SxT, float), np.asarray(effect_SxT, float)
    count, rng, lags = len(cause_SxT), np.random.default_rng(seed), np.asarray(lags)
    before, settings = lags <= 0, {"samples": samples, "seed": seed}
    if not before.any():
        raise ValueError(
            f"lags {list(lags)}: at least one must be 0 or negative (the cause is not later)"
        )
    skill, null = [], []
    for effect, cause in zip(effect_SxT, cause_SxT, strict=True):
        embedding, used = choose(effect)
        used = used[(used + lags.min() >= 0) & (used + lags.max() < len(effect))]
        states = effect, embedding, used
        made = make_null(cause, surrogates, rng)
        skill.append(_skills(*states, cause_SxT, lags, shares, **settings))
        null.append(_skills(*states, made, lags[before], (shares[0], shares[-1]), **settings))
    skill = np.array(skill)  # [seeds, seeds, lags, L]
    own = skill[range(count), range(count)].mean(0)
    rho, null = _best(own[before]), np.array([_best(curves) for curves in np.mean(null, 0)])
    others = np.full(len(shares), np.nan)
    if count > 1:
        others = _best(skill[~np.eye(count, dtype=bool)].mean(0)[before])
    p_surrogates = max(p_value(rho[-1], null[:, -1]), p_value(_rise(rho), _rise(null)))
    p_runs = exchanged_p(skill[:, :, before], seed)
    return Evidence(
        np.asarray(shares), rho, null, others, lags, own[:, -1], p_surrogates, p_runs, count
    )


def _skills(effect_T, embedding, used, wanted_VxT, lags, shares, samples, seed):
    """Return the mean skills [V, lags, L] with which the states of a series estimate others."""
    moved = np.stack([targets(wanted_VxT.T, lag) for lag in lags], 2)  # [T, V, lags]
    least = embedding.dimension + 2 + 2 * embedding.theiler
    sizes = [max(int(share * len(used)), least) for share in shares]
    mean = cross_map(
        effect_T, moved.reshape(len(effect_T), -1), **embedding._asdict(), rows=used, sizes=sizes,
        samples=samples, seed=seed,
    ).mean  # fmt: skip
    return mean.reshape(*moved.shape[1:], -1)


def _rise(rho):
    """Return the rise of skill from the smallest to the largest library in Fisher's z.

    In Fisher's z, a rise by .1 counts more at a correlation of .8 than at .1.
    """
    z = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    return z[..., -1] - z[..., 0]


def _best(skill_lagsxL):
    """Return the curve at the lag with the largest skill; this is done for surrogates too."""
    return skill_lagsxL[np.nanargmax(skill_lagsxL[:, -1])]


def surrogates_for(tests: int, rate: float = RATE) -> int:
    """Return the number of surrogates that allow a single link to pass the correction.

    The link passes even if one of its surrogates reaches its skill.

    Args:
      tests: number of links that are tested together.
      rate: false discovery rate.

    Returns:
      Number of surrogates.
    """
    return math.ceil(2 * tests / rate) - 1


def check_attainable(tests: int, surrogates: int, seeds: int | None, rate: float = RATE) -> None:
    """Refuse tests in which a single link could not be claimed, however strong it is.

    Args:
      tests: number of links that are tested together.
      surrogates: number of surrogates of each cause.
      seeds: number of seeds of each run; None for series that are not compared with other seeds'
        runs.
      rate: false discovery rate.

    Raises:
      ValueError: the smallest possible p, times the number of tests, is above the rate.
    """
    if surrogates < 1 or tests > rate * (1 + surrogates) * ROUNDING:
        raise ValueError(
            f"with {surrogates} surrogates no p is below 1/{1 + max(surrogates, 0)}, and none of "
            f"{tests} links can pass a false discovery rate of {rate:g}: at least "
            f"{math.ceil(tests / rate / ROUNDING) - 1} surrogates are needed"
        )
    reason = None if seeds is None else too_few_seeds(tests, seeds, rate)
    if reason:
        raise ValueError(reason)


def too_few_seeds(tests: int, seeds: int, rate: float = RATE) -> str | None:
    """Explain why there are too few orders of the seeds to claim any of the links.

    Args:
      tests: number of links that are tested together.
      seeds: number of seeds of each run.
      rate: false discovery rate.

    Returns:
      The reason and what would be sufficient; None if there are enough seeds.
    """
    if tests <= rate * count_orders(seeds) * ROUNDING:
        return None
    most = {n: rate * count_orders(n) * ROUNDING for n in range(2, EXACT + 2)}
    enough = next((n for n, links in most.items() if tests <= links), None)
    fits = [v for v in range(2, 100) if v * (v - 1) <= rate * count_orders(seeds) * ROUNDING]
    ways = [f"{enough} seeds"] if enough else []
    ways += [f"a single run and {fits[-1]} variables"] if fits else []
    one = seeds == 1
    return (
        f"{seeds} seed{'' if one else 's'} can be exchanged in {count_orders(seeds)} "
        f"way{'' if one else 's'}, and none of {tests} links "
        f"can pass a false discovery rate of {rate:g}: take {' or '.join(ways) or 'fewer links'}"
    )


def verdicts(
    found: dict[tuple, Evidence], runs: bool, tests: int | None = None, rate: float = RATE
) -> list[dict]:
    """Decide for each pair whether a link is claimed, with false discovery rates over all tests.

    Every claim is made here.

    Args:
      found: evidence by (cause, effect), or by (run, cause, effect).
      runs: whether the series come from training runs. Variables of a run share properties that
        surrogates do not have, such as schedules. For runs, a link therefore also needs a small p
        in the exchange of seeds.
      tests: number of links tested together. Links that are not in `found` count with p = 1. None
        or 0 means only those in `found`.
      rate: largest false discovery rate of a claim.

    Returns:
      One row per pair with `cause`, `effect`, `n` seeds, `rho` (largest library), `rise` (Fisher's
      z), `tendency`, `p_surrogates`, `p_runs`, `q` (Benjamini and Hochberg 1995), `lag`, and the
      `verdict`: `drives`, `synchrony or reverse` (the skill is best at a lag at which the supposed
      cause comes later) or `no evidence`.

    Raises:
      ValueError: no single link could be claimed, see `check_attainable`.
    """
    tests = tests or len(found)
    for e in found.values():
        check_attainable(tests, len(e.null), e.n if runs else None, rate)
    p = [e.p(runs) for e in found.values()] + [1.0] * (tests - len(found))
    q, table = q_values(p), []
    for ((*_, cause, effect), e), own_q in zip(found.items(), q[: len(found)], strict=True):
        claimed = "synchrony or reverse" if e.best_lag > 0 else "drives"
        passed = own_q <= rate * ROUNDING and e.rho[-1] > 0
        table.append(_row(cause, effect, e, float(own_q), claimed if passed else "no evidence"))
    return table


def untested(found: dict[tuple, Evidence]) -> list[dict]:
    """Return rows like those of `verdicts` for links with too few seeds, without `p_runs` and `q`.

    Args:
      found: evidence by (cause, effect).

    Returns:
      One row per pair, in which `p_runs` and `q` are NaN.
    """
    return [
        _row(cause, effect, e, math.nan, UNTESTED) | {"p_runs": math.nan}
        for (cause, effect), e in found.items()
    ]


def _row(cause, effect, e, q, verdict):
    return {
        "cause": cause, "effect": effect, "n": e.n, "rho": float(e.rho[-1]),
        "rise": float(_rise(e.rho)), "tendency": e.tendency, "p_surrogates": e.p_surrogates,
        "p_runs": e.p_runs, "q": q, "lag": e.best_lag, "verdict": verdict,
    }  # fmt: skip


def planted(effect_SxT, cause_SxT, strength: float) -> np.ndarray:
    """Plant a link of known strength: add the previous value of the cause to the effect.

    The share of planted links that are found is the power of the test.

    Args:
      effect_SxT: series to which the cause is added.
      cause_SxT: series of the cause.
      strength: standard deviations of the effect that are added per standard deviation of the
        cause.

    Returns:
      Effect with the planted link [S, T].
    """
    before = np.roll(np.asarray(cause_SxT, float), 1, axis=1)
    before[:, 0] = before[:, 1]
    scale = np.std(effect_SxT, 1, keepdims=True) / np.std(before, 1, keepdims=True)
    return effect_SxT + strength * scale * (before - before.mean(1, keepdims=True))
