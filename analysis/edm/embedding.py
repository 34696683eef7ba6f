"""Delay embedding, and selection of the rows of a series that may be used.

In all functions rows are given as row numbers from 0 or as a boolean mask. A library is a set of
rows: repetitions count once. Rows to predict are a list: a row is predicted as often as it occurs.
"""

import numpy as np


def columns(x, name: str = "x") -> np.ndarray:
    """Convert series to float64 columns.

    Args:
      x: series [T] or [T, V] of any real type, as an array, list, pandas Series or DataFrame.
        Masked values become NaN.
      name: name of the argument, for the error.

    Returns:
      Series [T, V].

    Raises:
      ValueError: the values are not real numbers, or the shape is another one.
    """
    x = np.ma.filled(x.astype(float), np.nan) if np.ma.isMaskedArray(x) else np.asarray(x)
    try:
        x_TxV = x.astype(float, casting="unsafe" if x.dtype == object else "same_kind")
    except TypeError as error:
        raise ValueError(f"{name} is of type {x.dtype}: real numbers are needed") from error
    if x_TxV.ndim == 0 or x_TxV.ndim > 2 or not x_TxV.size:
        raise ValueError(f"{name} has shape {x.shape}: [T] or [T, V] is needed")
    return x_TxV.reshape(len(x_TxV), -1)


def one_series(y, length: int, name: str = "y") -> np.ndarray:
    """Convert a single series, given as [T] or [T, 1], to float64 [T].

    Args:
      y: series, see `columns`.
      length: required number of points (T).
      name: name of the argument, for the error.

    Returns:
      Series [T].

    Raises:
      ValueError: there are several series, or the length is another one.
    """
    y_TxV = columns(y, name)
    if y_TxV.shape != (length, 1):
        raise ValueError(f"{name} has shape {np.shape(y)}: one series of {length} points is needed")
    return y_TxV[:, 0]


def whole(value, name: str, least: int | None = None) -> int:
    """Convert a setting to an integer.

    Args:
      value: value of the setting, an integer or a float that is a whole number.
      name: name of the setting, for the error.
      least: smallest allowed value; None for no limit.

    Returns:
      The value as an int.

    Raises:
      ValueError: the value is not a whole number, or it is below `least`.
    """
    real = isinstance(value, int | float | np.integer | np.floating)
    if not real or isinstance(value, bool) or not np.isfinite(value) or value != int(value):
        raise ValueError(f"{name}={value!r} is not a whole number")
    if least is not None and value < least:
        raise ValueError(f"{name}={value} is below {least}")
    return int(value)


def delays(x, dimension: int = 1, tau: int = -1) -> np.ndarray:
    """Build delay vectors: the state at a row consists of values at the row and at rows near it.

    The method is that of Takens (1981), https://doi.org/10.1007/BFb0091924.

    Args:
      x: series [T], or several series [T, V] that are embedded together.
      dimension: number of values of each series in a state.
      tau: rows between the values of a state; negative values reach into the past.

    Returns:
      States [T, V * dimension], ordered by series. Values outside the series are NaN.

    Raises:
      ValueError: the dimension is below 1, tau is 0, or the series is too short for one state.
    """
    x_TxV, dimension, tau = columns(x), whole(dimension, "dimension", 1), whole(tau, "tau")
    if tau == 0:
        raise ValueError("tau=0: the values of a state would all be the same")
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
    """Return the rows whose complete state and target lie inside one segment.

    Args:
      segments: (start, stop) pairs of rows; stop is excluded.
      dimension: number of values in a state.
      tau: rows between the values of a state.
      horizon: rows from a state to its target.

    Returns:
      Sorted row numbers.

    Raises:
      ValueError: there is no such row.
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
    """Shift series so that each row contains the value `horizon` rows later.

    Args:
      y: series [T] or [T, V].
      horizon: number of rows; negative values look back.

    Returns:
      Shifted series with the shape of `y`; NaN where the value lies outside the series.
    """
    y, horizon = np.asarray(y, float), whole(horizon, "horizon")
    moved = np.full(y.shape, np.nan)
    inside = slice(max(-horizon, 0), len(y) - max(horizon, 0))
    if inside.start < inside.stop:
        moved[inside] = y[inside.start + horizon : inside.stop + horizon]
    return moved


def row_numbers(given, length: int, what: str) -> np.ndarray:
    """Convert rows to row numbers; every function that takes rows reads them here.

    Args:
      given: row numbers from 0 [N], or a boolean mask with one value per row.
      length: number of rows of the series.
      what: name of the rows, for the error.

    Returns:
      Row numbers in the given order.

    Raises:
      ValueError: the rows are neither numbers nor a mask, or they lie outside the series.
    """
    given = np.asarray(given)
    if given.dtype == bool:
        if given.shape != (length,):
            raise ValueError(
                f"{what} has booleans of shape {given.shape}: one per row, ({length},), is needed"
            )
        return np.flatnonzero(given)
    if given.ndim != 1 or not (np.issubdtype(given.dtype, np.integer) or not given.size):
        raise ValueError(
            f"{what} rows are of type {given.dtype} and shape {given.shape}: row numbers [N] or "
            "one boolean per row are needed"
        )
    if given.size and (given.min() < 0 or given.max() >= length):
        raise ValueError(
            f"{what} rows {given.min()} to {given.max()} of {length}: use 0 to {length - 1}"
        )
    return given.astype(int)


def usable(states_TxE, given, what: str, target_T=None) -> np.ndarray:
    """Return the given rows that have a finite state and, if targets are given, a finite target.

    Args:
      states_TxE: states from `delays`.
      given: row numbers or a boolean mask, see `row_numbers`.
      what: name of the rows, for the error.
      target_T: targets from `targets`; None means that no target is needed.

    Returns:
      Row numbers in the given order.

    Raises:
      ValueError: see `row_numbers`, or no row is usable.
    """
    given = row_numbers(given, len(states_TxE), what)
    finite = np.isfinite(states_TxE[given]).all(1)
    if target_T is not None:
        finite &= np.isfinite(target_T[given])
    if not finite.any():
        raise ValueError(f"no {what} row has a finite state and target")
    return given[finite]


def library_rows(states_TxE, given, target_T=None, what: str = "library") -> np.ndarray:
    """Return the usable rows of a library, ascending.

    A library is a set: a repeated row counts once.

    Args:
      states_TxE: states from `delays`.
      given: row numbers or a boolean mask, see `row_numbers`.
      target_T: targets from `targets`; None means that no target is needed.
      what: name of the rows, for the error.

    Returns:
      Row numbers.

    Raises:
      ValueError: see `usable`.
    """
    return np.unique(usable(states_TxE, given, what, target_T))
