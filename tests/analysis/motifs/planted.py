"""Series that pass through known states: in each, one channel oscillates at its own period."""

import numpy as np

PERIODS = (24, 10, 4)


def passing(seeds=2, points=2000, channels=3, seed=0, order=None):
    """[S, T, C] channels and the states [S, T], which last 60 to 160 points.

    States follow in random order, or all seeds go once through those given.
    """
    rng = np.random.default_rng(seed)
    x = 0.3 * rng.standard_normal((seeds, points, channels))
    states = np.empty((seeds, points), int)
    for i in range(seeds):
        if order is None:
            each = rng.integers(60, 160, points)
            label = np.repeat(rng.integers(0, len(PERIODS), points), each)[:points]
        else:
            label = np.repeat(order, -(-points // len(order)))[:points]
        states[i] = label
        for k, period in enumerate(PERIODS):
            phase = 2 * np.pi * np.arange(points) / period + rng.uniform(0, 2 * np.pi)
            x[i, :, k % channels] += np.where(label == k, 2 * np.sin(phase), 0)
    return x, states
