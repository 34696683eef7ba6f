"""Placebo steps and single changed units, in drifting networks whose truth is known."""

import numpy as np

from analysis.mechanistic import single_units
from analysis.mechanistic.changes import ALPHA
from analysis.mechanistic.excesses import excesses
from launch.benchmarks.validity.cases import case

SEEDS, PAIRS = 3, 50
WIDTHS = (64, 64, 10)
QUANTITIES = 20  # quantities besides the change of each layer as a whole
KINDS = {"unit of 64": 64, "channel of 16": 16, "head of 4": 4}


def drifting(rng, widths=WIDTHS, tails=np.inf):
    """Simulate changes of a network over ordinary pairs of states and one more pair of seed 0.

    Changes become smaller during training. Units differ in the size of their changes. Layers and
    units fluctuate, and seeds differ.

    Args:
      rng: NumPy generator.
      widths: number of units of each layer.
      tails: degrees of freedom of the fluctuations' t distribution; infinity for a normal one.

    Returns:
      (changes of K quantities [N + 1, K], changes of the U units of each layer [N + 1, U],
      seed [N + 1], step [N + 1]). The first row is the pair around the critical step, the other
      N rows are the ordinary pairs.
    """

    def noise(*shape):
        return rng.standard_normal(shape) if np.isinf(tails) else rng.standard_t(tails, shape)

    n = SEEDS * PAIRS + 1
    seed_N = np.r_[0, np.repeat(np.arange(SEEDS), PAIRS)]
    step_N = np.r_[rng.integers(600, 1800), np.tile(np.linspace(200, 2000, PAIRS), SEEDS)]
    of_seed = 0.2 * rng.standard_normal(SEEDS)[seed_N]
    usual_N = np.exp(of_seed) * (step_N / 1000) ** -0.7
    units = []
    for width in widths:
        habit = np.exp(0.4 * rng.standard_normal((SEEDS, width)))[seed_N]
        layer = np.exp(0.2 * noise(n, 1))
        units.append(0.02 * usual_N[:, None] * habit * layer * np.exp(0.2 * noise(n, width)))
    return usual_N[:, None] * np.exp(0.4 * noise(n, QUANTITIES)), units, seed_N, step_N


def judged(made, planted: int | None = None):
    """Judge the first row, the pair around the critical step, against the ordinary pairs.

    Args:
      made: changes from `drifting`.
      planted: unit of the first layer to which a change of 10 % is added; None for no such unit.

    Returns:
      (p, whether the planted unit has the largest z of its layer). p is that of the units of the
      first layer. Without a planted unit, p is the smallest of all quantities.
    """
    other, layers, seed_N, step_N = made
    if planted is not None:
        layers[0][0, planted] = np.hypot(layers[0][0, planted], 0.1)
    whole = np.stack([np.sqrt((a**2).mean(1)) for a in layers], 1)
    changes = np.concatenate([other, whole], 1)
    null = changes[1:], seed_N[1:], step_N[1:], changes[0], 0, step_N[0], 1e-9
    _, p = excesses(*null, [(a[0], a[1:]) for a in layers])
    if planted is None:
        return p.min(), False
    own, a = seed_N[1:] == 0, layers[0]
    z_U = single_units.unit_z(a[0], step_N[0], a[1:][own], step_N[1:][own])
    return p[changes.shape[1]], z_U.argmax() == planted


def cases(quick: bool) -> list[dict]:
    """Measure the rates of the area.

    Args:
      quick: whether to use few draws.

    Returns:
      Rows from `launch.benchmarks.validity.cases.case`.
    """
    nulls, planted = (2, 1) if quick else (200, 100)
    rows = []
    for name, tails in {"normal": np.inf, "t(4)": 4}.items():
        found = [judged(drifting(np.random.default_rng(i), tails=tails)) for i in range(nulls)]
        claims = [p <= ALPHA for p, _ in found]
        rows.append(case(f"placebo moment, {name} fluctuations", "null", claims, most=0.05))
    for name, width in KINDS.items():
        claims = []
        for i in range(planted):
            rng = np.random.default_rng(1000 + i)
            p, right = judged(drifting(rng, (width, *WIDTHS[1:])), int(rng.integers(width)))
            claims.append(p <= ALPHA and right)
        text = f"one {name} moves by 10 %: found and named"
        rows.append(case(text, "planted", claims, least=0.9))
    return rows
