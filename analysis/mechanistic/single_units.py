"""Which single unit, channel or head of a layer moves more than it usually does beside the others.

A mean over a layer hides one unit of many. So each unit's change is taken relative to the median
of its layer, in spreads of what it does over ordinary pairs of states; the largest over the units
of a layer is one statistic of that layer, and is judged by the same largest of ordinary pairs.
"""

import numpy as np

SMALL = 0.1  # of a layer's usual change: units that move less are alike, and so are dead ones
LEAST_SPREAD = 0.1  # of the logarithm of a unit's relative change
LEAST_SPREAD_OF_MAX = 0.5  # of the largest z of a layer
LEAST_UNITS = 2  # one unit alone is its layer, whose weight change is judged already


def unit_z(row_U, step: float, others_NxU, steps_N) -> np.ndarray:
    """How far each unit moved beyond its layer and its own habit.

    Args:
      row_U: relative changes of the units of a layer, finite.
      step: where in training they happened.
      others_NxU: the same over ordinary pairs of the same seed.
      steps_N: their steps.

    Returns:
      z [U]: the logarithm of the change, less the layer's median and the unit's trend over
      training, in standard errors of its prediction. The spread of a unit is at least the median
      spread of its layer: a few pairs may agree by luck.
    """
    least = max(SMALL * float(np.median(others_NxU)), 1e-9)

    def beyond_layer(a):
        logs = np.log(a + least)
        return logs - np.median(logs, axis=-1, keepdims=True)

    logs_NxU = beyond_layer(others_NxU)
    design_Nx2 = np.stack([np.ones(len(steps_N)), np.log1p(steps_N)], 1)
    at_2, solve_2xN = np.array([1.0, np.log1p(step)]), np.linalg.pinv(design_Nx2)
    law_2xU = solve_2xN @ logs_NxU
    spread_U = np.sqrt(((logs_NxU - design_Nx2 @ law_2xU) ** 2).sum(0) / (len(logs_NxU) - 2))
    spread_U = np.maximum(spread_U, max(float(np.median(spread_U)), LEAST_SPREAD))
    leverage = np.sum((at_2 @ solve_2xN) ** 2)
    return (beyond_layer(row_U) - at_2 @ law_2xU) / (spread_U * np.sqrt(1 + leverage))


def live(changes_NxU) -> np.ndarray:
    """Indices of the units whose relative change is known in all rows; none if they are few."""
    kept = np.flatnonzero(np.isfinite(changes_NxU).all(0))
    return kept if len(kept) >= LEAST_UNITS else kept[:0]


def largest(row_U, step: float, others_NxU, steps_N) -> tuple[float, np.ndarray]:
    """The largest z over the units of a layer, in units of that of ordinary pairs.

    Exchangeable under the null: each ordinary pair is judged by the others as the moment is judged
    by all of them.

    Args:
      row_U, step, others_NxU, steps_N: see `unit_z`; not-a-number for units without weights.

    Returns:
      (z of the moment's largest, z of each ordinary pair's largest [N]); zeros for a layer with
      fewer than two such units.
    """
    n, kept = len(others_NxU), live(np.vstack([others_NxU, row_U]))
    if not len(kept):
        return 0.0, np.zeros(n)
    others, each = others_NxU[:, kept], np.arange(n)
    top = unit_z(row_U[kept], step, others, steps_N).max()
    top_N = np.array(
        [unit_z(others[i], steps_N[i], others[each != i], steps_N[each != i]).max() for i in each]
    )

    def standard(value, rest):
        return (value - rest.mean()) / max(rest.std(ddof=1), LEAST_SPREAD_OF_MAX)

    return standard(top, top_N), np.array([standard(top_N[i], top_N[each != i]) for i in each])
