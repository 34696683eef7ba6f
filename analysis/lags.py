"""Does one series move before another? Lag correlations of increments against surrogates.

Two quantities of a training run share its trends, so their levels correlate at every lag. What is
compared here are differences between seeds (so that the course that all seeds share cancels), in
increments without trend and without changing variance. Significance is against blocks of time
with random signs, the only null of the three that keeps a variance which changes in both series
at once. Two guards have to agree: series of the same spectrum, and, where there are enough seeds
for it, series shifted in time. Lags are in measurements; positive ones mean that the first series
leads.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import helmert
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from analysis.surrogates import circular_shifts, iaaft, p_value, same_phases

REACH = 20  # largest lag
TREND = 20.0  # standard deviation of the Gaussian that takes out trend and variance
CLIP = 5.0
LEAST_SHIFT = 20  # beyond the largest lag
LEAST_LENGTH = 90
LEAST_BLOCKS = 8  # 2^8 patterns of signs
LEAST_GROUPS = 3  # with fewer, too few shifts differ from one another
BLOCK = 10  # measurements that are resampled, or change their sign, together
SURROGATES = 4999  # so that a p-value can pass a correction for hundreds of tests
FEW_SURROGATES, TRIALS = 199, 40  # where .05 is all that is asked
RESAMPLES = 499
LEVEL = 0.05
BOTH_WAYS = 0.5  # share of the stronger side's peak that the weaker one needs to count
RESOLUTION = 5  # an interval of the best lag this close around 0 is called simultaneous
LAGS = np.arange(-REACH, REACH + 1)
SIDES = {"any": LAGS < np.inf, "leads": LAGS > 0, "lags": LAGS < 0}
GRANGER_LAGS = 4
EVENT_SIZE, EVENT_GAP, EVENT_WINDOW, LEAST_EVENTS = 3.0, 10, 10, 5
MAD_TO_SD = 1.4826


class LagTest(NamedTuple):
    """How two series correlate at each lag.

    `r_K`, the mean over rows at each of `LAGS`; for each of `SIDES` the `peak` |r| and its `p`
    against random signs of blocks; `p_guard`, the larger p at any lag against series of the same
    spectrum and shifted series; `best_lag` and its 90 % interval; `null_95`, the |r| that 95 % of
    surrogates stay below at all lags, in the null where it is largest.
    """

    r_K: np.ndarray
    peak: dict[str, float]
    p: dict[str, float]
    p_guard: float
    best_lag: int
    interval: tuple[int, int]
    null_95: float


def increments(level_SxT, smooth: float) -> np.ndarray:
    """How seeds differ in their changes, without trend and with an even variance.

    Args:
      level_SxT: measured levels.
      smooth: standard deviation of a Gaussian over measurements, against measurement noise.

    Returns:
      [S - 1, T - 1], orthonormal (Helmert) contrasts between seeds, which are as independent of
      one another as the seeds; of one seed its own series. Clipped at 5 times their local mean
      size; zero where a series stands still.

    Raises:
      ValueError: too few measurements, values that are not finite, a series that never changes.
    """
    x = gaussian_filter1d(_contrasts(level_SxT), smooth, axis=1)
    x = x - gaussian_filter1d(x, TREND, axis=1)
    typical = np.abs(x).mean(1, keepdims=True)
    # The floor keeps a stretch where a series stands still from being blown up.
    scale = np.maximum(gaussian_filter1d(np.abs(x), TREND, axis=1), 0.05 * typical)
    return np.clip(x / scale, -CLIP, CLIP)


def causal_increments(level_SxT) -> np.ndarray:
    """How seeds differ in their changes, unsmoothed and scaled by the past alone.

    A symmetric filter, as in `increments`, would put the future of a series into its past.

    Args:
      level_SxT: measured levels.

    Returns:
      [S - 1, T - 1], likewise.

    Raises:
      ValueError: see `increments`.
    """
    x = _contrasts(level_SxT)
    typical = np.abs(x).mean(1, keepdims=True)
    share = 1 / TREND
    past = np.roll(lfilter([share], [1, share - 1], np.abs(x), axis=1), 1, axis=1)
    weight = 1 - (1 - share) ** np.arange(x.shape[1])  # how much past there is
    past[:, 0] = 0.0
    scale = past + (1 - weight) * typical
    return np.clip(x / np.maximum(scale, 0.05 * typical), -CLIP, CLIP)


def _contrasts(level_SxT):
    level_SxT = np.asarray(level_SxT, float)
    seeds, length = level_SxT.shape
    blocks = (length - 1) // BLOCK * max(seeds - 1, 1)
    if length < LEAST_LENGTH or blocks < LEAST_BLOCKS:
        raise ValueError(
            f"{length} measurements of {seeds} seeds are too few for lags, "
            f"at least {LEAST_LENGTH} are needed"
        )
    if not np.isfinite(level_SxT).all():
        raise ValueError("a series has values that are not finite")
    x = np.diff(level_SxT if seeds == 1 else helmert(seeds) @ level_SxT)
    if not (np.ptp(x, axis=1) > 0).all():
        raise ValueError("a series never changes, or does not differ between seeds")
    return x


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


def same_spectrum(x_SxT, group_S, rng: np.random.Generator) -> np.ndarray:
    """Surrogates of each row with its spectrum, for any number of tests.

    Args:
      x_SxT: increments.
      group_S: rows of a group depend on one another; their surrogates keep that. If every row is
        a group of its own, surrogates also have its values.
      rng: random generator.

    Returns:
      [N, S, T].
    """
    if len(set(group_S)) < len(x_SxT):
        return same_phases(x_SxT, group_S, FEW_SURROGATES, rng)
    return np.stack([iaaft(x, FEW_SURROGATES, rng) for x in x_SxT], 1)


def lag_test(x_SxT, y_SxT, group_S, spectral_NxSxT, rng: np.random.Generator) -> LagTest:
    """Correlation over lags, averaged over rows, against surrogates.

    Args:
      x_SxT, y_SxT: from `increments`.
      group_S: surrogates treat rows of a group alike.
      spectral_NxSxT: surrogates of x from `same_spectrum`.
      rng: random generator.

    Returns:
      A LagTest.
    """
    return _tested(x_SxT, y_SxT, group_S, spectral_NxSxT, SURROGATES, rng)


def _tested(x_SxT, y_SxT, group_S, spectral_NxSxT, count, rng):
    whole_SxT = correlate(x_SxT, y_SxT)
    blocks_KxGxB = _block_products(x_SxT, y_SxT, group_S)
    signs_NxK = _flipped(blocks_KxGxB, count, rng)
    guards = [_at_lags(correlate(spectral_NxSxT, y_SxT))]
    if blocks_KxGxB.shape[1] >= LEAST_GROUPS:
        guards.append(_shifted(whole_SxT, group_S, FEW_SURROGATES, rng))
    r_K = _at_lags(whole_SxT)
    in_blocks, peak = _peaks(blocks_KxGxB.sum((1, 2))), _peaks(r_K)
    p = {side: p_value(in_blocks[side], null) for side, null in _peaks(signs_NxK).items()}
    return LagTest(
        r_K,
        {side: float(value) for side, value in peak.items()},
        p,
        max(p_value(peak["any"], _peaks(null)["any"]) for null in guards),
        int(LAGS[np.abs(r_K).argmax()]),
        _best_lag_interval(blocks_KxGxB, rng),
        float(max(np.quantile(np.abs(null).max(1), 0.95) for null in (signs_NxK, *guards))),
    )


def verdict(q: float, test: LagTest) -> str:
    """What a test says in one phrase.

    Args:
      q: false discovery rate at which there is a correlation at any lag.
      test: its guards have to agree.

    Returns:
      `leads`, `lags`, `simultaneous` (within 5 measurements, or in both directions), or
      `no evidence`: either there is no correlation beyond what surrogates have, or its lag is
      not determined.
    """
    if not (q <= LEVEL and test.p_guard <= LEVEL):
        return "no evidence"
    sides = [test.peak["leads"], test.peak["lags"]]
    if max(test.p["leads"], test.p["lags"]) <= LEVEL and min(sides) >= BOTH_WAYS * max(sides):
        return "simultaneous"
    low, high = test.interval
    if low > 0:
        return "leads"
    if high < 0:
        return "lags"
    return "simultaneous" if -RESOLUTION <= low <= 0 <= high <= RESOLUTION else "no evidence"


def planted_power(x_SxT, y_SxT, group_S, spectral_NxSxT, rho, lag: int, rng) -> float:
    """How often a planted lead is found: y(t) = rho x(t - lag) + sqrt(1 - rho^2) y'(t).

    y' is the run's own second series, moved so far in time that nothing links it to the first.

    Args:
      x_SxT, y_SxT, group_S, spectral_NxSxT: see `lag_test`.
      rho: strength; 0 gives the rate of false leads.
      lag: of the plant.
      rng: random generator.

    Returns:
      Share of 40 trials in which the verdict is `leads`, if this were the only test.
    """
    x, found = _standard(x_SxT), 0
    for _ in range(TRIALS):
        moved = _moves(x.shape[1], LEAST_SHIFT + REACH, 1, group_S, rng)[0]
        unlinked = np.stack([np.roll(y, m) for y, m in zip(_standard(y_SxT), moved, strict=True)])
        planted = rho * np.roll(x, lag, 1) + np.sqrt(1 - rho**2) * unlinked
        test = _tested(x, planted, group_S, spectral_NxSxT, FEW_SURROGATES, rng)
        found += verdict(test.p["any"], test) == "leads"
    return found / TRIALS


def granger(x_SxT, y_SxT, group_S, rng: np.random.Generator) -> dict:
    """Whether the past of x helps to predict y beyond y's own past (Granger 1969).

    The F statistic's own distribution assumes white residuals of even variance; this is judged
    by random signs of blocks of x.

    Args:
      x_SxT, y_SxT: from `causal_increments`.
      group_S: see `lag_test`.
      rng: random generator.

    Returns:
      `gain`, the mean over seeds of the share of y's unexplained variance that x's past
      explains, and `p`.
    """
    length = x_SxT.shape[1]
    shape = (FEW_SURROGATES, max(group_S) + 1, -(-length // BLOCK))
    signs_NxSxB = rng.choice((-1.0, 1.0), shape)[:, group_S]
    own = [_Explained(y) for y in y_SxT]
    gain = np.mean([o.by(x) for o, x in zip(own, x_SxT, strict=True)])
    null = [
        np.mean([o.by(x) for o, x in zip(own, x_SxT * flipped_SxT, strict=True)])
        for flipped_SxT in np.repeat(signs_NxSxB, BLOCK, 2)[:, :, :length]
    ]
    return {"gain": float(gain), "p": p_value(gain, null)}


class _Explained:
    """What the past of another series adds to an autoregression of y."""

    def __init__(self, y):
        self.basis = np.linalg.qr(np.column_stack([np.ones(len(y) - GRANGER_LAGS), _past(y)]))[0]
        self.left = self._without(y[GRANGER_LAGS:])

    def _without(self, v):
        return v - self.basis @ (self.basis.T @ v)

    def by(self, x) -> float:
        added = np.linalg.qr(self._without(_past(x)))[0]
        return float(np.square(added.T @ self.left).sum() / np.square(self.left).sum())


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


def event_average(x_SxT, y_SxT, group_S, rng: np.random.Generator) -> dict:
    """Mean of y around large changes of x, each with the sign of the change.

    Args:
      x_SxT, y_SxT, group_S: see `lag_test`; surrogates are the same events at shifted times.
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

    def average(moves):
        parts = [
            s[:, None] * y[(i[:, None] + m + LAGS) % length]
            for s, y, i, m in zip(signs, y_SxT, at, moves, strict=True)
        ]
        return np.concatenate(parts).mean(0)

    def change(mean_K):
        near = np.abs(LAGS) <= EVENT_WINDOW
        return mean_K[near & (LAGS > 0)].mean() - mean_K[near & (LAGS < 0)].mean()

    moves = _moves(length, LEAST_SHIFT, FEW_SURROGATES, group_S, rng)
    null_NxK = np.stack([average(move) for move in moves])
    mean_K = average(np.zeros(len(at), int))
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


