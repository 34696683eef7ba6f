"""How pyEDM 2.5.7 chooses rows and random libraries, for comparisons with it."""

import numpy as np

from analysis.edm.embedding import delays, targets


def library_rows(spans, dimension, tau, horizon):
    """Rows of 1-based inclusive spans that pyEDM uses as a library."""
    found = []
    for last, start, stop in zip(
        [i == len(spans) - 2 for i in range(0, len(spans), 2)], spans[::2], spans[1::2], strict=True
    ):
        start, stop = start - 1, stop
        reach = abs(tau) * (dimension - 1)
        start, stop = (start + reach, stop) if tau < 0 else (start, stop - reach)
        if horizon < 0:
            start += abs(horizon) - 1
        elif last:
            stop -= horizon
        found.append(np.arange(start, stop))
    return np.concatenate(found)


def prediction_rows(spans):
    """Rows of 1-based inclusive spans."""
    pairs = zip(spans[::2], spans[1::2], strict=True)
    return np.concatenate([np.arange(start - 1, stop) for start, stop in pairs])


def libraries(x, y, dimension, tau, horizon, sizes, samples, seed):
    """The subsets that pyEDM draws: the same stream for every size and direction."""
    states, moved = delays(x, dimension, tau), targets(y, horizon)
    total = int((np.isfinite(states).all(1) & np.isfinite(moved)).sum())
    drawn = []
    for size in sizes:
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        drawn.append(
            np.stack([np.sort(rng.choice(total, size, replace=False)) for _ in range(samples)])
        )
    return drawn


def coupled_maps(length, x_by_y, y_by_x, noise=0.0, seed=0):
    """Logistic maps that act on each other; the first 301 steps are left out."""
    rng = np.random.default_rng(seed)
    x, y, found = 0.4, 0.2, []
    for _ in range(301 + length):
        found.append((x, y))
        x, y = x * (3.8 - 3.8 * x - x_by_y * y), y * (3.5 - 3.5 * y - y_by_x * x)
        if noise:
            x, y = np.clip([x, y] + noise * rng.standard_normal(2), 0.001, 0.999)
    return np.array(found[301:]).T
