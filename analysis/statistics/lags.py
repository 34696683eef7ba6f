"""Lag correlations of the increments of two series, tested against surrogates.

The tests answer whether one series moves before another. Two quantities of a training run share the
trends of the run, so their levels correlate at every lag. For this reason, differences between
seeds are compared. The trajectory that all seeds follow, each at its own speed, is removed (see
registration.py). Trends and changes of the variance are removed, too. A single seed has no
differences, so the series itself is compared after its trend is removed.

The null changes the sign of whole blocks of time of the first series, in all seeds (and all runs)
at once. If the two series are independent and the first is as likely to move up as down, this
leaves their joint distribution unchanged. Sign changes form a group. The same sign for all rows
keeps everything that rows have in common, such as the order of batches, a seed with more noise than
the others, or a volatility that both series share. The only approximation is to neglect
correlations across the edges of blocks. A second null, the guard, has to agree: surrogates with the
same spectrum, and with the same phases in all rows. Lags are in measurements. Positive lags mean
that the first series leads.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from analysis.statistics.registration import without_course
from analysis.statistics.surrogates import circular_shifts, iaaft, p_value, same_phases

REACH = 20  # largest lag
TREND = 20.0  # standard deviation of the Gaussian by which trend and variance are estimated
CLIP = 5.0
LEAST_SHIFT = 20  # smallest shift in measurements, in addition to the largest lag
LEAST_LENGTH = 90
# Shortest and longest block in measurements, and the preferred minimum number of blocks.
SHORT_BLOCK, LONG_BLOCK, BLOCKS = 10, 20, 20
SURROGATES = 4999
FEW_SURROGATES, TRIALS = 199, 40
PER_TEST = 40  # surrogates per test that is corrected for
RESAMPLES = 499
LEVEL = 0.05
BOTH_WAYS = 0.5  # peak of the weaker side relative to the stronger one from which it counts
RESOLUTION = 5  # series are simultaneous if the interval of the best lag is within +- 5
LAGS = np.arange(-REACH, REACH + 1)
SIDES = {"any": LAGS < np.inf, "leads": LAGS > 0, "lags": LAGS < 0}
EVENT_SIZE, EVENT_GAP, EVENT_WINDOW, LEAST_EVENTS = 3.0, 10, 10, 5
MAD_TO_SD = 1.4826
VERDICTS = ("leads", "lags", "simultaneous", "order undetermined", "no evidence")


class LagTest(NamedTuple):
    """Correlation of two series at each lag, with its p-values.

    `r_K` is the correlation at each of `LAGS`, mean over rows. `peak` is the largest |r| on each of
    `SIDES`, and `p` is its p-value against random signs of blocks. `p_guard` is the p-value at any
    lag against series of the same spectrum. `best_lag` is the lag of the largest |r|, and
    `interval` its 90 % interval. `null_95` is the 95 % quantile over surrogates of the largest |r|
    over all lags, in the null where this quantile is larger.
    """

    r_K: np.ndarray
    peak: dict[str, float]
    p: dict[str, float]
    p_guard: float
    best_lag: int
    interval: tuple[int, int]
    null_95: float


def increments(level_SxT, smooth: float) -> np.ndarray:
    """Return how the changes of each seed differ from those of the other seeds.

    Args:
      level_SxT: measured levels, [S, T].
      smooth: standard deviation, in measurements, of a Gaussian that reduces measurement noise.

    Returns:
      Increments [S, T - 1] without the trajectory that seeds share and without trend. They have
      equal variance over seeds and time and are clipped at 5 times the local mean size. They are
      zero where a series is constant. Rows are weighted residuals of the seeds. Their weighted sum
      is zero, so they are not independent of one another.

    Raises:
      ValueError: there are too few measurements, a value is not finite, or a series never changes.
    """
    x = gaussian_filter1d(_changes(level_SxT), smooth, axis=1)
    x = _equal_seeds(x - gaussian_filter1d(x, TREND, axis=1))
    typical = np.abs(x).mean(1, keepdims=True)
    # The floor prevents a period in which a series is constant from being amplified.
    scale = np.maximum(gaussian_filter1d(np.abs(x), TREND, axis=1), 0.05 * typical)
    return np.clip(x / scale, -CLIP, CLIP)


def _changes(level_SxT):
    level_SxT = np.asarray(level_SxT, float)
    seeds, length = level_SxT.shape
    if length < LEAST_LENGTH:
        raise ValueError(
            f"{length} measurements of {seeds} seeds are too few for lags, "
            f"at least {LEAST_LENGTH} are needed"
        )
    if not np.isfinite(level_SxT).all():
        raise ValueError("a series has values that are not finite")
    apart = level_SxT if seeds == 1 else level_SxT - level_SxT.mean(0)
    if not (np.ptp(np.diff(apart), axis=1) > 1e-12 * np.abs(level_SxT).max()).all():
        raise ValueError("a series never changes, or does not differ between seeds")
    return np.diff(without_course(level_SxT))


def _equal_seeds(x_SxT):
    """Return residuals from the weighted mean over seeds, in units of the noise of each seed."""
    if len(x_SxT) == 1:
        return x_SxT / np.abs(x_SxT).mean()
    variance_S = seed_variances(x_SxT)
    shared_T = (x_SxT / variance_S[:, None]).sum(0) / (1 / variance_S).sum()
    return (x_SxT - shared_T) / np.sqrt(variance_S)[:, None]


def seed_variances(x_SxT) -> np.ndarray:
    """Estimate the variance of the individual noise of each seed around a series that all share.

    The difference of two seeds does not contain the shared series, and its variance is the sum of
    the two individual variances (the N-cornered hat of Gray and Allan 1974,
    https://doi.org/10.1109/FREQ.1974.200027).

    Args:
      x_SxT: series of at least two seeds, [S, T].

    Returns:
      Variances [S], at least a hundredth of the mean over seeds. They are equal for two seeds,
      because the variances of two seeds cannot be separated.
    """
    seeds = len(x_SxT)
    apart = x_SxT[:, None] - x_SxT[None]
    pairs_SxS = np.square(MAD_TO_SD * np.median(np.abs(apart), 2))
    if not (pairs_SxS[~np.eye(seeds, dtype=bool)] > 0).all():  # series that are mostly constant
        pairs_SxS = np.square(apart).mean(2)
    total = pairs_SxS.sum() / 2 / (seeds - 1)
    if seeds == 2:
        return np.full(2, total / 2)
    return np.maximum((pairs_SxS.sum(1) - total) / (seeds - 2), 0.01 * total / seeds)


def block_length(length: int) -> int:
    """Return the measurements per block: 20, or down to 10 if there would be under 20 blocks."""
    return int(np.clip(length // BLOCKS, SHORT_BLOCK, LONG_BLOCK))


def least_p(length: int, tests: int) -> float:
    """Return the smallest p-value that a test of a series of a given length can have.

    Args:
      length: number of increments.
      tests: number of p-values that are corrected together.

    Returns:
      A probability, limited by the number of blocks or by the number of surrogates.
    """
    patterns = 2.0 ** (length // block_length(length) - 1)
    return max(1 / patterns, 1 / (surrogates_for(tests) + 1))


def surrogates_for(tests: int) -> int:
    """Return the number of surrogates with which one effect can pass the correction for tests."""
    return max(SURROGATES, PER_TEST * tests)


def correlate(x_SxT, y_SxT) -> np.ndarray:
    """Compute the circular correlation of x(t) with y(t + j) at every displacement j.

    Args:
      x_SxT: first series, [..., S, T].
      y_SxT: second series, [..., S, T]; leading axes broadcast.

    Returns:
      Correlations [..., S, T], with the displacement j along the last axis.
    """
    length = x_SxT.shape[-1]
    fx, fy = (np.fft.rfft(_standard(v)) for v in (x_SxT, y_SxT))
    return np.fft.irfft(fx.conj() * fy, length) / length


def same_spectrum(x_SxT, rng: np.random.Generator) -> np.ndarray:
    """Make surrogates with the spectra of all rows, which can be used in any number of tests.

    Args:
      x_SxT: increments, [S, T].
      rng: random generator.

    Returns:
      Surrogates [N, S, T]. All rows get the same random phases, which keeps the dependence between
      rows. Surrogates of a single row also keep its values.
    """
    if len(x_SxT) == 1:
        return iaaft(x_SxT[0], FEW_SURROGATES, rng)[:, None]
    return same_phases(x_SxT, np.zeros(len(x_SxT), int), FEW_SURROGATES, rng)


def lag_test(
    x_SxT, y_SxT, spectral_NxSxT, rng: np.random.Generator, count: int = SURROGATES
) -> LagTest:
    """Test the correlation at each lag, averaged over rows, against surrogates.

    Args:
      x_SxT: increments of the first series from `increments`, [S, T].
      y_SxT: increments of the second series from `increments`, [S, T].
      spectral_NxSxT: surrogates of x from `same_spectrum`, [N, S, T].
      rng: random generator.
      count: number of sign patterns; see `surrogates_for`.

    Returns:
      The LagTest.
    """
    blocks_KxB = _block_products(x_SxT, y_SxT)
    signs_NxK = (blocks_KxB @ rng.choice((-1.0, 1.0), (blocks_KxB.shape[1], count))).T
    guard_NxK = _at_lags(correlate(spectral_NxSxT, y_SxT))
    r_K = _at_lags(correlate(x_SxT, y_SxT))
    in_blocks, peak = _peaks(blocks_KxB.sum(1)), _peaks(r_K)
    p = {side: p_value(in_blocks[side], null) for side, null in _peaks(signs_NxK).items()}
    return LagTest(
        r_K,
        {side: float(value) for side, value in peak.items()},
        p,
        p_value(peak["any"], _peaks(guard_NxK)["any"]),
        int(LAGS[np.abs(r_K).argmax()]),
        _best_lag_interval(blocks_KxB, rng),
        float(max(np.quantile(np.abs(null).max(1), 0.95) for null in (signs_NxK, guard_NxK))),
    )


def verdict(q: float, test: LagTest, level: float = LEVEL) -> str:
    """Summarise the result of a test as one of `VERDICTS`.

    Args:
      q: false discovery rate of a correlation at any lag.
      test: result of `lag_test`. Its guard has to agree, too.
      level: largest q at which a correlation is claimed.

    Returns:
      `no evidence`: the correlation does not exceed that of surrogates. `simultaneous`: the 90 %
      interval of the best lag contains 0 and lies within 5 measurements of it. `leads` or `lags`:
      the interval lies on one side of 0, and the peak on the other side is less than half as high.
      `order undetermined`: the series are coupled, but none of these three cases holds. The weaker
      side counts against an order only if both sides have p at most .05.
    """
    if not (q <= level and test.p_guard <= LEVEL):
        return "no evidence"
    low, high = test.interval
    sides = [test.peak["leads"], test.peak["lags"]]
    if -RESOLUTION <= min(low, test.best_lag) and max(high, test.best_lag) <= RESOLUTION:
        if low <= 0 <= high:
            return "simultaneous"
    if max(test.p["leads"], test.p["lags"]) <= LEVEL and min(sides) >= BOTH_WAYS * max(sides):
        return "order undetermined"
    if low > 0 and test.best_lag > 0:
        return "leads"
    return "lags" if high < 0 and test.best_lag < 0 else "order undetermined"


def planted_power(x_SxT, y_SxT, spectral_NxSxT, rho, lag: int, rng, tests: int = 1) -> float:
    """Compute how often a planted lead is found: y(t) = rho x(t - lag) + sqrt(1 - rho^2) y'(t).

    y' is the second series of the run, shifted in time far enough to be unrelated to the first.

    Args:
      x_SxT: increments of the first series, [S, T]; see `lag_test`.
      y_SxT: increments of the second series, [S, T].
      spectral_NxSxT: surrogates of x, [N, S, T].
      rho: strength of the planted lead, 0 to 1; 0 gives the rate of false leads.
      lag: lag of the planted lead in measurements.
      rng: random generator.
      tests: number of p-values that are corrected together.

    Returns:
      Share of 40 trials in which the verdict is `leads`. The planted lead is taken to be the only
      effect among `tests` tests, so its p has to reach the level divided by their number.
    """
    x, found = _standard(x_SxT), 0
    count = FEW_SURROGATES if tests == 1 else PER_TEST * tests
    for _ in range(TRIALS):
        move = int(circular_shifts(x.shape[1], LEAST_SHIFT + REACH, (), rng))
        unlinked = np.roll(_standard(y_SxT), move, 1)
        planted = rho * np.roll(x, lag, 1) + np.sqrt(1 - rho**2) * unlinked
        test = lag_test(x, planted, spectral_NxSxT, rng, count)
        found += verdict(test.p["any"] * tests, test) == "leads"
    return found / TRIALS


def events(x_SxT) -> list[np.ndarray]:
    """Return the indices of unusually large changes of each series, 10 or more measurements apart.

    Args:
      x_SxT: increments, [S, T].

    Returns:
      One integer array per series.
    """
    found = []
    for x in x_SxT:
        limit = EVENT_SIZE * MAD_TO_SD * np.median(np.abs(x - np.median(x)))
        large = np.flatnonzero(np.abs(x) > limit)
        kept: list[int] = []
        for i in large:
            if not kept or i - kept[-1] >= EVENT_GAP:
                kept.append(int(i))
        found.append(np.array(kept, int))
    return found


def event_average(x_SxT, y_SxT, rng: np.random.Generator) -> dict:
    """Average y around large changes of x, each multiplied by the sign of the change.

    Surrogates use the same events, all shifted by the same time.

    Args:
      x_SxT: increments of the first series, [S, T]; see `lag_test`.
      y_SxT: increments of the second series, [S, T].
      rng: random generator.

    Returns:
      `events`, the number of events; `mean`, the mean of y at each of `LAGS`; `low` and `high`, the
      interval that contains 95 % of the surrogates; `change`, the mean of y over the 10
      measurements after an event minus that over the 10 before it; and `p`, the p-value of the size
      of `change`. All except `events` are None with fewer than 5 events.
    """
    at = events(x_SxT)
    count = sum(map(len, at))
    if count < LEAST_EVENTS:
        return {"events": count} | dict.fromkeys(("mean", "low", "high", "change", "p"))
    signs = [np.sign(x[i]) for x, i in zip(x_SxT, at, strict=True)]
    length = x_SxT.shape[1]

    def average(move):
        parts = [
            s[:, None] * y[(i[:, None] + move + LAGS) % length]
            for s, y, i in zip(signs, y_SxT, at, strict=True)
        ]
        return np.concatenate(parts).mean(0)

    def change(mean_K):
        near = np.abs(LAGS) <= EVENT_WINDOW
        return mean_K[near & (LAGS > 0)].mean() - mean_K[near & (LAGS < 0)].mean()

    moves = circular_shifts(length, LEAST_SHIFT, FEW_SURROGATES, rng)
    null_NxK = np.stack([average(move) for move in moves])
    mean_K = average(0)
    low, high = np.quantile(null_NxK, (0.025, 0.975), axis=0)
    changes = np.abs([change(row) for row in null_NxK])
    return {
        "events": count,
        "mean": mean_K.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "change": float(change(mean_K)),
        "p": p_value(abs(change(mean_K)), changes),
    }


def _standard(v):
    v = v - v.mean(-1, keepdims=True)
    return v / v.std(-1, keepdims=True)


def _at_lags(whole_xSxT):
    """Return circular correlations at `LAGS`, averaged over rows, [..., K]."""
    return whole_xSxT[..., LAGS].mean(-2)  # negative lags index from the end of the axis


def _peaks(r_xK):
    return {side: np.abs(r_xK[..., chosen]).max(-1) for side, chosen in SIDES.items()}


def _block_products(x_SxT, y_SxT):
    """Return the contribution of each block of time to the correlation at each lag, [K, B]."""
    x, y = _standard(x_SxT), _standard(y_SxT)
    length = x.shape[1]
    block = block_length(length)
    count = length // block
    products_KxT = np.stack([(x * np.roll(y, -k, 1)).mean(0) for k in LAGS])[:, : count * block]
    return products_KxT.reshape(len(LAGS), count, block).sum(2) / (count * block)


def _best_lag_interval(blocks_KxB, rng):
    """Return the 90 % interval of the lag of the largest |r| over resamples of blocks of time."""
    count = blocks_KxB.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    best = LAGS[np.abs(blocks_KxB @ drawn.T).argmax(0)]
    low, high = np.quantile(best, (0.05, 0.95), method="nearest")
    return int(low), int(high)
