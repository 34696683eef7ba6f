"""Does one recorded variable act on another? Cross mapping against nulls, with the lag rule.

A link is claimed if the states of the effect estimate the cause better than they estimate its
surrogates, the more so the larger the library, and best at a lag at which the cause precedes.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from analysis.edm.crossmap import cross_map, library_sizes
from analysis.edm.embedding import rows
from analysis.edm.select import decorrelation, embed_dimension, smallest_good
from analysis.surrogates import benjamini_hochberg, p_value

LEAST = 2  # values of a state: one for the variable itself, one for what acts on it
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
      The smallest dimension from 2 whose one-step simplex skill, on the first part of the series, is
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
    """Of one variable acting on another."""

    sizes: np.ndarray  # of the library [L]
    rho: np.ndarray  # mean over libraries [L]
    null: np.ndarray  # of each surrogate [N, L]
    lags: np.ndarray  # rows from the state to the estimated cause; negative: the cause precedes
    lag_rho: np.ndarray  # with the largest library
    p_level: float
    p_rise: float

    @property
    def best_lag(self) -> int:
        return int(self.lags[np.nanargmax(self.lag_rho)])

    @property
    def p(self) -> float:
        """Of level and rise together: both have to be there."""
        return max(self.p_level, self.p_rise)

    @property
    def tendency(self) -> float:
        """Kendall's tau of skill with the size of the library."""
        return float(kendalltau(self.sizes, self.rho).statistic)


def evidence(
    effect, cause, null, embedding: Embedding, used, lags=range(-5, 6), sizes=None, samples=20,
    seed=0,
) -> Evidence:  # fmt: skip
    """Cross mapping from an effect to its supposed cause, and to surrogates of that.

    Args:
      effect: series [T], whose states are made.
      cause: series [T], which they estimate.
      null: surrogates of the cause [N, T].
      embedding: of the effect.
      used: rows.
      lags: of the scan.
      sizes: of the library; 8 in geometric progression by default.
      samples: random libraries of each size.
      seed: of the libraries.

    Returns:
      Evidence.
    """
    settings = embedding._asdict() | {"rows": used}
    count = embedding.dimension + 1
    total = len(used) - abs(embedding.tau) * (embedding.dimension - 1)
    if sizes is None:
        sizes = library_sizes(total, count, embedding.theiler, 8)
    everyone = np.concatenate([np.asarray(cause, float)[:, None], np.asarray(null, float).T], 1)
    mean = cross_map(effect, everyone, **settings, sizes=sizes, samples=samples, seed=seed).mean
    rise = mean[:, -1] - mean[:, 0]
    at_lags = [
        cross_map(effect, cause, **settings, horizon=lag, sizes=[total - max(map(abs, lags))],
                  samples=1, seed=seed).mean[0, 0]
        for lag in lags
    ]  # fmt: skip
    level = mean[:, -1]
    return Evidence(
        np.asarray(sizes), mean[0], mean[1:], np.asarray(lags), np.array(at_lags),
        p_value(level[0], level[1:]), p_value(rise[0], rise[1:]),
    )  # fmt: skip


def verdicts(found: dict[tuple, Evidence], rate: float = 0.05) -> list[dict]:
    """One row a pair, with false discovery rates over all of them.

    Args:
      found: evidence by (cause, effect).
      rate: of false discoveries that a claim may have.

    Returns:
      Rows with `cause`, `effect`, `rho` (largest library), `rise`, `tendency`, `p`, `q`,
      `lag`, and the `verdict`: `drives`, `synchrony or reverse` (best at a lag at which the
      supposed cause comes later) or `no evidence`.
    """
    q = benjamini_hochberg([e.p for e in found.values()])
    table = []
    for ((cause, effect), e), own_q in zip(found.items(), q, strict=True):
        real = own_q <= rate and e.rho[-1] > 0
        late = e.best_lag > 0
        table.append(
            {
                "cause": cause, "effect": effect, "rho": e.rho[-1], "rise": e.rho[-1] - e.rho[0],
                "tendency": e.tendency, "p": e.p, "q": own_q, "lag": e.best_lag,
                "verdict": ("synchrony or reverse" if late else "drives") if real
                else "no evidence",
            }
        )  # fmt: skip
    return table
