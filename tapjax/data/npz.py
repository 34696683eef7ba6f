"""Reader of user-defined data sets: .npz files with `x`, `y` and optionally `x_test`, `y_test`.

An array whose meaning is clear is read. If the reader had to guess, it adds a remark of one line.
Any other array is refused with an error that says what to do.
"""

from pathlib import Path

import numpy as np

from tapjax.contract.files import RunError, read_npz

LARGEST = 1e15  # largest absolute value of an input; its square is still finite in float32
CHANNELS = (1, 3)  # axis lengths that are taken for a number of channels
FIRST, LAST = "channels_first", "channels_last"
NUMBERED = "numpy.unique(y, return_inverse=True)[1]"
# Two splits have different ranges if, in any column, the spread of the test split is more than FAR
# times as large or the means differ by more than APART spreads. They also have different ranges if
# most columns differ by MOST_FAR or MOST_APART; this needs at least ENOUGH test examples.
FAR, APART = 10.0, 5.0
MOST_FAR, MOST_APART, ENOUGH = 1.8, 0.8, 20


class DataError(Exception):
    """Error for data that is missing or unusable; the message says what to do."""


def read_own(path: Path, layout: str) -> tuple[tuple, bool, list[str]]:
    """Read the splits of a user's .npz file.

    Args:
      path: path of the .npz file.
      layout: position of the channels of images [N, a, b, c]: `channels_first`, `channels_last` or
        `auto`. `auto` takes a or c for the channels if its length is 1 or 3.

    Returns:
      ((x, y, x_test, y_test), whether x is a table, remarks). Images are uint8 or float32
      [N, height, width, channels], tables are uint8 or float64 [N, 1, F, 1], and y is int32 [N].
      If the file has no test split, every fifth example of each class is held out.

    Raises:
      DataError: if arrays are missing or malformed.
    """
    if not path.is_file():
        raise DataError(f"data.name: no file {path}")
    try:
        arrays = read_npz(path)
    except RunError as error:
        raise DataError(f"data.name: {error}") from error
    if path.suffix != ".npz":
        raise DataError(f"data.name: {path} is an .npz of another name: rename it to end in .npz")
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise DataError(f"{path}: no array {missing[0]!r}; it holds {', '.join(arrays) or 'none'}")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path}: give both x_test and y_test, or neither")
    x, y, table = arrays["x"], arrays["y"], arrays["x"].ndim == 2
    _check(path, x, y, "x", "y")
    channels, remarks = _channels(path, x, layout)
    x, y = _arranged(x, channels), y.astype(np.int32)
    if "x_test" in arrays:
        x_test, y_test = arrays["x_test"], arrays["y_test"]
        _check(path, x_test, y_test, "x_test", "y_test")
        if arrays["x"].shape[1:] != x_test.shape[1:] or arrays["x"].dtype != x_test.dtype:
            raise DataError(
                f"{path}: x and x_test have different shapes or types: {arrays['x'].dtype} of "
                f"{arrays['x'].shape[1:]} and {x_test.dtype} of {x_test.shape[1:]}; save both alike"
            )
        splits = (x, y, _arranged(x_test, channels), y_test.astype(np.int32))
    else:
        splits = hold_out_fifth(x, y)
    _check_classes(path, splits[1], splits[3])
    return splits, table, remarks + _gaps(splits[1], splits[3]) + _ranges(splits[0], splits[2])


def hold_out_fifth(x, y):
    """Hold out every fifth example of each class.

    Args:
      x: inputs [N, ...].
      y: classes [N].

    Returns:
      (x, y, x_test, y_test).
    """
    test = np.zeros(len(y), bool)
    for label in np.unique(y):
        test[np.flatnonzero(y == label)[4::5]] = True
    return x[~test], y[~test], x[test], y[test]


def standardised(x, x_test):
    """Scale tables to mean 0 and variance 1 in every column of the training split.

    A column that is constant in training is set to 0 in both splits, because it gives no
    information about the classes.

    Args:
      x: training split [N, 1, F, 1].
      x_test: test split [M, 1, F, 1].

    Returns:
      (x, x_test, remarks) with float32 arrays.
    """
    mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    # Rounding errors can give a constant column a small variance.
    constant = std <= len(x) * np.finfo(float).eps * np.abs(mean)
    scale = np.where(constant, np.inf, std)
    both = [((split - mean) / scale).astype(np.float32) for split in (x, x_test)]
    columns = np.flatnonzero(constant)
    remarks = [f"x: {_some(columns, 'column')} constant in training, set to 0"] * bool(len(columns))
    return *both, remarks


def _check(path, x, y, x_name, y_name):
    if not x.ndim or not y.ndim or not len(y) or len(x) != len(y):
        raise DataError(
            f"{path}: {x_name} has shape {x.shape} and {y_name} {y.shape}, not the same number of "
            "examples first"
        )
    _check_labels(path, y, y_name)
    if x.ndim not in (2, 3, 4) or x.dtype.kind not in "biuf" or not x.size:
        raise DataError(
            f"{path}: {x_name} must be [N, F], [N, H, W] or [N, H, W, C] numbers, not {x.dtype} "
            f"of shape {x.shape}"
        )
    if x.dtype == np.uint8:
        return
    wrong = ~(np.abs(x.astype(float)) <= LARGEST)
    if wrong.any():
        place = "row {}, column {}" if x.ndim == 2 else "index " + ", ".join(["{}"] * x.ndim)
        first = place.format(*np.argwhere(wrong)[0])
        raise DataError(
            f"{path}: {x_name} has {wrong.sum()} values that are not finite, or above {LARGEST}, "
            f"the first at {first}: fill them in, or leave out these examples or columns"
        )


