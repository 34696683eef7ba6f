"""Means of activation functions over a standard normal input, computed by quadrature.

The quantities are those of Joudaki et al., Barriers for Learning in an Evolving World (2025). The
constants are computed from the definition in the paper; the table in the paper has other values.
"""

import numpy as np
from scipy import stats

GRID = np.linspace(-12, 12, 480_001)
WEIGHT = stats.norm.pdf(GRID) * (GRID[1] - GRID[0])


def mean(values) -> float:
    """Compute E f(z) for a standard normal z.

    Args:
      values: values of f on `GRID`.

    Returns:
      The mean.
    """
    return float(np.sum(np.asarray(values, float) * WEIGHT))


def alpha(values, slopes, centred: bool = False) -> float:
    """Compute how much an activation adds to the rank: alpha = E f'(z)^2 / E f(z)^2 - 1.

    Args:
      values: values of f on `GRID`.
      slopes: values of f' on `GRID`.
      centred: whether to divide by the variance of f(z) instead of E f(z)^2. This corresponds to
        centred covariances.

    Returns:
      alpha. It is 0 for a linear function and tends to infinity for one that freezes, which means
      that it is constant for almost all inputs.
    """
    size = mean(np.square(values)) - (mean(values) ** 2 if centred else 0.0)
    return mean(np.square(slopes)) / size - 1


def relu_alpha(a: float, b: float) -> float:
    """Compute alpha of z -> relu(a z + b) in closed form.

    Args:
      a: gain, positive.
      b: shift.

    Returns:
      alpha, which depends only on b / a.
    """
    c = b / a
    on = stats.norm.cdf(c)
    return on / ((1 + c * c) * on + c * stats.norm.pdf(c)) - 1


def relu_correlation(rho):
    """Compute the uncentred correlation of relu(x) and relu(y) for normal x and y.

    This is the arc-cosine kernel of degree 1 (Cho & Saul 2009).

    Args:
      rho: correlation of x and y, in [-1, 1].

    Returns:
      The correlation about 0, without subtracting the means.
    """
    rho = np.asarray(rho, float)
    return (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / np.pi
