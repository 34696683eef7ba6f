"""Does one recorded variable act on another? Cross mapping against nulls, with the lag rule.

A link is claimed if the states of the effect estimate the cause better than they estimate its
surrogates, the more so the larger the library, and best at a lag at which the cause precedes.
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

LEAST = 2  # values of a state: one for the variable itself, one for what acts on it
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # sizes of the library
RATE = 0.05  # of false discoveries among the claims
ROUNDING = 1 + 1e-9  # p = 1/120 of 6 tests passes .05
UNPROVEN = "no claim: a known link was not recovered"
UNTESTED = "untested: too few seeds"
CHOSEN_ON = 0.3  # share of a series, at its beginning, on which the embedding is chosen


class Embedding(NamedTuple):
    """How the states of a variable are made."""

    dimension: int
    tau: int
    theiler: int


def choose(x_T, most: int = 8, tau: int = -1) -> tuple[Embedding, np.ndarray]:
    """The embedding of a variable, and the rows that were not used to choose it.

    Args:
      x_T: series.
      most: largest dimension tried.
      tau: rows between the values of a state.

    Returns:
      The smallest dimension from 2 whose one-step simplex skill on the first part of the series is
      within .01 of the best, with a Theiler window as long as the series remembers itself; the
      later rows.

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
    """Of one variable acting on another, means over seeds."""

    sizes: np.ndarray  # of the library, as shares of the rows [L]
    rho: np.ndarray  # at the best lag at which the cause does not come later [L]
    null: np.ndarray  # of each set of surrogates, from the smallest and the largest library [N, 2]
    other_runs: np.ndarray  # mean curve of causes taken from other seeds' runs [L]; NaN of one seed
    lags: np.ndarray  # rows from the state to the estimated cause; negative: the cause precedes
    lag_rho: np.ndarray  # with the largest library
    p_surrogates: float  # at least 1 / (1 + N)
    p_runs: float  # see `permutation.exchanged_p`; 1 of one seed
    n: int  # seeds

    @property
    def best_lag(self) -> int:
        return int(self.lags[np.nanargmax(self.lag_rho)])

    @property
    def tendency(self) -> float:
        """Kendall's tau of skill with the size of the library."""
        return float(kendalltau(self.sizes, self.rho).statistic)

    def p(self, runs: bool = True) -> float:
        """Against surrogates and, for series of training runs, also against other seeds' runs."""
        return max(self.p_surrogates, self.p_runs) if runs else self.p_surrogates


def evidence(
    effect_SxT, cause_SxT, make_null, surrogates: int, lags=range(-5, 6), shares=SHARES,
    samples: int = 20, seed: int = 0,
) -> Evidence:  # fmt: skip
    """Cross mapping from an effect to its supposed cause, to surrogates, and to other runs' causes.

    Surrogates are estimated where their p-value looks: from the smallest and the largest library,
    at lags at which the cause does not come later.

    Args:
      effect_SxT: series of each seed, whose states are made.
      cause_SxT: series which they estimate.
      make_null: from `nulls.NULLS`.
      surrogates: of each cause; `surrogates_for` says how many a claim needs.
      lags: of the scan, rows.
      shares: sizes of the library as shares of the rows, ascending; a size has at least enough
        rows for all neighbours.
      samples: random libraries of each size.
      seed: of libraries and surrogates.

    Returns:
      Evidence.

    Raises:
      ValueError: a series is constant or too short.
    """
    cause_SxT, effect_SxT = np.asarray(cause_SxT, float), np.asarray(effect_SxT, float)
    count, rng, lags = len(cause_SxT), np.random.default_rng(seed), np.asarray(lags)
    before, settings = lags <= 0, {"samples": samples, "seed": seed}
    if not before.any():
        raise ValueError(
            f"lags {list(lags)}: at one of them at least the cause must not come later"
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
    """Mean skills [V, lags, L] with which the states of a series estimate others."""
    moved = np.stack([targets(wanted_VxT.T, lag) for lag in lags], 2)  # [T, V, lags]
    least = embedding.dimension + 2 + 2 * embedding.theiler
    sizes = [max(int(share * len(used)), least) for share in shares]
    mean = cross_map(
        effect_T, moved.reshape(len(effect_T), -1), **embedding._asdict(), rows=used, sizes=sizes,
        samples=samples, seed=seed,
    ).mean  # fmt: skip
    return mean.reshape(*moved.shape[1:], -1)


def _rise(rho):
    """From the smallest library to the largest, in Fisher's z: .1 is more at .8 than at .1."""
    z = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    return z[..., -1] - z[..., 0]


def _best(skill_lagsxL):
    """The curve at the lag of most skill; surrogates are given the same choice."""
    return skill_lagsxL[np.nanargmax(skill_lagsxL[:, -1])]


def surrogates_for(tests: int, rate: float = RATE) -> int:
    """Surrogates with which a lone link passes the correction even if one of them reaches it."""
    return math.ceil(2 * tests / rate) - 1


def check_attainable(tests: int, surrogates: int, seeds: int | None, rate: float = RATE) -> None:
    """Refuse tests in which no lone link could be claimed, however strong.

    Args:
      tests: links that are tested together.
      surrogates: of each cause.
      seeds: of each run; None for series that are not held against other seeds' runs.
      rate: of false discoveries.

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
    """Say that the seeds have too few orders for any of the links to be claimed.

    Args:
      tests: links that are tested together.
      seeds: of each run.
      rate: of false discoveries.

    Returns:
      The reason and what would do, None if the seeds are enough.
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
    """One row a pair, with false discovery rates over all tests. Every claim is made here.

    Args:
      found: evidence by (cause, effect), possibly with a run before them.
      runs: whether the series are of training runs, which share what surrogates do not have, such
        as schedules; of these a link is claimed only beyond what exchanged seeds show.
      tests: links tested together; those that are not in `found` count with p = 1. Only those in
        `found` by default.
      rate: of false discoveries that a claim may have.

    Returns:
      Rows with `cause`, `effect`, `n` seeds, `rho` (largest library), `rise` (Fisher's z),
      `tendency`, `p_surrogates`, `p_runs`, `q` (Benjamini and Hochberg 1995), `lag`, and the
      `verdict`: `drives`, `synchrony or reverse` (best at a lag at which the supposed cause comes
      later) or `no evidence`.

    Raises:
      ValueError: no lone link could be claimed, see `check_attainable`.
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
    """Rows like those of `verdicts` for links of too few seeds: without p against runs and q."""
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
    """The effect with the cause's previous value added, in standard deviations.

    What a link of known strength would look like: how often it is found is the power.

    Args:
      effect_SxT: series.
      cause_SxT: series.
      strength: standard deviations of the effect for one of the cause.

    Returns:
      [S, T].
    """
    before = np.roll(np.asarray(cause_SxT, float), 1, axis=1)
    before[:, 0] = before[:, 1]
    scale = np.std(effect_SxT, 1, keepdims=True) / np.std(before, 1, keepdims=True)
    return effect_SxT + strength * scale * (before - before.mean(1, keepdims=True))
