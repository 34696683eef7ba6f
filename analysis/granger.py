"""Does the past of one series help to predict another beyond its own past?"""

import numpy as np

from analysis import lags
from analysis.surrogates import p_value

GRANGER_LAGS = 4  # measurements of the past


def granger(x_SxT, y_SxT, rng: np.random.Generator) -> dict:
    """Test whether the past of x helps to predict y beyond y's own past (Granger 1969).

    The F statistic's own distribution assumes white residuals of even variance; this is judged
    by random signs of blocks of x, the same in all rows.

    Args:
      x_SxT, y_SxT: from `causal_increments`.
      rng: random generator.

    Returns:
      `gain`, the mean over seeds of the share of y's unexplained variance that x's past
      explains, and `p`.
    """
    length = x_SxT.shape[1]
    block = lags.block_length(length)
    signs_NxB = rng.choice((-1.0, 1.0), (lags.FEW_SURROGATES, -(-length // block)))
    own = [_Explained(y) for y in y_SxT]
    gain = np.mean([o.by(x) for o, x in zip(own, x_SxT, strict=True)])
    null = [
        np.mean([o.by(x) for o, x in zip(own, x_SxT * signs_T, strict=True)])
        for signs_T in np.repeat(signs_NxB, block, 1)[:, :length]
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


def _past(x):
    return np.stack([x[GRANGER_LAGS - i : len(x) - i] for i in range(1, GRANGER_LAGS + 1)], 1)
