"""Which layers settle first, and what kinds of jumps there are."""

import itertools
import math

import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from analysis.statistics.corrections import LEAST_SEEDS, sign_flip_p, too_few
from analysis.statistics.surrogates import p_value

SETTLED = 0.1  # of the range of a series: it stays so close to its final value
SMOOTH = 9  # measurements
FINAL = 0.1  # share of training whose mean is the final value
PERMUTATIONS = 999
ALPHA = 0.05
UNSETTLED = "no finite seed"
MOST_CLUSTERS = 5
RESAMPLES, SHUFFLES = 10, 19
LEAST_JUMPS = 12
LEAST_OF_SEED = 3  # jumps of a seed that have a rank correlation
LEAST_LAYERS = 5  # two of the 120 orders of 5 layers are p .017, of the 24 of 4 layers .083
CHARACTER = ("relative_size", "speed", "phase", "depth")  # what `characterise` adds to a jump


def settling_index(series_T) -> int:
    """When a series comes to stay near its final value.

    Args:
      series_T: a measurement, finite.

    Returns:
      Index of the first measurement from which the moving mean over 9 stays within a tenth of its
      range from its mean over the last tenth of training; the last one if it never does.
    """
    x = np.asarray(series_T, float)
    smooth = np.convolve(np.pad(x, SMOOTH // 2, mode="edge"), np.ones(SMOOTH) / SMOOTH, "valid")
    final = smooth[-max(int(FINAL * len(x)), 1) :].mean()
    away = np.flatnonzero(np.abs(smooth - final) > SETTLED * np.ptp(smooth))
    return min(int(away[-1]) + 1, len(x) - 1) if len(away) else 0


def settling_order(settled_SxL, rng) -> dict:
    """Whether layers settle from the bottom up or from the top down.

    The null gives the layers another order, the same one in all seeds: that seeds agree on some
    order of their own is no evidence that it goes with depth.

    Args:
      settled_SxL: when each layer settled in each seed, in the order from input to output.
      rng: NumPy generator, for the null.

    Returns:
      `rho`, the mean over seeds of Spearman's correlation of depth and settling; `low` and `high`,
      its range over seeds; `p`, two-sided; `pattern`: bottom-up, top-down or no order.
      Fewer than 5 layers give None and the pattern "too few layers": the smallest p of 4 is .083.
    """
    settled_SxL = np.asarray(settled_SxL, float)
    if not len(settled_SxL):
        return {"rho": None, "low": None, "high": None, "p": None, "pattern": UNSETTLED}
    if settled_SxL.shape[1] < LEAST_LAYERS:
        return {"rho": None, "low": None, "high": None, "p": None, "pattern": "too few layers"}
    ranks_SxL = np.apply_along_axis(rankdata, 1, settled_SxL)
    ranks_SxL = ranks_SxL[np.ptp(ranks_SxL, axis=1) > 0]  # all at once: no order to speak of
    if not len(ranks_SxL):
        return {"rho": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "pattern": "no order"}

    def mean_rho(ranks):
        depth = np.arange(ranks.shape[1]) - (ranks.shape[1] - 1) / 2
        centred = ranks - ranks.mean(1, keepdims=True)
        return (centred @ depth) / np.sqrt((centred**2).sum(1) * (depth**2).sum())

    rho_S = mean_rho(ranks_SxL)
    orders = _orders(ranks_SxL.shape[1], rng)
    null = np.array([abs(mean_rho(ranks_SxL[:, order]).mean()) for order in orders])
    rho = float(rho_S.mean())
    p = float(np.mean(null >= abs(rho) - 1e-12))
    pattern = ("bottom-up" if rho > 0 else "top-down") if p <= ALPHA else "no order"
    return {
        "rho": rho,
        "low": float(rho_S.min()),
        "high": float(rho_S.max()),
        "p": p,
        "pattern": pattern,
    }


def _orders(n, rng):
    """All orders of n things, or many random ones, the given one always among them."""
    if math.factorial(n) <= PERMUTATIONS:
        return [list(order) for order in itertools.permutations(range(n))]
    return [np.arange(n), *(rng.permutation(n) for _ in range(PERMUTATIONS))]


def characterise(found: list[dict], layers_SxTxL, d_SxT, seeds, layer_names, at) -> list[dict]:
    """Size, speed and phase of each jump.

    Args:
      found: jumps, as `moments.jumps_of_run` gives them.
      layers_SxTxL: dimensionality of each layer.
      d_SxT: their mean.
      seeds: of the first axis.
      layer_names: of the last axis.
      at: training step of each measurement.

    Returns:
      For each jump `relative_size` (of the level before), `speed` (largest relative change a
      step within 3 measurements of it), `phase` (share of training) and `depth` (of the layer,
      0 input to 1 output; None for the mean).
    """
    rows, at = [], np.asarray(at)
    for jump in found:
        seed = list(seeds).index(jump["seed"])
        mean = jump["layer"] not in layer_names
        layer = None if mean else layer_names.index(jump["layer"])
        series = d_SxT[seed] if mean else layers_SxTxL[seed, :, layer]
        i = int(np.searchsorted(at, jump["step"]))
        level = max(abs(float(np.median(series[max(i - 10, 0) : i]))), 1e-12)
        near = slice(max(i - 3, 0), i + 4)
        speed = np.abs(np.diff(series[near]) / np.diff(at[near])).max() / level
        rows.append(
            {
                **jump,
                "relative_size": jump["size"] / level,
                "speed": float(speed),
                "phase": float(jump["step"] / at[-1]),
                "depth": None if mean else layer / max(len(layer_names) - 1, 1),
            }
        )
    return rows


def cluster(rows: list[dict], seed: int = 0) -> dict:
    """Kinds of jumps, and whether they would be found again.

    k-means on the standardised logarithms of |relative size| and speed and on the phase; the
    number of kinds with the best silhouette. Stability is the mean adjusted Rand index between the
    kinds found in two halves of the jumps: 1 the same, 0 chance. Its null shuffles each of the
    three properties within each seed, which leaves no kinds and keeps what a seed is like.

    Args:
      rows: from `characterise`.
      seed: of k-means, of the halves and of the null.

    Returns:
      `kinds`, `labels` (one a row), `silhouette`, `stability` and its `p`; of too few jumps `kinds`
      is None.
    """
    if len(rows) < LEAST_JUMPS:
        nothing = dict.fromkeys(("kinds", "silhouette", "stability", "p"))
        return nothing | {"labels": [None] * len(rows)}
    size = np.log([max(abs(r["relative_size"]), 1e-12) for r in rows])
    speed = np.log([max(r["speed"], 1e-12) for r in rows])
    x = np.stack([size, speed, [r["phase"] for r in rows]], 1)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)

    rng = np.random.default_rng(seed)
    kinds, silhouette, labels = _kinds(x, seed)
    stability = _stability(x, kinds, rng)
    seed_N = np.array([r.get("seed", 0) for r in rows])
    shuffled = [_shuffled(x, seed_N, rng) for _ in range(SHUFFLES)]
    null = [_stability(other, _kinds(other, seed)[0], rng) for other in shuffled]
    return {
        "kinds": kinds,
        "labels": [int(label) for label in labels],
        "silhouette": silhouette,
        "stability": stability,
        "p": float(p_value(stability, np.array(null))),
    }


def _shuffled(x, seed_N, rng):
    """Each property in another order within its seed, so that seeds keep their own levels."""
    made = x.copy()
    for seed in np.unique(seed_N):
        made[seed_N == seed] = rng.permuted(x[seed_N == seed], axis=0)
    return made


def _kinds(x, seed):
    fits = {k: KMeans(k, n_init=5, random_state=seed).fit(x) for k in range(2, MOST_CLUSTERS + 1)}
    scores = {k: silhouette_score(x, fit.labels_) for k, fit in fits.items()}
    best = max(scores, key=scores.get)
    return best, float(scores[best]), fits[best].labels_


def _stability(x, kinds, rng):
    scores = []
    for _ in range(RESAMPLES):
        order = rng.permutation(len(x))
        halves = order[: len(x) // 2], order[len(x) // 2 :]
        fits = [KMeans(kinds, n_init=5, random_state=0).fit(x[half]) for half in halves]
        scores.append(adjusted_rand_score(*(fit.predict(x) for fit in fits)))
    return float(np.mean(scores))


def early_against_late(rows: list[dict]) -> dict:
    """How the size and speed of jumps go with the phase of training, seed by seed.

    Jumps of one seed are not independent of each other, so a seed counts once, by the rank
    correlation of its own jumps. If size and phase have nothing to do with each other, that
    correlation is as likely as its opposite: the null flips the signs of whole seeds.

    Args:
      rows: from `characterise`, one an event: layers that jump together are one.

    Returns:
      For `relative_size` and `speed` `rho`, the mean over seeds of Spearman's correlation with the
      phase; its sign-flip `p`, not-a-number for fewer than 6 seeds; `n`, the seeds with at least 3
      jumps; `jumps`; and `too_few`, what is missing for a test, or None. Nothing if no seed has 3
      jumps that differ.
    """
    result = {}
    for name in ("relative_size", "speed"):
        rho_S, jumps = [], 0
        for seed in dict.fromkeys(row["seed"] for row in rows):
            own = [row for row in rows if row["seed"] == seed]
            phase, value = [row["phase"] for row in own], [abs(row[name]) for row in own]
            if len(own) >= LEAST_OF_SEED and np.ptp(value) > 0 and np.ptp(phase) > 0:
                rho_S.append(spearmanr(phase, value).statistic)
                jumps += len(own)
        if rho_S:
            result[name] = {
                "rho": float(np.mean(rho_S)),
                "p": sign_flip_p(rho_S),
                "n": len(rho_S),
                "jumps": jumps,
                "too_few": too_few(len(rho_S), LEAST_SEEDS, "seeds with 3 jumps"),
            }
    return result
