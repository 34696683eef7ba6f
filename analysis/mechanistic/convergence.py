"""Order in which layers settle, kinds of jumps, and change of jumps over training."""

import itertools
import math

import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from analysis.statistics.corrections import LEAST_SEEDS, sign_flip_p, too_few
from analysis.statistics.surrogates import p_value

SETTLED = 0.1  # largest distance from the final value, as a share of the range of the series
SMOOTH = 9  # window of the moving mean in measurements
FINAL = 0.1  # share of training at its end whose mean is the final value
PERMUTATIONS = 999
ALPHA = 0.05
UNSETTLED = "no finite seed"
MOST_CLUSTERS = 5
RESAMPLES, SHUFFLES = 10, 19
LEAST_JUMPS = 12
LEAST_OF_SEED = 3  # jumps of a seed that are needed for a rank correlation
LEAST_LAYERS = 5  # the smallest p is 2 / 120 = .017 with 5 layers, but 2 / 24 = .083 with 4
CHARACTER = ("relative_size", "speed", "phase", "depth")  # fields that `characterise` adds


def settling_index(series_T) -> int:
    """Find when a series settles near its final value.

    The final value is the mean over the last tenth of training. The series is smoothed by a moving
    mean over 9 measurements.

    Args:
      series_T: values of one quantity, [T], finite.

    Returns:
      Index of the first measurement from which the smoothed series stays within a tenth of its
      range from its final value; the last index if it never does.
    """
    x = np.asarray(series_T, float)
    smooth = np.convolve(np.pad(x, SMOOTH // 2, mode="edge"), np.ones(SMOOTH) / SMOOTH, "valid")
    final = smooth[-max(int(FINAL * len(x)), 1) :].mean()
    away = np.flatnonzero(np.abs(smooth - final) > SETTLED * np.ptp(smooth))
    return min(int(away[-1]) + 1, len(x) - 1) if len(away) else 0


def settling_order(settled_SxL, rng) -> dict:
    """Test whether layers settle from the bottom up or from the top down.

    The null permutes the layers, with the same permutation in all seeds. The reason is that seeds
    may agree on an order that has nothing to do with depth.

    Args:
      settled_SxL: step at which each layer settled in each seed, [S, L], with layers in the order
        from input to output.
      rng: NumPy generator for the null.

    Returns:
      `rho`, Spearman's correlation of depth and settling step, mean over seeds; `low` and `high`,
      its range over seeds; `p`, its two-sided p-value; and `pattern`: bottom-up, top-down or no
      order. With fewer than 5 layers the numbers are None and the pattern is "too few layers",
      because the smallest p of 4 layers is .083. Without a finite seed they are None, too.
    """
    settled_SxL = np.asarray(settled_SxL, float)
    if not len(settled_SxL):
        return {"rho": None, "low": None, "high": None, "p": None, "pattern": UNSETTLED}
    if settled_SxL.shape[1] < LEAST_LAYERS:
        return {"rho": None, "low": None, "high": None, "p": None, "pattern": "too few layers"}
    ranks_SxL = np.apply_along_axis(rankdata, 1, settled_SxL)
    ranks_SxL = ranks_SxL[np.ptp(ranks_SxL, axis=1) > 0]  # no order if all layers settle together
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
    """Return all permutations of n items, or many random ones that include the identity."""
    if math.factorial(n) <= PERMUTATIONS:
        return [list(order) for order in itertools.permutations(range(n))]
    return [np.arange(n), *(rng.permutation(n) for _ in range(PERMUTATIONS))]


def characterise(found: list[dict], layers_SxTxL, d_SxT, seeds, layer_names, at) -> list[dict]:
    """Compute the size, speed, phase and depth of each jump.

    Args:
      found: jumps from `critical_steps.jumps_of_run`.
      layers_SxTxL: dimensionality of each layer, [S, T, L].
      d_SxT: mean dimensionality D over hidden layers, [S, T].
      seeds: seeds of the first axis, [S].
      layer_names: names of the layers of the last axis, [L].
      at: training step of each measurement, [T].

    Returns:
      Each jump with these fields added: `relative_size`, relative to the level before the jump;
      `speed`, the largest relative change per step within 3 measurements of the jump; `phase`, the
      position of the jump as a share of training; and `depth` of the layer, from 0 (input) to 1
      (output), None for D.
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
    """Cluster jumps into kinds, and test whether the kinds are reproducible.

    The method is k-means on three standardised properties: the logarithm of |relative size|, the
    logarithm of the speed, and the phase. The number of kinds is the one with the best silhouette.
    Stability is the mean adjusted Rand index between the kinds that are found in two halves of the
    jumps: 1 for identical kinds, 0 for chance. Its null shuffles each of the three properties
    within each seed. This destroys the kinds and keeps the distribution of each property per seed.

    Args:
      rows: jumps from `characterise`.
      seed: random seed for k-means, the halves and the null.

    Returns:
      `kinds`, the number of kinds; `labels`, the kind of each row; `silhouette`; `stability`; and
      its p-value `p`. With fewer than 12 jumps, all values and labels are None.
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
    """Permute each property within each seed, so that differences between seeds are kept."""
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
    """Correlate the size and the speed of jumps with the phase of training, seed by seed.

    Jumps of one seed are not independent of each other. Each seed therefore counts once, with the
    rank correlation of its jumps. If size and phase are unrelated, a correlation is as likely as
    its opposite, so the null flips the signs of whole seeds.

    Args:
      rows: jumps from `characterise`, one per event; layers that jump together are one event.

    Returns:
      One dict for each of `relative_size` and `speed`: `rho`, Spearman's correlation with the
      phase, mean over seeds; `p`, its sign-flip p-value, not-a-number for fewer than 6 seeds; `n`,
      the number of seeds with at least 3 jumps; `jumps`, the number of their jumps; and `too_few`,
      a remark if there are too few seeds for a test, else None. A property is left out if no seed
      has 3 jumps that differ.
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