def _moves(length, least, count, group_S, rng):
    """[count, S] circular shifts, the same for all rows of a group."""
    return circular_shifts(length, least, (count, max(group_S) + 1), rng)[:, group_S]


def _shifted(whole_SxT, group_S, count, rng):
    """[N, K] correlations at `LAGS` after shifting the first series of each row."""
    rows, length = whole_SxT.shape
    moves_NxS = _moves(length, LEAST_SHIFT + REACH, count, group_S, rng)
    each = (
        whole[(m[:, None] + LAGS) % length] for whole, m in zip(whole_SxT, moves_NxS.T, strict=True)
    )
    return sum(each) / rows


def _peaks(r_xK):
    return {side: np.abs(r_xK[..., chosen]).max(-1) for side, chosen in SIDES.items()}


def _past(x):
    return np.stack([x[GRANGER_LAGS - i : len(x) - i] for i in range(1, GRANGER_LAGS + 1)], 1)


def _block_products(x_SxT, y_SxT, group_S):
    """[K, G, B] what each block of time in each group adds to the mean correlation at each lag."""
    x, y = _standard(x_SxT), _standard(y_SxT)
    rows, count = len(x), x.shape[1] // BLOCK
    products_KxSxT = np.stack([x * np.roll(y, -k, 1) for k in LAGS])[:, :, : count * BLOCK]
    blocks_KxSxB = products_KxSxT.reshape(len(LAGS), rows, count, BLOCK).sum(3)
    member_GxS = np.arange(max(group_S) + 1)[:, None] == np.asarray(group_S)
    return member_GxS.astype(float) @ blocks_KxSxB / (rows * count * BLOCK)


def _flipped(blocks_KxGxB, count, rng):
    flat_KxN = blocks_KxGxB.reshape(len(LAGS), -1)
    return (flat_KxN @ rng.choice((-1.0, 1.0), (flat_KxN.shape[1], count))).T


def _best_lag_interval(blocks_KxGxB, rng):
    """Where the largest |r| lies in 90 % of resamples of blocks of time."""
    flat_KxN = blocks_KxGxB.reshape(len(LAGS), -1)
    count = flat_KxN.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    best = LAGS[np.abs(flat_KxN @ drawn.T).argmax(0)]
    low, high = np.quantile(best, (0.05, 0.95), method="nearest")
    return int(low), int(high)
