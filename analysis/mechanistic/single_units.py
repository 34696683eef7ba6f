"""Test for a single unit, channel or head that moves unusually far relative to its layer.

A mean over a layer hides the change of a single unit. For this reason, the change of each unit is
measured relative to the median of its layer and divided by the spread of this ratio over ordinary
pairs of states (on a logarithmic scale). The largest value over the units of a layer is one
statistic of that layer. It is compared with the same statistic of ordinary pairs.
"""

import numpy as np

# Relative to the usual change of a layer. Smaller changes are not distinguished, so dead units do
# not stand out.
SMALL = 0.1
LEAST_SPREAD = 0.1  # smallest spread of the logarithm of the relative change of a unit
LEAST_SPREAD_OF_MAX = 0.5  # smallest spread of the largest z of a layer
LEAST_UNITS = 2  # a single unit is the whole layer, whose weight change is tested anyway


def unit_z(row_U, step: float, others_NxU, steps_N) -> np.ndarray:
    """Compute how far each unit moved beyond the median of its layer and its own trend.

    Args:
      row_U: relative changes of the units of a layer, [U], finite.
      step: training step of these changes.
      others_NxU: relative changes over N ordinary pairs of the same seed, [N, U].
      steps_N: training steps of the ordinary pairs, [N].

    Returns:
      z [U]: the logarithm of the change minus the median of the layer and minus the trend of the
      unit over training, in units of the standard error of the predicted trend. The spread of a
      unit is set to at least the median spread of its layer, because a few pairs may agree by
      chance.
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
    """Return the indices of the units whose change is finite in all rows, none if under two are."""
    kept = np.flatnonzero(np.isfinite(changes_NxU).all(0))
    return kept if len(kept) >= LEAST_UNITS else kept[:0]


def largest(row_U, step: float, others_NxU, steps_N) -> tuple[float, np.ndarray]:
    """Compute the largest z over the units of a layer, standardised by that of ordinary pairs.

    The values are exchangeable under the null: each ordinary pair is compared with the other pairs
    in the same way as the critical step is compared with all pairs.

    Args:
      row_U: relative changes of the units at the critical step, [U]; not-a-number for units without
        weights.
      step: critical step.
      others_NxU: relative changes over N ordinary pairs of the same seed, [N, U].
      steps_N: training steps of the ordinary pairs, [N].

    Returns:
      (standardised largest z at the critical step, standardised largest z of each ordinary pair
      [N]); zeros for a layer with fewer than two units whose changes are finite.
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
