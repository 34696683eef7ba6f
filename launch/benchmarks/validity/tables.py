"""Claims about tables of methods and sizes of jumps, without and with a planted effect."""

import numpy as np

from analysis.mechanistic import convergence
from analysis.statistics import corrections
from launch.benchmarks.validity.cases import case

TABLES = [(1, 3), (5, 5), (1, 6), (3, 10), (20, 10)]  # number of methods, number of seeds
NOISES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "two-valued": lambda rng, n: rng.choice([-1.0, 1.0], n) + 0.01 * rng.standard_normal(n),
    "skewed": lambda rng, n: rng.exponential(size=n),
}


def claimed(rng, methods, seeds, noise, effect=0.0) -> bool:
    """Decide whether any method of a table has q <= .05.

    All methods are compared with one reference, seed by seed.

    Args:
      rng: NumPy generator.
      methods: number of methods.
      seeds: number of seeds S.
      noise: function (rng, S) that draws the results of one method, [S].
      effect: planted difference between the first method and the reference.

    Returns:
      Whether a difference is claimed.
    """
    reference, rows = noise(rng, seeds), []
    for i in range(methods):
        apart = noise(rng, seeds) - reference + (effect if i == 0 else 0.0)
        rows.append({"n": seeds, "p": corrections.sign_flip_p(apart)})
    corrections.correct(rows, "p", "q")
    return any(row["q"] <= corrections.ALPHA for row in rows)


def jumps(rng, seeds, count=8, slope=0.0):
    """Simulate jumps, where two layers of a seed jump in succession with nearly the same size.

    Args:
      rng: NumPy generator.
      seeds: number of seeds.
      count: jumps per seed, an even number.
      slope: planted decrease of the log size from phase 0 to phase 1.

    Returns:
      One row per jump: seed, relative size, speed and phase.
    """
    rows = []
    for seed in range(seeds):
        phase = np.repeat(np.sort(rng.random(count // 2)), 2) + 1e-3 * np.arange(count)
        size = np.repeat(rng.standard_normal(count // 2), 2) - slope * phase
        size = np.exp(size + 0.1 * rng.standard_normal(count))
        rows += [
            {"seed": seed, "relative_size": s, "speed": 1.0, "phase": p}
            for s, p in zip(size, phase, strict=True)
        ]
    return rows


def trend(rows) -> bool:
    """Decide whether later jumps are reported to be smaller or larger than early ones."""
    return convergence.early_against_late(rows)["relative_size"]["p"] <= corrections.ALPHA


def cases(quick: bool) -> list[dict]:
    """Measure the rates of the area.

    Args:
      quick: whether to use few draws.

    Returns:
      Rows from `launch.benchmarks.validity.cases.case`.
    """
    nulls, planted = (2, 2) if quick else (200, 40)
    rows = []
    for name, noise in NOISES.items():
        for methods, seeds in TABLES:
            rng = np.random.default_rng(seeds)
            claims = [claimed(rng, methods, seeds, noise) for _ in range(nulls)]
            text = f"{methods} methods without effect, {seeds} seeds, {name}: any q <= .05"
            rows.append(case(text, "null", claims, most=0.05))
    rng = np.random.default_rng(0)
    claims = [claimed(rng, 5, 10, NOISES["normal"], effect=4.0) for _ in range(planted)]
    rows.append(case("5 methods, 10 seeds, one 4 sd better", "planted", claims, least=0.9))
    for seeds in (1, 3, 6, 10):
        rng = np.random.default_rng(seeds)
        claims = [trend(jumps(rng, seeds)) for _ in range(nulls)]
        text = f"jumps of {seeds} seeds, layers in pairs: size against phase"
        rows.append(case(text, "null", claims, most=0.05))
    claims = [trend(jumps(rng, 8, slope=6.0)) for _ in range(planted)]
    rows.append(case("jumps of 8 seeds that shrink by e^-6", "planted", claims, least=0.9))
    return rows
