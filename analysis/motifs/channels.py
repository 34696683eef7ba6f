"""Reduction of runs to a few channels: principal components of what changes from step to step."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from analysis.edm.variables import evenly, variables
from analysis.runs.reader import Run, RunError

MODES = 8  # number of principal components
ROUNDING = 1e-9  # a column whose range is smaller than this share of its maximum is constant
LEAST_SHARE = 1e-10  # a component with a smaller share of the variance is rounding
LIMIT = 8.0  # standard deviations at which outliers are clipped
# Scalars of every step that are comparable between seeds. Each gives one column, or one column per
# weight matrix.
SCALARS = ("loss", "grad_norm", "probe_loss", "weight_grad_norm", "update_norm", "update_cosine")
OF = ("increments", "levels")
CHANNELS = """what is analysed: weights (sketches of the weight matrices), units (means over
fixed examples), scalars (norms and losses), or names as in `edm --variables`; by default weights if
sketches were recorded, otherwise D of every hidden layer, and loss and grad_norm if those were"""


class Recorded(NamedTuple):
    """Recorded quantities of a run as columns."""

    name: str  # name of the run
    own: bool  # components are computed per seed, because columns do not correspond between seeds
    steps: np.ndarray  # [T]
    group_D: list[str]  # group of each column: a weight matrix, all units, or the column itself
    values: np.ndarray  # [S, T, D]


class Channels(NamedTuple):
    """Channels of a run, from which a map is made."""

    steps: np.ndarray  # [T]
    values: np.ndarray  # [S, T, C]
    share: np.ndarray  # share of the variance of each channel [S, C]


def default_kind(run: Run) -> str:
    """Return the default kind of columns of a run.

    It is `weights` if the weights were sketched. Otherwise it names the loss and the gradient norm,
    if they were recorded, and D of every hidden layer.
    """
    if run.has("scalar", "sketch"):
        return "weights"
    norms = [name for name in ("loss", "grad_norm") if run.has("scalar", name)]
    return ",".join([*norms, *(f"D/{run.layer_names[i]}" for i in run.hidden)])


def recorded(run: Run, kind: str) -> Recorded:
    """Read the columns of one kind.

    Args:
      run: open run.
      kind: `weights` (sketches of weight matrices), `units` (means of units over fixed examples),
        `scalars` (norms and losses), or names of variables with commas between, as in
        `analysis edm --variables`.

    Returns:
      The columns of the run.

    Raises:
      RunError: a quantity was not recorded, or `kind` names nothing.
    """
    if kind == "weights":
        sketch = run.array("scalar", "sketch")
        groups = [name for name in run.model["weight_names"] for _ in range(sketch.shape[-1])]
        values = sketch.reshape(*sketch.shape[:2], -1)
        return Recorded(run.name, True, run.steps("scalar"), groups, values)
    if kind == "units":
        means = run.array("scalar", "unit_mean")
        groups = ["units"] * means.shape[-1]
        return Recorded(run.name, True, run.steps("scalar"), groups, means)
    if kind == "scalars":
        found = {name: run.array("scalar", name) for name in SCALARS}
        columns = {name: x[..., None] if x.ndim == 2 else x for name, x in found.items()}
        groups = [f"{name} {i}" for name, x in columns.items() for i in range(x.shape[-1])]
        values = np.concatenate([*columns.values()], -1)
        return Recorded(run.name, False, run.steps("scalar"), groups, values)
    names = dict.fromkeys(name.strip() for name in kind.split(",") if name.strip())
    if not names:
        raise RunError(f"--channels={kind!r} names nothing")
    steps, series = variables(run, names)
    return Recorded(run.name, False, steps, list(names), np.stack([*series.values()], -1))


def between(found: Recorded, start: int, stop: int | None) -> Recorded:
    """Keep the points from step `start` to before step `stop`; None means to the end.

    Args:
      found: columns of a run.
      start: first step that is kept.
      stop: step after the last that is kept; None for no limit.

    Returns:
      The columns in this range.

    Raises:
      RunError: there are fewer than two points, or they are not evenly spaced in steps.
    """
    stop = found.steps[-1] + 1 if stop is None else stop
    kept = (found.steps >= start) & (found.steps < stop)
    if kept.sum() < 2:
        raise RunError(f"{found.name}: no points between --start and --stop")
    evenly(found.steps[kept], found.name)
    return found._replace(steps=found.steps[kept], values=found.values[:, kept])


def epoch_steps(run: Run) -> int | None:
    """Return the number of steps per epoch.

    None if batches are drawn with replacement, or if another framework draws them.
    """
    data = run.config.get("data", {})
    if data.get("shuffle") != "epoch" or "train_examples" not in run.data:
        return None
    return run.data["train_examples"] // data["batch_size"]


def groups(found: Recorded) -> dict[str, np.ndarray]:
    """Return the indices of the columns of each group.

    Args:
      found: columns of a run.

    Returns:
      Indices by name of the group.

    Raises:
      RunError: a value is missing, or a group never changes or always changes by the same amount.
    """
    if not np.isfinite(found.values).all():
        raise RunError(f"{found.name}: a channel has values that are not finite")
    names = np.array(found.group_D)
    columns = {name: np.flatnonzero(names == name) for name in dict.fromkeys(found.group_D)}
    for name, own in columns.items():
        x = found.values[..., own]
        for kind, what in (
            (x, "never changes"),
            (np.diff(x, axis=1), "changes at a fixed rate"),
        ):
            if (np.ptp(kind, axis=1) <= ROUNDING * np.abs(x).max(1)).all(-1).any():
                raise RunError(f"{found.name}: {name} {what} in a seed")
    return columns


def moving(found: Recorded, of: str, window: int) -> np.ndarray:
    """Compute increments or levels of the columns, scaled such that each group has unit size.

    Args:
      found: columns of a run.
      of: `increments` (changes from point to point) or `levels` (deviations from a moving mean).
      window: number of points of the moving mean.

    Returns:
      Values [S, T - 1, D]. In each seed the mean variance of the columns of a group is 1.

    Raises:
      RunError: a value is missing, or a group never changes or always changes by the same amount.
    """
    columns = groups(found)
    if of == "increments":
        x_SxTxD = np.diff(found.values, axis=1)
    else:
        x_SxTxD = (found.values - _moving_mean(found.values, window))[:, 1:]
    for own in columns.values():
        size = np.sqrt(x_SxTxD[..., own].var(1).mean(-1))
        x_SxTxD[..., own] /= np.maximum(size, np.finfo(float).tiny)[:, None, None]
    return x_SxTxD


def _moving_mean(x_SxTxD, window):
    return uniform_filter1d(x_SxTxD, window, axis=1, mode="nearest")


def components(x_TxD, modes: int = MODES) -> tuple[np.ndarray, np.ndarray]:
    """Compute the scores of the principal components and their shares of the variance.

    Args:
      x_TxD: columns.
      modes: maximum number of components. There are fewer if there are fewer linearly independent
        columns.

    Returns:
      Scores [T, K] and shares [K], in descending order of the share. The sign of a component is
      such that its loading of largest absolute value is positive.
    """
    centred = x_TxD - x_TxD.mean(0)
    value, vector = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(value)[::-1][:modes]
    order = order[value[order] > LEAST_SHARE * value.sum()]
    vector = vector[:, order]
    largest = vector[np.abs(vector).argmax(0), np.arange(len(order))]
    share = value[order] / max(value.sum(), np.finfo(float).tiny)
    return centred @ (vector * np.sign(largest)), share


def steady(x_SxTxC, window: int) -> np.ndarray:
    """Remove trends and changes of scale from channels.

    The result is the deviation from a moving mean in moving standard deviations.

    Args:
      x_SxTxC: channels.
      window: number of points of the centred window.

    Returns:
      Steady channels [S, T, C], clipped to [-8, 8].
    """
    apart = x_SxTxC - _moving_mean(x_SxTxC, window)
    scale = np.sqrt(np.maximum(_moving_mean(apart**2, window), 0.0))
    z = np.divide(apart, scale, out=np.zeros_like(apart), where=scale > 0)
    return np.clip(z, -LIMIT, LIMIT)


def channels(found: list[Recorded], modes: int, of: str, window: int) -> list[Channels]:
    """Compute the principal components of the changes in runs.

    Components of weights and units are computed for each seed separately. Components of scalars and
    named variables are common to all seeds of all runs.

    Args:
      found: columns of each run.
      modes: maximum number of components.
      of: `increments` or `levels`, see `moving`.
      window: number of points of the moving mean, see `moving`.

    Returns:
      Channels of each run, without its first point.

    Raises:
      RunError: a value is missing, a group of columns is constant, or the runs differ in their
        columns.
    """
    if len({tuple(f.group_D) for f in found}) > 1:
        raise RunError("the runs do not have the same columns: analyse them separately")
    change = [moving(f, of, window) for f in found]
    if found[0].own:
        scored = [[components(own, modes) for own in x] for x in change]
        kept = min(len(share) for own in scored for _, share in own)
        made = [
            (np.stack([s[:, :kept] for s, _ in own]), np.stack([share[:kept] for _, share in own]))
            for own in scored
        ]
    else:
        together, share = components(np.concatenate([*map(np.concatenate, change)]), modes)
        ends = np.cumsum([x.shape[0] * x.shape[1] for x in change])[:-1]
        parts = np.split(together, ends)
        made = [
            (part.reshape(*x.shape[:2], -1), np.tile(share, (len(x), 1)))
            for part, x in zip(parts, change, strict=True)
        ]
    return [Channels(f.steps[1:], *m) for f, m in zip(found, made, strict=True)]
