"""Delay embedding, and the rows of a series that may be used."""

import numpy as np


def delays(x, dimension: int = 1, tau: int = -1) -> np.ndarray:
    """The state at a row is the row and its neighbours in time (Takens 1981).

    Args:
      x: series [T], or several [T, V] that are embedded together.
      dimension: values of each series in a state.
      tau: rows between them; negative reaches into the past.

    Returns:
      States [T, V * dimension], series by series; NaN where a value lies outside the series.

    Raises:
      ValueError: a dimension below 1, tau 0, or a series too short for one state.
    """
    x_TxV = np.asarray(x, float)
    x_TxV = x_TxV[:, None] if x_TxV.ndim == 1 else x_TxV
    if dimension < 1 or tau == 0:
        raise ValueError(f"dimension={dimension}, tau={tau}: dimension >= 1 and tau other than 0")
    length, span = len(x_TxV), abs(tau) * (dimension - 1)
    if length <= span:
        raise ValueError(f"{length} points are too few for {dimension} values {abs(tau)} apart")
    states = np.full((length, x_TxV.shape[1], dimension), np.nan)
    for i in range(dimension):
        shift = i * tau
        inside = slice(max(-shift, 0), length - max(shift, 0))
        states[inside, :, i] = x_TxV[inside.start + shift : inside.stop + shift]
    return states.reshape(length, -1)


def rows(segments, dimension: int = 1, tau: int = -1, horizon: int = 0) -> np.ndarray:
    """Rows whose whole state and target lie inside one segment.

    Args:
      segments: (start, stop) pairs, stop excluded.
      dimension: of the embedding.
      tau: of the embedding.
      horizon: rows from a state to its target.

    Returns:
      Sorted row numbers.

    Raises:
      ValueError: no row is left.
    """
    reach = tau * (dimension - 1)
    before, after = max(-reach, -horizon, 0), max(reach, horizon, 0)
    found = [np.arange(start + before, stop - after) for start, stop in segments]
    found = np.unique(np.concatenate(found)) if found else np.empty(0, int)
    if not len(found):
        raise ValueError(
            f"no row of the segments {list(segments)} has {before} rows before it and {after} after"
        )
    return found


def targets(y, horizon: int) -> np.ndarray:
    """Series moved so that each row holds the value some rows later; NaN outside.

    Args:
      y: [T] or [T, V].
      horizon: rows; negative looks back.

    Returns:
      As `y`.
    """
    y = np.asarray(y, float)
    moved = np.full(y.shape, np.nan)
    inside = slice(max(-horizon, 0), len(y) - max(horizon, 0))
    if inside.start < inside.stop:
        moved[inside] = y[inside.start + horizon : inside.stop + horizon]
    return moved


def usable(states_TxE, given, what: str, target_T=None) -> np.ndarray:
    """The given rows that have a finite state, and a finite target if one is asked for.

    Args:
      states_TxE: from `delays`.
      given: row numbers, or a boolean for each row.
      what: name of the rows, for the error.
      target_T: from `targets`.

    Returns:
      Row numbers, in the order given.

    Raises:
      ValueError: rows outside the series, or none usable.
    """
    given = np.asarray(given)
    if given.dtype == bool:
        if given.shape != (len(states_TxE),):
            raise ValueError(f"{what} has {given.shape} booleans for {len(states_TxE)} rows")
        given = np.flatnonzero(given)
    if given.size and (given.min() < 0 or given.max() >= len(states_TxE)):
        raise ValueError(f"{what} rows {given.min()} to {given.max()} of {len(states_TxE)}")
    finite = np.isfinite(states_TxE[given]).all(1)
    if target_T is not None:
        finite &= np.isfinite(target_T[given])
    if not finite.any():
        raise ValueError(f"no {what} row has a finite state and target")
    return given[finite]