def _check_labels(path, y, name):
    classes = f"{path}: {name} must be a vector of classes 0, 1, 2, ..."
    if y.ndim > 1:
        one_hot = y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "biuf"
        if one_hot and ((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all():
            raise DataError(f"{classes}, not one-hot of shape {y.shape}: save y.argmax(1)")
        how = ": save y.ravel()" if y.size == len(y) else ""
        if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind == "f":
            how = ": targets of several classes are not learned; y.argmax(1) is the largest of each"
        raise DataError(f"{classes}, not of shape {y.shape}{how}")
    if y.dtype.kind == "b":
        raise DataError(f"{classes}, not of bool: save y.astype(int)")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(
            f"{classes}, not of {y.dtype} with {(~np.isfinite(y)).sum()} values that are not "
            "finite: leave these examples out"
        )
    if y.dtype.kind == "f" and (y == np.round(y)).all():
        raise DataError(f"{classes}, not of {y.dtype}: save y.astype(int)")
    if y.dtype.kind == "f":
        raise DataError(f"{classes}, not of {y.dtype} with fractions: real targets are not learned")
    if y.dtype.kind not in "iu":
        raise DataError(f"{classes}, not of {y.dtype}: save {NUMBERED}")
    if y.min() < 0 or y.max() >= 2**31:
        raise DataError(f"{classes}, not {y.min()} to {y.max()}: save {NUMBERED}")


def _check_classes(path, y, y_test):
    if not len(y_test):
        raise DataError(f"{path}: no class has the five examples that leave one to test on")
    classes, examples = int(max(y.max(), y_test.max())) + 1, len(y) + len(y_test)
    if classes > examples:
        raise DataError(
            f"{path}: classes up to {classes - 1} in {examples} examples: save {NUMBERED}"
        )


def _channels(path, x, layout):
    """Return the position of the channels of images [N, a, b, c], and remarks."""
    if x.ndim != 4 or layout != "auto":
        return layout if x.ndim == 4 else LAST, []
    first, _, last = x.shape[1:]
    if last in CHANNELS and first not in CHANNELS or first == last == 1:
        return LAST, []
    if first in CHANNELS and last not in CHANNELS:
        return FIRST, [f"x of shape {x.shape} is read as [N, C, H, W]; see data.layout"]
    raise DataError(
        f"{path}: x of shape {x.shape} may be [N, H, W, C] or [N, C, H, W]: say which by "
        f"--config.data.layout={LAST} or {FIRST}"
    )


def _arranged(x, channels):
    if x.ndim == 2:
        return (x if x.dtype == np.uint8 else x.astype(np.float64)).reshape(len(x), 1, -1, 1)
    x = x if x.dtype == np.uint8 else x.astype(np.float32)
    if x.ndim == 3:
        return x[..., None]
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if channels == FIRST else x


def _gaps(y, y_test):
    """Return remarks on classes without training examples or without test examples."""
    classes = int(max(y.max(), y_test.max())) + 1
    untaught = np.setdiff1d(np.arange(classes), y)
    untested = np.setdiff1d(y, y_test)
    found = []
    if len(untaught):
        found.append(
            f"y: {_some(untaught, 'class')} of 0 to {classes - 1} without training example; to "
            f"number classes without gaps save {NUMBERED}"
        )
    if len(untested):
        found.append(f"y_test: {_some(untested, 'class')} without test example")
    return found


def _some(items, noun):
    """Describe a list of numbers by its length and first items, as in `2 classes (0, 7)`."""
    few = ", ".join(map(str, items[:5])) + (", ..." if len(items) > 5 else "")
    plural = {"class": "classes"}.get(noun, f"{noun}s") if len(items) > 1 else noun
    return f"{len(items)} {plural} ({few})"


def _ranges(x, x_test):
    """Return a remark if the test split seems to have another unit than the training split.

    Tables are compared per column, images over all values.
    """
    axes = (0, 1, 3) if x.shape[1] == x.shape[3] == 1 else None
    (mean, std), (mean_test, std_test) = (
        (np.atleast_1d(split.mean(axes, dtype=float)), np.atleast_1d(split.std(axes, dtype=float)))
        for split in (x, x_test)
    )
    gap, rounding = np.abs(mean_test - mean), len(x) * np.finfo(float).eps * np.abs(mean)
    # A column that is constant in training, such as that of a rare word, has no spread there. The
    # spread of the test split is used instead.
    spread = np.where(std <= rounding, std_test, std)
    apart = (std_test > FAR * spread) | (gap > APART * spread)
    apart &= gap + std_test > rounding
    shifted = gap > np.maximum(MOST_APART * spread, rounding)
    # A small test split may contain no example of a rare value.
    present = (std_test > 0) | shifted
    unlike = apart | present & (FAR * std_test < std)
    if len(x_test) >= ENOUGH:
        unlike |= (std_test > MOST_FAR * spread) | present & (MOST_FAR * std_test < std) | shifted
    if not apart.any() and unlike.mean() <= 0.5:
        return []
    place = int(np.argmax(apart if apart.any() else unlike))
    where = f" in column {place}" if len(mean) > 1 else ""
    return [
        f"x and x_test have different ranges{where}: mean {mean[place]:.3g}, standard deviation "
        f"{std[place]:.3g} in training, {mean_test[place]:.3g} and {std_test[place]:.3g} in test"
    ]
