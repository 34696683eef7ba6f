"""When each probe example is learned and forgotten, and which examples a jump belongs to.

The losses and the correctness of the examples are those that the measure `examples` has stored.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from analysis.mechanistic import single_units
from analysis.mechanistic.critical_steps import jumps_of_run
from analysis.mechanistic.excesses import excesses, usable
from analysis.runs.reader import Run, RunError
from tapjax.contract import detector

MEASURE = "examples"
LEAST_STEPS = 3  # measurements with which an order of learning is described
TOP = 0.1  # share of the examples whose share of the change is the concentration
LISTED = 10  # examples that are listed per jump
ORDERS = 999  # random orders of the examples, the null of the agreement between seeds
SEED = 0
LEAST = 1e-4  # smallest difference of shares, and of the loss, that is distinguished


class Learning(NamedTuple):
    """Course of every probe example.

    `steps [T]` and `correct [S, T, P]`, 0 or 1. `learned [S, P]`: step from which an example stays
    correct, not-a-number if it is wrong at the end. `forgotten [S, P]`: number of measurements at
    which an example is wrong that was correct at the measurement before (Toneva et al. 2019,
    https://arxiv.org/abs/1812.05159).
    """

    steps: np.ndarray
    correct: np.ndarray
    learned: np.ndarray
    forgotten: np.ndarray


def learning(run: Run) -> Learning:
    """Describe when each probe example of a run is learned and forgotten.

    Args:
      run: open run with the measure `examples`.

    Returns:
      The Learning.

    Raises:
      RunError: the measure was not made, or at fewer than three steps.
    """
    correct_SxTxP = run.array(MEASURE, "correct")
    at = run.steps(MEASURE)
    if len(at) < LEAST_STEPS:
        raise RunError(
            f"{run.path}: {MEASURE} was measured at {len(at)} steps, and needs {LEAST_STEPS}"
        )
    return Learning(at, correct_SxTxP, learned_for_good(correct_SxTxP, at), lapses(correct_SxTxP))


def learned_for_good(correct_SxTxP, at) -> np.ndarray:
    """Return the step from which each example stays correct, not-a-number if there is none.

    Examples:
      >>> learned_for_good(np.array([[[0, 1], [1, 0], [1, 0]]]), np.array([0, 5, 10]))
      array([[ 5., nan]])
    """
    wrong_SxTxP = correct_SxTxP < 0.5
    since_SxP = np.argmax(wrong_SxTxP[:, ::-1], 1)  # measurements after the last wrong one
    since_SxP = np.where(wrong_SxTxP.any(1), since_SxP, len(at))
    first_SxP = np.asarray(at, float)[np.minimum(len(at) - since_SxP, len(at) - 1)]
    return np.where(since_SxP > 0, first_SxP, np.nan)


def lapses(correct_SxTxP) -> np.ndarray:
    """Return how often each example is wrong directly after it was correct, [S, P]."""
    return (np.diff(correct_SxTxP, axis=1) < -0.5).sum(1)


def agreement(learned_SxP) -> tuple[float, float]:
    """Test whether seeds learn the examples in the same order.

    Under the null, every seed has an order of its own: the examples of each seed are permuted,
    which keeps the distribution of its steps.

    Args:
      learned_SxP: step from which an example is learned; examples that are never learned come last.

    Returns:
      (mean rank correlation between pairs of seeds, p); not-a-number for one seed, and if all
      examples of a seed are learned at the same step.
    """
    late_SxP = np.nan_to_num(learned_SxP, nan=np.inf)
    if len(late_SxP) < 2 or any(len(np.unique(row)) < 2 for row in late_SxP):
        return np.nan, np.nan
    ranks_SxP = np.stack([np.unique(row, return_inverse=True)[1] for row in late_SxP])
    rng = np.random.default_rng(SEED)
    value = _mean_correlation(ranks_SxP)
    null = [
        _mean_correlation(np.stack([rng.permutation(row) for row in ranks_SxP]))
        for _ in range(ORDERS)
    ]
    return value, (1 + np.sum(np.array(null) >= value)) / (1 + ORDERS)


def _mean_correlation(ranks_SxP):
    if len(ranks_SxP) == 2:
        return float(spearmanr(*ranks_SxP).statistic)
    matrix = spearmanr(ranks_SxP, axis=1).statistic
    return float(matrix[np.triu_indices(len(matrix), 1)].mean())


def at_jumps(run: Run) -> tuple[list[dict], list[dict]]:
    """Test which examples the jumps of D belong to.

    A jump lies between two measurements of `examples`. The change of the loss of each example
    between them is compared with the changes between other neighbouring measurements, by the test
    that is used for units (see excesses.py).

    Args:
      run: open run with the measure `examples`.

    Returns:
      (rows of jumps, rows of examples). A jump has its `seed` and `step`, the steps `from` and `to`
      of the measurements, `turned`, the share of the examples that became correct or wrong,
      `concentration`, the share of the change of the loss that a tenth of the examples makes, and
      their p, `p_example` of the most unusual example, and the number of `pairs` that it was
      compared with. All p are corrected for quantities, examples and jumps. The second list has the
      most unusual examples of each jump, with z and the change of their loss. Without enough
      pairs, p is None and `why` says so.
    """
    at = run.steps(MEASURE)
    changes = changes_of(at, run.array(MEASURE, "loss"), run.array(MEASURE, "correct"))
    steps = {}  # (index of the seed, index of the pair) -> step of its first jump
    for jump in _jumps(run):
        if at[0] < jump["step"] <= at[-1]:
            pair = int(np.searchsorted(at, jump["step"])) - 1
            steps.setdefault((run.seeds.index(jump["seed"]), pair), jump["step"])
    rows, listed = [], []
    for (seed, pair), step in sorted(steps.items()):
        about = {"seed": run.seeds[seed], "step": step}
        between = {"from": int(at[pair]), "to": int(at[pair + 1])}
        row, examples = compare(changes, seed, pair, steps)
        rows.append(about | between | row)
        listed += [about | example for example in examples]
    return rows, listed


def _jumps(run):
    if len(run.steps("probe")) < detector.LEAST_LENGTH:
        return []
    return [jump for jump in jumps_of_run(run) if jump["layer"] == detector.MEAN]


class Changes(NamedTuple):
    """Changes between neighbouring measurements.

    `at [N + 1]` are the steps of the measurements and `middle [N]` those between them. `signed
    [S, N, P]` is the change of the loss of each example. `turned` and `concentration`, both
    [S, N], are explained in `at_jumps`.
    """

    at: np.ndarray
    middle: np.ndarray
    signed: np.ndarray
    turned: np.ndarray
    concentration: np.ndarray


def changes_of(at, loss_SxTxP, correct_SxTxP) -> Changes:
    """Compute the changes between neighbouring measurements."""
    signed_SxNxP = np.diff(loss_SxTxP, axis=1)
    sizes = np.sort(np.abs(signed_SxNxP), 2)
    most = max(round(TOP * sizes.shape[2]), 1)
    return Changes(
        at,
        (at[:-1] + at[1:]) / 2,
        signed_SxNxP,
        np.abs(np.diff(correct_SxTxP, axis=1)).mean(2),
        sizes[:, :, -most:].sum(2) / np.maximum(sizes.sum(2), LEAST),
    )


def compare(changes: Changes, seed: int, pair: int, eventful) -> tuple[dict, list[dict]]:
    """Test the changes between two measurements of one seed against those without a jump.

    Args:
      changes: Changes of all seeds.
      seed: index of the seed.
      pair: index of the earlier measurement.
      eventful: (seed, pair) of all jumps, for which p is corrected.

    Returns:
      (values and p, the most unusual examples); see `at_jumps`.
    """
    sizes = np.abs(changes.signed)
    finite = np.isfinite(sizes).all(2)
    gap_N = np.diff(changes.at)
    finite &= (gap_N == gap_N[pair])[None]  # longer gaps have larger changes
    quiet = [k for k in np.ndindex(finite.shape) if finite[k] and k not in eventful]
    seed_N, pair_N = np.array(quiet, int).reshape(-1, 2).T
    shares = np.stack([changes.turned, changes.concentration], 2)
    own_P, null_NxP, step_N = sizes[seed, pair], sizes[seed_N, pair_N], changes.middle[pair_N]
    at = changes.middle[pair]
    found = dict(zip(("turned", "concentration"), shares[seed, pair], strict=True))
    try:
        _, p = excesses(
            shares[seed_N, pair_N], seed_N, step_N, shares[seed, pair], seed, at, LEAST,
            [(own_P, null_NxP)],
        )  # fmt: skip
    except ValueError as error:
        return found | {"why": str(error)}, []
    p = np.minimum(p * len(eventful), 1.0)
    found |= dict(zip(("p_turned", "p_concentration", "p_example"), p, strict=True))
    same = seed_N == seed
    z_P = single_units.unit_z(own_P, at, null_NxP[same], step_N[same])
    listed = [
        {"example": int(i), "z": z_P[i], "change": changes.signed[seed, pair, i]}
        for i in np.argsort(-z_P)[:LISTED]
    ]
    return found | {"pairs": len(usable(seed_N))}, listed
