"""Series whose links are known, so that a procedure can be tried before it is believed."""

import numpy as np

TRANSIENT = 301


def coupled_maps(length: int, x_by_y: float, y_by_x: float, noise: float = 0.0, seed: int = 0):
    """Chaotic logistic maps that act on each other (Sugihara et al. 2012).

    Args:
      length: points; those at the start are left out.
      x_by_y: how strongly y acts on x.
      y_by_x: how strongly x acts on y.
      noise: standard deviation of what is added at every step.
      seed: of the noise.

    Returns:
      [2, T], x and y.
    """
    rng = np.random.default_rng(seed)
    x, y, found = 0.4, 0.2, []
    for _ in range(TRANSIENT + length):
        found.append((x, y))
        x, y = x * (3.8 - 3.8 * x - x_by_y * y), y * (3.5 - 3.5 * y - y_by_x * x)
        if noise:
            x, y = np.clip([x, y] + noise * rng.standard_normal(2), 0.001, 0.999)
    return np.array(found[TRANSIENT:]).T
