"""Does one series move before another? Lag correlations of increments against surrogates.

Two quantities of a training run share its trends, so their levels correlate at every lag. The
series compared here are differences between seeds: the course that all seeds run through, each at
its own speed, is removed (see registration.py), and so are trends and changes of variance. Of a
single seed the series itself is compared, without its trend.

The null changes the sign of whole blocks of time of the first series, in all seeds (and all runs)
at once. If the two series are independent and the first is as likely to move up as down, this
leaves their joint distribution unchanged: sign changes are a group, and one sign for all rows keeps
whatever rows have in common, such as the order of batches, a seed with more noise than the
others, or a volatility that both series share. Correlations across the edges of blocks are the
only approximation. A guard has to agree: series of the same spectrum, with the same phases in all
rows. Lags are in measurements; positive ones mean that the first series leads.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from analysis.statistics.registration import without_course
from analysis.statistics.surrogates import circular_shifts, iaaft, p_value, same_phases

REACH = 20  # largest lag
TREND = 20.0  # standard deviation of the Gaussian that takes out trend and variance
CLIP = 5.0
LEAST_SHIFT = 20  # beyond the largest lag
LEAST_LENGTH = 90
SHORT_BLOCK, LONG_BLOCK, BLOCKS = 10, 20, 20  # measurements in a block; blocks if there is room
SURROGATES = 4999
FEW_SURROGATES, TRIALS = 199, 40
PER_TEST = 40  # surrogates for every test that a p-value is corrected for
RESAMPLES = 499
LEVEL = 0.05
BOTH_WAYS = 0.5  # share of the stronger side's peak that the weaker one needs to count
RESOLUTION = 5  # an interval of the best lag this close around 0 is called simultaneous
LAGS = np.arange(-REACH, REACH + 1)
SIDES = {"any": LAGS < np.inf, "leads": LAGS > 0, "lags": LAGS < 0}
EVENT_SIZE, EVENT_GAP, EVENT_WINDOW, LEAST_EVENTS = 3.0, 10, 10, 5
MAD_TO_SD = 1.4826
VERDICTS = ("leads", "lags", "simultaneous", "order undetermined", "no evidence")


class LagTest(NamedTuple):
    """How two series correlate at each lag.

    `r_K`, the mean over rows at each of `LAGS`; for each of `SIDES` the `peak` |r| and its `p`
    against random signs of blocks; `p_guard`, the p at any lag against series of the same
    spectrum; `best_lag` and its 90 % interval; `null_95`, the |r| that 95 % of surrogates stay
    below at all lags, in the null where it is largest.
    """

    r_K: np.ndarray
    peak: dict[str, float]
    p: dict[str, float]
    p_guard: float
    best_lag: int
    interval: tuple[int, int]
    null_95: float


def increments(level_SxT, smooth: float) -> np.ndarray:
    """Return how each seed's changes differ from those of the others.

    Args:
      level_SxT: measured levels.
      smooth: standard deviation of a Gaussian over measurements, against measurement noise.

    Returns:
      [S, T - 1], without the course that seeds share, without trend, with equal variance over
      seeds and time, clipped at 5 times the local mean size; zero where a series stands still.
      Rows are weighted residuals of the seeds and add up to zero after weighting, so they are not
      independent of one another.

    Raises:
      ValueError: too few measurements, values that are not finite, a series that never changes.
    """
    x = gaussian_filter1d(_changes(level_SxT), smooth, axis=1)
    x = _equal_seeds(x - gaussian_filter1d(x, TREND, axis=1))
    typical = np.abs(x).mean(1, keepdims=True)
    # The floor keeps a stretch where a series stands still from being blown up.
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
    """Residuals from the weighted mean over seeds, in units of each seed's own noise."""
    if len(x_SxT) == 1:
        return x_SxT / np.abs(x_SxT).mean()
    variance_S = seed_variances(x_SxT)
    shared_T = (x_SxT / variance_S[:, None]).sum(0) / (1 / variance_S).sum()
    return (x_SxT - shared_T) / np.sqrt(variance_S)[:, None]


def seed_variances(x_SxT) -> np.ndarray:
    """Estimate the variance of each seed's own noise beneath a series that all seeds share.

    Differences of two seeds do not hold what they share, and their variances are sums of the two
    own ones (the N-cornered hat of Gray and Allan 1974, https://doi.org/10.1109/FREQ.1974.200027).

    Args:
      x_SxT: series of at least two seeds.

    Returns:
      [S], positive: at least a hundredth of the mean over seeds. Equal for two seeds, whose
      variances cannot be distinguished.
    """
    seeds = len(x_SxT)
    apart = x_SxT[:, None] - x_SxT[None]
    pairs_SxS = np.square(MAD_TO_SD * np.median(np.abs(apart), 2))
    if not (pairs_SxS[~np.eye(seeds, dtype=bool)] > 0).all():  # series that mostly stand still
        pairs_SxS = np.square(apart).mean(2)
    total = pairs_SxS.sum() / 2 / (seeds - 1)
    if seeds == 2:
        return np.full(2, total / 2)
    return np.maximum((pairs_SxS.sum(1) - total) / (seeds - 2), 0.01 * total / seeds)


