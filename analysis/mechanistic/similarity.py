"""Similarity of representations between steps, seeds and layers.

The activations are those that the measure `representation` has stored. CKA does not change under
rotation and scaling of the activations, and its estimate has no bias from few examples. The
Procrustes similarity is 1 for representations that differ by a rotation, a shift and a scale.
"""

import itertools
from typing import NamedTuple

import numpy as np

from analysis.mechanistic.metrics import unit_gram
from analysis.runs.reader import Run, RunError

MEASURE = "representation"
SETTLED = 0.95  # similarity with the last step from which a layer counts as final
SEED = 0  # of the orders of the examples


class Similarity(NamedTuple):
    """Similarities of a run; not-a-number where a representation is constant.

    `steps [T]`; `time [L, T, T]` between steps, mean over seeds; `seeds [L, T]` between seeds at
    each step, mean over pairs (not-a-number for one seed), and `shuffled [L, T]` the same between
    different examples, the null; `layers [L, L]` between layers at the last step, mean over seeds.
    """

    names: tuple[str, ...]
    steps: np.ndarray
    time: np.ndarray
    seeds: np.ndarray
    shuffled: np.ndarray
    layers: np.ndarray


def similarity(run: Run, metric: str = "cka") -> Similarity:
    """Compare the representations of a run.

    Args:
      run: open run with the measure `representation`.
      metric: `cka` or `procrustes`.

    Returns:
      The Similarity.

    Raises:
      RunError: the measure was not made, or at fewer than two steps.
    """
    if run.recorded:
        raise RunError(
            f"{run.path} was trained by another loop: the measure {MEASURE} needs a run of tapjax"
        )
    names = tuple(n for n in run.layer_names if run.has(MEASURE, n))
    if not names:
        run.array(MEASURE, run.layer_names[0])  # says how to make the measure
    at = run.steps(MEASURE)
    if len(at) < 2:
        raise RunError(f"{run.path}: {MEASURE} was measured at one step, and needs two or more")
    made, product = METRICS[metric]
    time, seeds, shuffled, last = [], [], [], []
    rng = np.random.default_rng(SEED)
    for name in names:
        h_SxTxPxD = run.array(MEASURE, name)
        forms = [[made(h) for h in of_seed] for of_seed in h_SxTxPxD]
        time.append(np.mean([_pairs(of_seed, of_seed, product) for of_seed in forms], 0))
        seeds.append(_between_seeds(forms, product))
        shuffled.append(_between_seeds(_shuffled(h_SxTxPxD, made, rng), product))
        last.append([of_seed[-1] for of_seed in forms])
    layers = np.mean([_pairs(of_seed, of_seed, product) for of_seed in zip(*last, strict=True)], 0)
    return Similarity(names, at, *map(np.array, (time, seeds, shuffled)), layers)


def settled(found: Similarity) -> list[int | None]:
    """Find the first step from which each layer stays similar to its last representation.

    Args:
      found: Similarity of a run.

    Returns:
      One step per layer; None if the similarity is not defined at the last step, or below `SETTLED`
      at the step before it.
    """
    steps = []
    for time_TxT in found.time:
        final = time_TxT[-1] >= SETTLED
        first = len(final) - int(np.argmin(final[::-1])) if not final.all() else 0
        steps.append(int(found.steps[first]) if final[-1] and first < len(final) - 1 else None)
    return steps


def _pairs(a, b, product):
    """Return the similarity of each pair; the matrix is symmetric if both lists are the same."""
    return np.array([[product(x, y) for y in b] for x in a])


def _between_seeds(forms, product):
    """Return the mean similarity over pairs of seeds at each step, [T]."""
    pairs = list(itertools.combinations(forms, 2))
    if not pairs:
        return np.full(len(forms[0]), np.nan)
    return np.mean([[product(x, y) for x, y in zip(*pair, strict=True)] for pair in pairs], 0)


def _shuffled(h_SxTxPxD, made, rng):
    """Give every seed another order of the examples."""
    orders = [rng.permutation(h_SxTxPxD.shape[2]) for _ in h_SxTxPxD]
    return [
        [made(h[order]) for h in of_seed] for of_seed, order in zip(h_SxTxPxD, orders, strict=True)
    ]


def procrustes_form(h_PxD) -> np.ndarray:
    """Centre a representation and divide it by its norm; not-a-number if it is constant."""
    left = h_PxD - h_PxD.mean(0)
    norm = np.linalg.norm(left)
    return (
        left / norm
        if norm > 1e-12 * max(np.abs(h_PxD).max(), 1e-300)
        else np.full_like(left, np.nan)
    )


def procrustes(x_PxD, y_PxE) -> float:
    """Compute the Procrustes similarity of two centred representations of norm 1.

    It is the sum of the singular values of X^T Y, which is 1 minus half of the squared distance
    after the best rotation (Williams et al. 2021, https://arxiv.org/abs/2110.14739).

    Args:
      x_PxD: form of the first representation, see `procrustes_form`.
      y_PxE: form of the second.

    Returns:
      From 0 to 1.
    """
    inner = x_PxD.T @ y_PxE
    return (
        float(np.linalg.svd(inner, compute_uv=False).sum()) if np.isfinite(inner).all() else np.nan
    )


METRICS = {"cka": (unit_gram, np.vdot), "procrustes": (procrustes_form, procrustes)}
