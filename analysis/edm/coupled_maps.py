"""Simulated series whose links are known, for testing whether a procedure finds these links."""

import numpy as np

TRANSIENT = 301


def coupled_maps(length: int, x_by_y: float, y_by_x: float, noise: float = 0.0, seed: int = 0):
    """Simulate two chaotic logistic maps that act on each other.

    The equations are those of Sugihara et al. (2012), https://doi.org/10.1126/science.1227079.

    Args:
      length: number of points returned (T), after a transient of 301 points that is discarded.
      x_by_y: strength with which y acts on x; 0 for no effect.
      y_by_x: strength with which x acts on y; 0 for no effect.
      noise: standard deviation of the normal noise that is added to both at every step.
      seed: random seed of the noise.

    Returns:
      Series [2, T], x and y.
    """
    rng = np.random.default_rng(seed)
    x, y, found = 0.4, 0.2, []
    for _ in range(TRANSIENT + length):
        found.append((x, y))
        x, y = x * (3.8 - 3.8 * x - x_by_y * y), y * (3.5 - 3.5 * y - y_by_x * x)
        if noise:
            x, y = np.clip([x, y] + noise * rng.standard_normal(2), 0.001, 0.999)
    return np.array(found[TRANSIENT:]).T
