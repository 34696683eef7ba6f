"""What an activation function does to a standard normal input: means over it, by quadrature.

Source: Joudaki et al., Barriers for Learning in an Evolving World (2025), with the constants
computed from its own definition (its table has others).
"""

import numpy as np
from scipy import stats

GRID = np.linspace(-12, 12, 480_001)
WEIGHT = stats.norm.pdf(GRID) * (GRID[1] - GRID[0])


def mean(values) -> float:
    """E f(z) of a standard normal z.

    Args:
      values: f on `GRID`.

    Returns:
      The mean.
    """
    return float(np.sum(np.asarray(values, float) * WEIGHT))


def alpha(values, slopes, centred: bool = False) -> float:
    """How much an activation adds to the rank: alpha = E f'(z)^2 / E f(z)^2 - 1.

    Args:
      values: f on `GRID`.
      slopes: f' there.
      centred: divide by the variance of f(z) instead; what centred covariances show.

    Returns:
      alpha; 0 of a linear function, infinite of one that has frozen.
    """
    size = mean(np.square(values)) - (mean(values) ** 2 if centred else 0.0)
    return mean(np.square(slopes)) / size - 1


def relu_alpha(a: float, b: float) -> float:
    """alpha of z -> relu(a z + b), in closed form.

    Args:
      a: gain.
      b: shift.

    Returns:
      alpha, which depends on b / a alone.
    """
    c = b / a
    on = stats.norm.cdf(c)
    return on / ((1 + c * c) * on + c * stats.norm.pdf(c)) - 1


def relu_correlation(rho):
    """Correlation of relu(x) and relu(y), about 0, of normal x and y of correlation rho.

    The arc-cosine kernel of degree 1 (Cho & Saul 2009).

    Args:
      rho: in [-1, 1].

    Returns:
      The uncentred correlation.
    """
    rho = np.asarray(rho, float)
    return (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / np.pi
