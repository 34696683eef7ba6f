"""Whether a signal warns of an ability before it emerges.

Two questions are asked, both a fixed number of steps before the ability emerges in a seed.

- Against controls, in which the ability never comes: has the signal of the seed moved farther than
  that of a control? An alarm that goes off once the signal has moved by more than a threshold then
  has a rate of hits and a rate of false alarms; the area under its ROC curve is the share of pairs
  in which the seed has moved farther.
- Against seeds of the same run that become able later: does the level of the signal tell which seed
  is the next? These seeds learn the same task in the same way. They may be slower in all that they
  do, so that a signal which only tells the speed of a seed tells the next, too (incident/dynamic
  area, Heagerty and Zheng 2005, https://doi.org/10.1111/j.0006-341X.2005.030814.x).
"""

import numpy as np
from scipy.stats import norm, rankdata

from analysis.tap.precursors import LEAST_SEEDS
from analysis.tap.signals import Signal
from tapjax.live.alarms import AlarmRule, limit_of_controls, moves, past_mean

PERMUTATIONS = 9999
ENOUGH = 50  # permutations at least as extreme after which p is known well enough
SAME = 0.75  # largest area under the ROC curve at the first measurement
LEAST_PAIRS = 30  # pairs of seeds for the comparison with later seeds
POWER = 0.8
SIMULATED = 1000  # experiments per size of an effect
LEAST_EMERGED = 0.9  # share of seeds; slower ones are missing otherwise, but not slow controls
SEED = 0
DISTANCES = (0.0, 0.05, 0.1, 0.2, 0.4)  # shares of the median step of emergence


def warning(signal: Signal, onset_S, ahead: float, rng) -> tuple[float, float]:
    """Test whether a signal moves farther than in controls before the ability emerges.

    Under the null that the signal does not know whether the ability will come, seeds and controls
    are exchangeable; their labels are permuted.

    Args:
      signal: Signal with controls.
      onset_S: steps of the onset of the ability; not-a-number where it does not emerge.
      ahead: number of steps by which the warning must precede the onset.
      rng: random generator.

    Returns:
      (area under the ROC curve, from 0 to 1; p of an area that is at least as large); not-a-number
      for fewer than 6 seeds or controls, if the ability emerges in fewer than nine of ten seeds (of
      the controls, slow ones would be left), and for a signal that differs from its controls at the
      first measurement already, with an area above .75 or below .25.
    """
    moved = _moved(signal, onset_S, ahead)
    if moved is None:
        return np.nan, np.nan
    count = moved.shape[1]
    plain = np.arange(len(moved))

    def area(rows):
        mine_Sx1 = moved[rows[:count], plain[:count]][:, None]
        return _share_above(mine_Sx1, moved[rows[count:]].T)

    value = area(plain)
    p = _p(lambda: area(rng.permutation(plain)) >= value - 1e-12)
    return value, p


def alarm_rule(signal: Signal, onset_S, ahead: float, ability: str) -> AlarmRule | None:
    """Find the limit of a signal's moves beyond which an alarm goes off, and how well it warns.

    Args:
      signal: Signal with controls.
      onset_S: steps of the onset of the ability; not-a-number where it does not emerge.
      ahead: number of steps by which a hit must precede the onset.
      ability: name of the ability.

    Returns:
      The AlarmRule, or None where `warning` is not-a-number.
    """
    if _moved(signal, onset_S, ahead) is None:
        return None
    limit_T, able = limit_of_controls(signal.control), np.isfinite(onset_S)
    beyond_SxT = moves(signal.values[able]) > limit_T
    first_S = np.where(beyond_SxT.any(1), signal.steps[beyond_SxT.argmax(1)], np.inf)
    lead_S = onset_S[able] - first_S
    before = lead_S[lead_S > 0]
    return AlarmRule(
        signal=signal.name,
        ability=ability,
        steps=tuple(signal.steps.tolist()),
        limit=tuple(limit_T.tolist()),
        seeds=int(able.sum()),
        controls=len(signal.control),
        ahead=float(ahead),
        hits=float((lead_S >= ahead).mean()),
        lead=float(np.median(before)) if len(before) else 0.0,
        false_alarms=1 / (1 + len(signal.control)),
    )


def area(signal: Signal, onset_S, ahead: float) -> float:
    """Return the area under the ROC curve of `warning`, without its test."""
    moved = _moved(signal, onset_S, ahead)
    if moved is None:
        return np.nan
    return _share_above(np.diagonal(moved)[:, None], moved[moved.shape[1] :].T)


def _moved(signal, onset_S, ahead):
    """Return the moves of all seeds, then of the controls, up to the time of each seed's warning.

    The result is None for too few of them, and if they differ at the first measurement.
    """
    place_S = _places(signal, onset_S, ahead)
    seeds, control = signal.values[place_S >= 0], signal.control
    if control is None or min(len(seeds), len(control)) < LEAST_SEEDS:
        return None
    if np.isfinite(onset_S).mean() < LEAST_EMERGED:
        return None
    if abs(_share_above(seeds[:, :1], control[:, :1].T) - 0.5) > SAME - 0.5:
        return None
    return np.concatenate([moves(seeds), moves(control)])[:, place_S[place_S >= 0]]


