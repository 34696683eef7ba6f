"""Does one recorded variable act on another? Cross mapping against nulls, with the lag rule.

A link is claimed if the states of the effect estimate the cause better than they estimate its
surrogates, the more so the larger the library, and best at a lag at which the cause precedes.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from analysis.corrections import q_values
from analysis.edm.crossmap import cross_map
from analysis.edm.embedding import rows, targets
from analysis.edm.select import decorrelation, embed_dimension, smallest_good
from analysis.surrogates import p_value

LEAST = 2  # values of a state: one for the variable itself, one for what acts on it
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # sizes of the library
FEWEST_SEEDS, MISMATCHES = 5, 200
MISMATCHINGS = {5: 44}  # in how many ways so few seeds can be mismatched
UNTESTED = f"untested: needs {FEWEST_SEEDS} seeds"
UNPROVEN = "no claim: a known link was not recovered"
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
    null: np.ndarray  # of each set of surrogates [N, L]
    other_runs: np.ndarray  # of causes taken from other seeds' runs [R, L]; R = 0 for few seeds
    lags: np.ndarray  # rows from the state to the estimated cause; negative: the cause precedes
    lag_rho: np.ndarray  # with the largest library
    n: int  # seeds

    @property
    def best_lag(self) -> int:
        return int(self.lags[np.nanargmax(self.lag_rho)])

    def p_against(self, null_NxL) -> float:
        """Of level and rise together: both have to be there."""
        return max(
            p_value(self.rho[-1], null_NxL[:, -1]), p_value(_rise(self.rho), _rise(null_NxL))
        )

    @property
    def p(self) -> float:
        """Against surrogates and, where there are enough seeds, against other runs."""
        nulls = [self.null, *([self.other_runs] if len(self.other_runs) else [])]
        return max(self.p_against(null) for null in nulls)

    @property
    def tendency(self) -> float:
        """Kendall's tau of skill with the size of the library."""
        return float(kendalltau(self.sizes, self.rho).statistic)


def evidence(
    effect_SxT, cause_SxT, make_null, surrogates: int = 99, lags=range(-5, 6), shares=SHARES,
    samples: int = 20, seed: int = 0,
) -> Evidence:  # fmt: skip
    """Cross mapping from an effect to its supposed cause, to surrogates, and to other runs' causes.

    Args:
      effect_SxT: series of each seed, whose states are made.
      cause_SxT: series which they estimate.
      make_null: from `nulls.NULLS`.
      surrogates: of each cause.
      lags: of the scan, rows.
      shares: sizes of the library as shares of the rows; a size has at least enough rows for all
        neighbours.
      samples: random libraries of each size.
      seed: of libraries and surrogates.

    Returns:
      Evidence.

    Raises:
      ValueError: a series is constant or too short.
    """
    cause_SxT = np.asarray(cause_SxT, float)
    count, rng, lags = len(cause_SxT), np.random.default_rng(seed), np.asarray(lags)
    if not (lags <= 0).any():
        raise ValueError(
            f"lags {list(lags)}: at one of them at least the cause must not come later"
        )
    found = []
    for i, effect in enumerate(np.asarray(effect_SxT, float)):
        wanted = np.concatenate([cause_SxT, make_null(cause_SxT[i], surrogates, rng)])
        found.append(_skills(effect, wanted, lags, shares, samples, seed))
    skill = np.array(found)  # [seeds, seeds + surrogates, lags, L]
    own = skill[range(count), range(count)].mean(0)
    return Evidence(
        np.asarray(shares), _best(own[lags <= 0]),
        np.array([_best(curves) for curves in skill[:, count:, lags <= 0].mean(0)]),
        _mismatched(skill[:, :count, lags <= 0]), lags, own[:, -1], count,
    )  # fmt: skip


def _skills(effect_T, wanted_VxT, lags, shares, samples, seed):
    """Mean skills [V, lags, L] with which the states of a series estimate others."""
    embedding, used = choose(effect_T)
    moved = np.stack([targets(wanted_VxT.T, lag) for lag in lags], 2)  # [T, V, lags]
    used = used[np.isfinite(moved[used]).all((1, 2))]
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


def _mismatched(skill_SxSxlagsxL):
    """Curves with every seed's cause taken from another seed's run."""
    count = len(skill_SxSxlagsxL)
    if count < FEWEST_SEEDS:
        return np.empty((0, skill_SxSxlagsxL.shape[-1]))
    rng, orders = np.random.default_rng(0), set()
    while len(orders) < min(MISMATCHES, MISMATCHINGS.get(count, MISMATCHES)):
        order = tuple(int(j) for j in rng.permutation(count))
        if all(i != j for i, j in enumerate(order)):
            orders.add(order)
    return np.array([_best(skill_SxSxlagsxL[range(count), o].mean(0)) for o in sorted(orders)])


def verdicts(found: dict[tuple, Evidence], runs: bool, rate: float = 0.05) -> list[dict]:
    """One row a pair, with false discovery rates over all of them.

    Args:
      found: evidence by (cause, effect).
      runs: whether the series are of training runs, which share what surrogates do not have, such
        as schedules; of these a link is claimed only beyond what other seeds' runs show.
      rate: of false discoveries that a claim may have.

    Returns:
      Rows with `cause`, `effect`, `n` seeds, `rho` (largest library), `rise` (Fisher's z),
      `tendency`, `p_surrogates`, `p_runs` (None for fewer than 5 seeds), `q`, `lag`, and the
      `verdict`: `drives`, `synchrony or reverse` (best at a lag at which the supposed cause comes
      later), `untested` (more than surrogates, and too few seeds to say) or `no evidence`.
    """
    q = q_values([e.p for e in found.values()])
    table = []
    for ((cause, effect), e), own_q in zip(found.items(), q, strict=True):
        claimed = "synchrony or reverse" if e.best_lag > 0 else "drives"
        if runs and not len(e.other_runs):
            claimed = UNTESTED
        table.append(
            {
                "cause": cause, "effect": effect, "n": e.n, "rho": float(e.rho[-1]),
                "rise": float(_rise(e.rho)), "tendency": e.tendency,
                "p_surrogates": e.p_against(e.null),
                "p_runs": e.p_against(e.other_runs) if len(e.other_runs) else None,
                "q": float(own_q), "lag": e.best_lag,
                "verdict": claimed if own_q <= rate and e.rho[-1] > 0 else "no evidence",
            }
        )  # fmt: skip
    return table


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
