"""Links between variables: claims on series without links, and on one planted link."""

import numpy as np
from scipy.signal import lfilter

from analysis.edm.coupled_maps import coupled_maps
from analysis.edm.links import evidence, surrogates_for, verdicts
from analysis.edm.nulls import phase_randomised
from launch.benchmarks.validity.cases import case

POINTS, BURN_IN = 300, 200
CLAIMS = ("drives", "synchrony or reverse")
SMALL = {"lags": range(-2, 3), "samples": 3}  # settings that make a draw cheap


def autoregressions(rng, seeds: int) -> np.ndarray:
    """Draw independent autoregressive series of order 1 with coefficient .9, [S, T]."""
    noise = rng.standard_normal((seeds, POINTS + BURN_IN))
    return lfilter([1], [1, -0.9], noise)[:, BURN_IN:]


def walks(rng, seeds: int) -> np.ndarray:
    """Draw independent random walks, [S, T]."""
    return np.cumsum(rng.standard_normal((seeds, POINTS)), 1)


def noisy_seeds(rng, seeds: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw two related signals that all seeds share, plus noise of a different size per seed.

    Args:
      rng: NumPy generator.
      seeds: number of seeds S.
      spread: standard deviation over seeds of the logarithm of the size of the noise.

    Returns:
      Both series, [S, T] each.
    """
    shared = autoregressions(rng, 2)
    shared /= shared.std(1, keepdims=True)
    noise = 0.4 * np.exp(spread * rng.standard_normal((seeds, 1)))
    x, y = noise * rng.standard_normal((2, seeds, POINTS))
    return x + shared[0], y + 0.8 * shared[0] + 0.6 * shared[1]


def three_variables(rng, seeds: int) -> dict[str, np.ndarray]:
    """Simulate variables [S, T], of which `x` drives `y` and `z` is noise."""
    drawn = rng.integers(2**31, size=seeds)
    pairs = [coupled_maps(POINTS, 0.0, 0.1, 0.003, int(seed)) for seed in drawn]
    x, y = np.swapaxes(pairs, 0, 1)
    return {"x": x, "y": y, "z": rng.standard_normal((seeds, POINTS))}


def judged(series: dict[str, np.ndarray], runs: bool, seed: int) -> dict[tuple, str]:
    """Judge the links between all pairs of variables.

    Args:
      series: name -> series [S, T].
      runs: whether a claim must also hold against causes from other seeds' runs.
      seed: seed of libraries and surrogates.

    Returns:
      (cause, effect) -> verdict.
    """
    pairs = [(cause, effect) for effect in series for cause in series if cause != effect]
    count = surrogates_for(len(pairs))
    found = {
        (cause, effect): evidence(
            series[effect], series[cause], phase_randomised, count, seed=seed, **SMALL
        )
        for cause, effect in pairs
    }
    rows = verdicts(found, runs=runs)
    return {(row["cause"], row["effect"]): row["verdict"] for row in rows}


def exchanged(x_SxT, y_SxT, seed: int) -> float:
    """Compute the p-value of a link against causes from other seeds' runs.

    Args:
      x_SxT: series of the effect.
      y_SxT: series of the cause.
      seed: seed of libraries and surrogates.

    Returns:
      p in (0, 1].
    """
    return evidence(x_SxT, y_SxT, phase_randomised, 1, lags=[-1, 0], samples=3, seed=seed).p_runs


def cases(quick: bool) -> list[dict]:
    """Measure the rates of the area.

    Args:
      quick: whether to use few draws.

    Returns:
      Rows from `launch.benchmarks.validity.cases.case`.
    """
    many, some, few = (3, 2, 1) if quick else (200, 200, 40)
    rows = []
    for name, make in (("AR(1) .9", autoregressions), ("random walks", walks)):
        found = [judged(_named(make(rng, 2)), False, i) for i, rng in _draws(many)]
        claims = [any(v in CLAIMS for v in one.values()) for one in found]
        rows.append(case(f"link of two {name}, any claim", "null", claims, most=0.05))
    for seeds in (5, 6, 8):
        drawn = _draws(some)
        p = [
            exchanged(*autoregressions(rng, 2 * seeds).reshape(2, seeds, -1), i) for i, rng in drawn
        ]
        name = f"exchange of {seeds} seeds, AR(1) .9, p <= .05"
        rows.append(case(name, "null", [v <= 0.05 for v in p], most=0.05))
    for spread in (0.5, 1.0):
        p = [exchanged(*noisy_seeds(rng, 6, spread), i) for i, rng in _draws(some)]
        name = f"exchange of 6 seeds, shared signal, sd of log noise {spread:g}, p <= .05"
        rows.append(case(name, "null", [v <= 0.05 for v in p], most=0.05))
    for seeds in (5, 6):
        found = [judged(three_variables(rng, seeds), True, i) for i, rng in _draws(few)]
        claims = [one["x", "y"] == "drives" for one in found]
        name = f"lone link among 3 variables, {seeds} seeds"
        rows.append(case(name, "planted", claims, least=0.9))
        others = [any(v in CLAIMS for k, v in one.items() if k != ("x", "y")) for one in found]
        rows.append(case(f"{name}, any other claim", "null", others, most=0.05))
    return rows


def _named(series_SxT):
    return {"x": series_SxT[:1], "y": series_SxT[1:]}


def _draws(count):
    return [(i, np.random.default_rng([i, 19])) for i in range(count)]
