"""Does one series move before another? Lag correlations of increments against surrogates.

Two quantities of a training run share its trends, so their levels correlate at every lag. What is
compared here are differences between seeds (so that the course that all seeds share cancels), in
increments without trend and without changing variance. Significance is against three nulls: the
same series shifted in time, series of the same spectrum, and blocks of time with random signs,
which alone keep a variance that changes in both series at once. Lags are in measurements;
positive ones mean that the first series leads.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import helmert
from scipy.ndimage import gaussian_filter1d

from analysis.surrogates import circular_shifts, iaaft, p_value, same_phases

REACH = 20  # largest lag
TREND = 20.0  # standard deviation of the Gaussian that takes out trend and variance
CLIP = 5.0
LEAST_SHIFT = 20  # beyond the largest lag
LEAST_LENGTH = 90
BLOCK = 20  # measurements that are resampled, or change their sign, together
SURROGATES = 4999  # so that a p-value can pass a correction for hundreds of tests
FEW_SURROGATES, TRIALS = 199, 40  # where .05 is all that is asked
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

    `r_K`, the mean over rows at each of `LAGS`; for each of `SIDES` the `peak` |r|, `p`, the
    larger of the p-values against shifted series and signs of blocks, and `p_spectrum`, that
    against series of the same spectrum, a coarser guard; `best_lag` and its 90 % interval;
    `null_95`, the |r| that 95 % of surrogates stay below at all lags, in the null where it is
    largest.
    """

    r_K: np.ndarray
    peak: dict[str, float]
    p: dict[str, float]
    p_spectrum: dict[str, float]
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
      ValueError: too few measurements, or a series that never changes.
    """
    level_SxT = np.asarray(level_SxT, float)
    seeds, length = level_SxT.shape
    if length < LEAST_LENGTH:
        raise ValueError(f"{length} measurements are too few for lags, at least {LEAST_LENGTH}")
    rows = level_SxT if seeds == 1 else helmert(seeds) @ level_SxT
    x = gaussian_filter1d(np.diff(rows), smooth, axis=1)
    x = x - gaussian_filter1d(x, TREND, axis=1)
    typical = np.abs(x).mean(1, keepdims=True)
    if not (typical > 0).all():
        raise ValueError("a series never changes")
    # The floor keeps a stretch where a series stands still from being blown up.
    scale = np.maximum(gaussian_filter1d(np.abs(x), TREND, axis=1), 0.05 * typical)
    return np.clip(x / scale, -CLIP, CLIP)


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
    r_K, blocks_KxSxB = _at_lags(correlate(x_SxT, y_SxT)), _block_products(x_SxT, y_SxT)
    peak = {side: float(value) for side, value in _peaks(r_K).items()}
    nulls = _nulls(x_SxT, y_SxT, group_S, spectral_NxSxT, SURROGATES, rng)
    shifted, spectral, signs = (
        {side: p_value(peak[side], null) for side, null in _peaks(null_NxK).items()}
        for null_NxK in nulls
    )
    return LagTest(
        r_K,
        peak,
        {side: max(shifted[side], signs[side]) for side in SIDES},
        spectral,
        int(LAGS[np.abs(r_K).argmax()]),
        _best_lag_interval(blocks_KxSxB, rng),
        float(max(np.quantile(np.abs(null).max(1), 0.95) for null in nulls)),
    )


def _nulls(x_SxT, y_SxT, group_S, spectral_NxSxT, count, rng):
    """Correlations at `LAGS`, [N, K], of shifted series, the same spectrum and signs of blocks."""
    return (
        _shifted(correlate(x_SxT, y_SxT), group_S, count, rng),
        _at_lags(correlate(spectral_NxSxT, y_SxT)),
        _flipped(_block_products(x_SxT, y_SxT), group_S, count, rng),
    )


def verdict(q: float, test: LagTest) -> str:
    """What a test says in one phrase.

    Args:
      q: false discovery rate at which there is a correlation at any lag.
      test: its peak must also stand out from series of the same spectrum.

    Returns:
      `leads`, `lags`, `simultaneous` (within 5 measurements, or in both directions), or
      `no evidence`: either there is no correlation beyond what surrogates have, or its lag is
      not determined.
    """
    if q > LEVEL or test.p_spectrum["any"] > LEVEL:
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
      rho: strength; 0 gives the false positive rate.
      lag: of the plant.
      rng: random generator.

    Returns:
      Share of 40 trials in which p is at most .05 for `leads`, against every null.
    """
    x, found = _standard(x_SxT), 0
    for _ in range(TRIALS):
        moved = _moves(x.shape[1], LEAST_SHIFT + REACH, 1, group_S, rng)[0]
        unlinked = np.stack([np.roll(y, m) for y, m in zip(_standard(y_SxT), moved, strict=True)])
        planted = rho * np.roll(x, lag, 1) + np.sqrt(1 - rho**2) * unlinked
        peak = _peaks(_at_lags(correlate(x, planted)))["leads"]
        nulls = _nulls(x, planted, group_S, spectral_NxSxT, FEW_SURROGATES, rng)
        found += all(p_value(peak, _peaks(null)["leads"]) <= LEVEL for null in nulls)
    return found / TRIALS


def granger(x_SxT, y_SxT, group_S, rng: np.random.Generator) -> dict:
    """Whether the past of x helps to predict y beyond y's own past (Granger 1969).

    The F statistic's own distribution assumes white residuals; this is judged by shifting x.

    Args:
      x_SxT, y_SxT, group_S: see `lag_test`.
      rng: random generator.

    Returns:
      `gain`, the mean over seeds of the share of y's unexplained variance that x's past
      explains, and `p`.
    """
    moves = _moves(x_SxT.shape[1], LEAST_SHIFT, FEW_SURROGATES, group_S, rng)
    own = [_Explained(y) for y in y_SxT]
    gain = np.mean([o.by(x) for o, x in zip(own, x_SxT, strict=True)])
    null = [
        np.mean([o.by(np.roll(x, m)) for o, x, m in zip(own, x_SxT, move, strict=True)])
        for move in moves
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


def _block_products(x_SxT, y_SxT):
    """[K, S, B] what each block of time in each row adds to the mean correlation at each lag."""
    x, y = _standard(x_SxT), _standard(y_SxT)
    count = x.shape[1] // BLOCK
    products_KxSxT = np.stack([x * np.roll(y, -k, 1) for k in LAGS])[:, :, : count * BLOCK]
    blocks_KxSxB = products_KxSxT.reshape(len(LAGS), len(x), count, BLOCK).sum(3)
    return blocks_KxSxB / (len(x) * count * BLOCK)


def _flipped(blocks_KxSxB, group_S, count, rng):
    groups = range(max(group_S) + 1)
    by_group = np.stack([blocks_KxSxB[:, group_S == g].sum(1) for g in groups], 1)
    signs = rng.choice((-1.0, 1.0), (by_group[0].size, count))
    return (by_group.reshape(len(LAGS), -1) @ signs).T


def _best_lag_interval(blocks_KxSxB, rng):
    """Where the largest |r| lies in 90 % of resamples of blocks of time."""
    flat_KxN = blocks_KxSxB.reshape(len(LAGS), -1)
    count = flat_KxN.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), SURROGATES)
    best = LAGS[np.abs(flat_KxN @ drawn.T).argmax(0)]
    low, high = np.quantile(best, (0.05, 0.95), method="nearest")
    return int(low), int(high)
