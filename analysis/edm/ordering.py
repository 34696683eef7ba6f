"""Which recorded quantities move together, and which of them first."""

import itertools

import numpy as np

from analysis.edm.variables import evenly, variables
from analysis.runs.reader import Run, RunError
from analysis.statistics import lags
from analysis.statistics.corrections import q_values

MOST = 10  # quantities that are compared by default
SMOOTH = 2.0  # standard deviation in measurements of the Gaussian that reduces noise
SEED = 0


def comparable(run: Run, found) -> list[str]:
    """Choose quantities to compare: one number per step, measured often enough.

    Args:
      run: open run.
      found: quantities of the run, see `runs.quantities`.

    Returns:
      At most `MOST` names for `variables`: D, loss, accuracy, gradient norm, then the measures; as
      many as can be tested in pairs with the number of measurements.
    """
    usual = [("probe", name) for name in ("D", "loss", "accuracy")] + [("scalar", "grad_norm")]
    known = {
        (q.group, q.name): q
        for q in found
        if q.values.ndim == 2
        and len(q.steps) >= lags.LEAST_LENGTH
        and len(set(np.diff(q.steps))) == 1
        and np.isfinite(q.values).all()
    }
    measured = [key for key in known if key[0] not in ("scalar", "probe", "eval")]
    chosen = [key for key in (*usual, *measured) if key in known][:MOST]
    while chosen and not _enough(min(len(known[key].steps) for key in chosen), len(chosen)):
        chosen.pop()
    return [name if group in ("scalar", "probe") else f"{group}/{name}" for group, name in chosen]


def ordering(run: Run, names) -> tuple[list[dict], list[str]]:
    """Test each pair of quantities for common movement, and its order.

    Differences between seeds are compared, see `statistics.lags`; of quantities above 0 the
    logarithm is used.

    Args:
      run: open run.
      names: names of quantities, see `variables`.

    Returns:
      (rows, remarks on quantities that are left out, for example because they never change).
      There is one row per pair, smallest q first: `first` and `second`, `r` at the best lag, `lag`
      in steps, positive if the first leads, with its 90 % interval `lag_low` and `lag_high`; `q`,
      the false discovery rate over all pairs; and the `verdict` of `lags.verdict`. The quantity
      that leads is named first.

    Raises:
      RunError: fewer than two quantities can be compared, there are too few measurements, or they
        are not evenly spaced.
    """
    names = list(dict.fromkeys(names))
    if len(names) < 2:
        raise RunError(
            f"{run.name}: fewer than two quantities have {lags.LEAST_LENGTH} measurements, which "
            "lags need"
        )
    at, series = variables(run, names)
    evenly(at, run.name)
    moves, left_out, rng = {}, [], np.random.default_rng(SEED)
    for name, level_SxT in series.items():
        level_SxT = np.log(level_SxT) if (level_SxT > 0).all() else level_SxT
        try:
            moves[name] = lags.increments(level_SxT, SMOOTH)
        except ValueError as error:
            left_out.append(f"{run.name}: {name}: {error}")
    pairs = list(itertools.combinations(moves, 2))
    if not pairs:
        raise RunError("; ".join(left_out))
    if not _enough(len(at), len(moves)):
        raise RunError(f"{run.name}: {len(at)} measurements are too few for {len(pairs)} tests")
    count, every = lags.surrogates_for(len(pairs)), int(at[1] - at[0])
    surrogates = {name: lags.same_spectrum(x, rng) for name, x in moves.items()}
    tests = [lags.lag_test(moves[a], moves[b], surrogates[a], rng, count) for a, b in pairs]
    q = q_values([test.p["any"] for test in tests])
    rows = [_row(pair, test, q_, every) for pair, test, q_ in zip(pairs, tests, q, strict=True)]
    return sorted(rows, key=lambda row: row["q"]), left_out


def _enough(measurements, names):
    """Decide whether a test of each pair can pass the correction for all of them."""
    tests = names * (names - 1) // 2
    return lags.least_p(measurements - 1, tests) * tests <= lags.LEVEL


def _row(pair, test, q, every):
    best, interval = test.best_lag, test.interval
    if best < 0:  # the second quantity leads: name it first
        pair, best, interval = pair[::-1], -best, (-interval[1], -interval[0])
    said = lags.verdict(q, test)
    said = {"lags": "leads"}.get(said, said)
    return {
        "first": pair[0],
        "second": pair[1],
        "r": float(test.r_K[lags.LAGS == test.best_lag][0]),
        "lag": best * every,
        "lag_low": interval[0] * every,
        "lag_high": interval[1] * every,
        "q": float(q),
        "verdict": said,
    }