def next_seed(signal: Signal, onset_S, ahead: float, rng) -> tuple[float, float]:
    """Test whether the level of a signal tells which seed becomes able next.

    A seed that becomes able after `ahead` steps is compared with all those that do so after twice
    as many steps or later, or never, at the same step of training.

    Args:
      signal: the Signal; its controls are not used.
      onset_S: steps of the onset of the ability; not-a-number where it does not emerge.
      ahead: number of steps by which the signal must precede the onset.
      rng: random generator.

    Returns:
      (share of the pairs in which the next seed has the larger value, .5 if the signal does not
      know, 0 or 1 if it does; two-sided p, for permutations of the seeds' series); not-a-number for
      fewer than 30 pairs or 6 seeds that are the next.
    """
    place_S = _places(signal, onset_S, ahead)
    able = np.flatnonzero(place_S >= 0)
    later_SxS = ~(onset_S[None] < onset_S[able, None] + ahead)
    later_SxS &= able[:, None] != np.arange(len(onset_S))
    if later_SxS.sum() < LEAST_PAIRS or later_SxS.any(1).sum() < LEAST_SEEDS:
        return np.nan, np.nan
    level_SxN = past_mean(signal.values)[:, place_S[able]]
    column = np.arange(len(able))

    def share(rows):
        level = level_SxN[rows]
        mine = level[able, column][:, None]
        above = (mine > level.T) + 0.5 * (mine == level.T)
        return float(above[later_SxS].mean())

    plain = np.arange(len(onset_S))
    value = share(plain)
    p = _p(lambda: abs(share(rng.permutation(plain)) - 0.5) >= abs(value - 0.5) - 1e-12)
    return value, p


def least_effects(seeds: int, controls: int, tests: int, level: float = 0.05) -> dict[str, float]:
    """Simulate which effects are found in four of five experiments, after correction.

    The correction is that for the strictest case, in which one of all tests has an effect. The
    moves of seeds and controls are normal, and so are both steps of the order over seeds.

    Args:
      seeds: number of seeds in which the ability emerges.
      controls: number of controls; 0 for none.
      tests: number of tests that are corrected together.
      level: rate of false discoveries.

    Returns:
      Smallest `area` of a warning and smallest `rho` of the order over seeds; not-a-number if no
      effect is large enough, for fewer than six seeds or controls, and for more tests than the
      permutations can correct.
    """
    level, rng = level / max(tests, 1), np.random.default_rng(SEED)
    least = {"area": np.nan, "rho": np.nan}
    if seeds < LEAST_SEEDS or level * (1 + PERMUTATIONS) < 1:
        return least
    draws = int(min(max(4000, 20 / level), 40_000))
    if controls >= LEAST_SEEDS:

        def areas(area, count):
            mine = rng.standard_normal((count, seeds, 1)) + norm.ppf(area) * 2**0.5
            return (mine > rng.standard_normal((count, 1, controls))).mean((1, 2))

        least["area"] = _least(areas, 0.5, 1 - level, draws)

    def correlations(rho, count):
        rho = 2 * np.sin(np.pi / 6 * rho)  # of normal values with this rank correlation
        a, noise = rng.standard_normal((2, count, seeds))
        a, b = (rankdata(x, axis=1) for x in (a, rho * a + np.sqrt(1 - rho**2) * noise))
        return 1 - 6 * np.square(a - b).sum(1) / (seeds * (seeds**2 - 1))

    least["rho"] = _least(correlations, 0.0, 1 - level / 2, draws)
    return least


def _least(simulated, null: float, quantile: float, draws: int) -> float:
    """Find the smallest effect of a grid that passes a quantile of the null in 80 % of cases."""
    limit = np.quantile(simulated(null, draws), quantile)
    for effect in np.arange(null, 0.995, 0.01):
        if (simulated(effect, SIMULATED) > limit).mean() >= POWER:
            return float(effect)
    return np.nan


def _places(signal, onset_S, ahead):
    """Return the place of the last measurement at least `ahead` steps before each onset, or -1."""
    place_S = np.searchsorted(signal.steps, np.nan_to_num(onset_S) - ahead, side="right") - 1
    return np.where(np.isfinite(onset_S), place_S, -1)


def _share_above(mine_Sx1, theirs_SxC):
    """Return the share of pairs in which the first value is larger; ties count half."""
    return float(((mine_Sx1 > theirs_SxC) + 0.5 * (mine_Sx1 == theirs_SxC)).mean())


def _p(exceeds) -> float:
    """Return p of a permutation test that stops once p is known well enough.

    After `ENOUGH` exceedances p is their share (Besag and Clifford 1991), so that only small p need
    all permutations.
    """
    reached = 0
    for done in range(1, PERMUTATIONS + 1):
        reached += bool(exceeds())
        if reached == ENOUGH:
            return reached / done
    return (1 + reached) / (1 + PERMUTATIONS)