def block_length(length: int) -> int:
    """Measurements per block: 20 in long series, fewer if that leaves fewer than 20 blocks."""
    return int(np.clip(length // BLOCKS, SHORT_BLOCK, LONG_BLOCK))


def least_p(length: int, tests: int) -> float:
    """The smallest p that a test of so many measurements can have.

    Args:
      length: of the increments.
      tests: number of p-values that are corrected together.

    Returns:
      A probability; the number of blocks or that of surrogates limits it.
    """
    patterns = 2.0 ** (length // block_length(length) - 1)
    return max(1 / patterns, 1 / (surrogates_for(tests) + 1))


def surrogates_for(tests: int) -> int:
    """Number of surrogates with which one effect among so many tests can pass the correction."""
    return max(SURROGATES, PER_TEST * tests)


def correlate(x_SxT, y_SxT) -> np.ndarray:
    """Circular correlation of two series at every displacement j: of x(t) with y(t + j).

    Args:
      x_SxT, y_SxT: series; leading axes broadcast.

    Returns:
      [S, T].
    """
    length = x_SxT.shape[-1]
    fx, fy = (np.fft.rfft(_standard(v)) for v in (x_SxT, y_SxT))
    return np.fft.irfft(fx.conj() * fy, length) / length


def same_spectrum(x_SxT, rng: np.random.Generator) -> np.ndarray:
    """Return surrogates of all rows with their spectra, for any number of tests.

    Args:
      x_SxT: increments.
      rng: random generator.

    Returns:
      [N, S, T]; all rows get the same random phases, which keeps what they have in common. A
      single row also keeps its values.
    """
    if len(x_SxT) == 1:
        return iaaft(x_SxT[0], FEW_SURROGATES, rng)[:, None]
    return same_phases(x_SxT, np.zeros(len(x_SxT), int), FEW_SURROGATES, rng)


def lag_test(
    x_SxT, y_SxT, spectral_NxSxT, rng: np.random.Generator, count: int = SURROGATES
) -> LagTest:
    """Test the correlation over lags, averaged over rows, against surrogates.

    Args:
      x_SxT, y_SxT: from `increments`.
      spectral_NxSxT: surrogates of x from `same_spectrum`.
      rng: random generator.
      count: number of patterns of signs; see `surrogates_for`.

    Returns:
      A LagTest.
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
    """Say in one phrase what a test shows.

    Args:
      q: false discovery rate at which there is a correlation at any lag.
      test: its guard has to agree.
      level: largest q of a claim.

    Returns:
      `no evidence`: no correlation beyond what surrogates have; `simultaneous`: the 90 % interval
      of the best lag lies within 5 measurements around 0; `leads` or `lags`: it lies on one side
      of 0, and the other side is not correlated half as much; `order undetermined`: the series are
      coupled, but none of the three holds. The weaker side counts against an order only if its
      own p is at most .05, too.
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
    """Return how often a planted lead is found: y(t) = rho x(t - lag) + sqrt(1 - rho^2) y'(t).

    y' is the run's own second series, moved so far in time that nothing links it to the first.

    Args:
      x_SxT, y_SxT, spectral_NxSxT: see `lag_test`.
      rho: strength; 0 gives the rate of false leads.
      lag: of the plant.
      rng: random generator.
      tests: p-values that are corrected together.

    Returns:
      Share of 40 trials in which the verdict is `leads`, if this were the only effect among so
      many tests: its p has to reach the level divided by their number.
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
    """Indices of unusually large changes of each series, at least 10 measurements apart."""
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
    """Average y around large changes of x, each with the sign of the change.

    Args:
      x_SxT, y_SxT: see `lag_test`; surrogates are the same events, all moved by the same time.
      rng: random generator.

    Returns:
      `events`, how many; `mean` of y at each of `LAGS`; `low`, `high`, 95 % of the surrogates;
      `change`, the mean of y over the next 10 measurements minus that over the last 10, and `p`
      of its size. All None with fewer than 5 events.
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
    """Mean over rows of circular correlations at `LAGS`, [..., K]."""
    return whole_xSxT[..., LAGS].mean(-2)  # negative lags count from the end


def _peaks(r_xK):
    return {side: np.abs(r_xK[..., chosen]).max(-1) for side, chosen in SIDES.items()}


def _block_products(x_SxT, y_SxT):
    """[K, B] what each block of time adds to the mean correlation at each lag."""
    x, y = _standard(x_SxT), _standard(y_SxT)
    length = x.shape[1]
    block = block_length(length)
    count = length // block
    products_KxT = np.stack([(x * np.roll(y, -k, 1)).mean(0) for k in LAGS])[:, : count * block]
    return products_KxT.reshape(len(LAGS), count, block).sum(2) / (count * block)


def _best_lag_interval(blocks_KxB, rng):
    """Where the largest |r| lies in 90 % of resamples of blocks of time."""
    count = blocks_KxB.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    best = LAGS[np.abs(blocks_KxB @ drawn.T).argmax(0)]
    low, high = np.quantile(best, (0.05, 0.95), method="nearest")
    return int(low), int(high)
