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
