"""Series of a run on one step axis, and transformations that make them more stationary."""

import numpy as np

from analysis.runs.measures import one_value
from analysis.runs.reader import Run, RunError

GROUPS = ("scalar", "probe", "eval")  # from the finest step axis to the coarsest
USUAL = ("loss", "grad_norm", "D")  # variables that are analysed by default
WINDOW = 50  # length of a moving mean in points


def variables(run: Run, names) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read recorded quantities and put them on the coarsest of their step axes.

    A series on a finer axis is averaged over the steps since the previous point.

    Args:
      run: open run.
      names: names of quantities: `D` or `D/LAYER`; a scalar, where a quantity of weight matrices is
        the mean over the matrices, or `METRIC/MATRIX` for one of them; a measurement, where a
        quantity of layers is the mean over all layers but the head, or `METRIC/LAYER` for one of
        them; an evaluation as `eval/NAME`; or a quantity that `tapjax measure` has measured, as
        `MEASURE/NAME`, or `MEASURE/NAME/0` for the first of several values.

    Returns:
      Steps [T] and series [S, T] by name.

    Raises:
      RunError: a quantity was not recorded.
    """
    found = {name: _find(run, name) for name in names}
    axes = {group: run.steps(group) for group, _ in found.values()}
    group = max(axes, key=lambda g: (_spacing(axes[g]), (*GROUPS, *run.measured).index(g)))
    at = axes[group]
    measured = [steps for name, steps in axes.items() if name not in GROUPS]
    if measured:  # steps that all measures cover
        low, high = max(s[0] for s in measured), min(s[-1] for s in measured)
        kept = (at >= low) & (at <= high)
        if kept.sum() < 2:
            raise RunError(f"{run.path}: {', '.join(names)} were measured at other steps")
        at = at[kept]
        found = {n: (g, v[:, kept] if g == group else v) for n, (g, v) in found.items()}
    return at, {
        name: values if own == group else _averaged(run.steps(own), values, at)
        for name, (own, values) in found.items()
    }


def _spacing(steps):
    """Return the median distance between steps; infinite for a single one."""
    return float(np.median(np.diff(steps))) if len(steps) > 1 else np.inf


def recorded(run: Run, name: str) -> bool:
    """Decide whether a run has recorded a quantity, see `variables`."""
    try:
        _find(run, name)
    except RunError:
        return False
    return True


def evenly(steps, name) -> None:
    """Refuse points that are not evenly spaced, because lags and frequencies would be meaningless.

    Args:
      steps: step numbers of the points [T].
      name: name of the run or series, for the error.

    Raises:
      RunError: the points are not evenly spaced.
    """
    if len(set(np.diff(steps))) > 1:
        raise RunError(f"{name}: its points are not evenly spaced in steps")


def _metric_and_layer(run, name):
    """Split `METRIC/LAYER`, whose parts may contain slashes, at the end of the longest metric."""
    parts = name.split("/")
    for count in range(len(parts), 0, -1):
        metric = "/".join(parts[:count])
        if run.has("probe", metric) or run.has("scalar", metric):
            return metric, "/".join(parts[count:])
    return parts[0], "/".join(parts[1:])


def _find(run, name):
    measure, _, quantity = name.partition("/")
    if measure in run.measured:
        return measure, one_value(run, measure, quantity)
    metric, layer = _metric_and_layer(run, name)
    if metric == "eval" and layer:
        return "eval", run.array("eval", layer)
    if run.has("scalar", metric):
        return "scalar", _of_matrix(run, metric, layer)
    if name == "D":
        return "probe", run.dimension()
    if metric != "D" and not run.has("probe", metric):
        known = {"D", *run.names("scalar"), *run.names("probe")}
        known |= {f"eval/{evaluated}" for evaluated in run.names("eval")}
        raise RunError(f"{run.path} has no {name!r}; recorded are {', '.join(sorted(known))}")
    values = run.array("probe", run.model["dimension"] if metric == "D" else metric)
    if values.ndim == 2 and not layer:
        return "probe", values
    if values.shape[2:] != (len(run.layer_names),):
        raise RunError(f"{run.path}: {name!r} is not one value per step or per layer")
    if not layer:
        return "probe", values[:, :, run.hidden].mean(-1)
    if layer not in run.layer_names:
        raise RunError(f"{run.path} has no layer {layer!r}; layers are {run.layer_names}")
    return "probe", values[:, :, run.layer_names.index(layer)]


def _of_matrix(run, metric, matrix):
    """Return a scalar, or the value of a weight matrix, [S, T]."""
    values, names = run.array("scalar", metric), run.model.get("weight_names", [])
    if values.ndim == 2 and not matrix:
        return values
    if values.shape[2:] != (len(names),):
        raise RunError(f"{run.path}: {metric!r} is not one value per step or matrix")
    if not matrix:
        return values.mean(-1)
    if matrix not in names:
        raise RunError(f"{run.path} has no weight matrix {matrix!r}; they are {names}")
    return values[:, :, names.index(matrix)]


def _averaged(steps, values_SxT, at):
    """Average a series over the steps since the previous point.

    Where there is no step in between, as before the first point, the next value is used.
    """
    total = np.concatenate([np.zeros((len(values_SxT), 1)), np.cumsum(values_SxT, 1)], 1)
    stop = np.searchsorted(steps, at)
    start = np.concatenate([[0], stop[:-1]])
    counts = np.maximum(stop - start, 1)
    means = (total[:, stop] - total[:, start]) / counts
    empty = stop == start
    nearest = np.minimum(stop, len(steps) - 1)
    means[:, empty] = values_SxT[:, nearest[empty]]
    return means


def increments(x_SxT) -> np.ndarray:
    """Return the change from point to point [S, T]; it is 0 at the first point."""
    return np.diff(x_SxT, axis=1, prepend=x_SxT[:, :1])


def detrended(x_SxT, window: int = WINDOW) -> np.ndarray:
    """Return the deviation from the mean of previous points, in units of their standard deviation.

    Only the past is used, because with a centred window the values would depend on the future.

    Args:
      x_SxT: series.
      window: number of previous points.

    Returns:
      Deviations [S, T]: NaN at the first `window` points, 0 where the previous points are constant.
    """
    x_SxT = np.asarray(x_SxT, float)
    past = np.lib.stride_tricks.sliding_window_view(x_SxT, window, axis=1)[:, :-1]
    result = np.full(x_SxT.shape, np.nan)
    spread = past.std(-1)
    apart = x_SxT[:, window:] - past.mean(-1)
    result[:, window:] = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)
    return result


PREPARED = {
    "increments": increments,
    "detrended": detrended,
    "raw": lambda x_SxT: np.asarray(x_SxT, float),
}
