"""Choice of the critical steps of a run, and of ordinary steps to compare them with."""

from typing import NamedTuple

import numpy as np

from analysis.mechanistic import coordination
from analysis.mechanistic.excesses import LEAST_PAIRS
from analysis.runs.measures import one_value
from analysis.runs.reader import Run, RunError
from tapjax.contract import detector
from tapjax.contract.layout import OF_LAYERS
from tapjax.contract.text import plural

COLUMNS = ("run", "seed", "metric", "layer", "step", "size", "score")
SIDES = ("before", "during", "after")
# Number of ordinary pairs of states, over all seeds, with which a change is compared. The smallest
# p-value is about one divided by this number.
NULL_PAIRS = 150
SEED = 0
WINDOW = 5  # measurements from a critical step to its sides if the config does not set the window


class CriticalMoment(NamedTuple):
    """Critical step, or a step before or after one.

    `moment_type` is a side and a kind, as in `before_jump`. The kinds are `jump`, `coordinated`,
    `loss_linked` and `asked`, the last of which means that the user requested the step. `jump_info`
    holds the reason for the choice: for a jump, its seed, layer, size and score.
    """

    experiment: str
    step: int
    moment_type: str
    jump_info: dict


def jumps_of_run(run: Run, metric: str | None = None) -> list[dict]:
    """Detect the jumps of one run.

    A series is searched up to its first value that is not finite.

    Args:
      run: open run.
      metric: name of the dimensionality metric; None uses the metric that the run names. It may be
        a quantity of a measure, MEASURE/QUANTITY, with one value per step or several.

    Returns:
      One row per jump: run, seed, metric, layer (`mean` for D), step, size and score.

    Raises:
      RunError: there are too few measurements.
    """
    metric = metric or run.model["dimension"]
    t, names, each = _series(run, metric)
    least = detector.LEAST_LENGTH
    if len(t) < least:
        raise RunError(
            f"{run.path}: {len(t)} measurements are too few for jumps, at least {least} are needed"
        )
    rows = []
    for seed, series_TxL in zip(run.seeds, each, strict=True):
        found, _ = detector.search_finite(series_TxL.T, t, np.zeros(series_TxL.shape[1], int))
        for layer, of_layer in zip(names, found, strict=True):
            rows += [
                dict(zip(COLUMNS, (run.name, seed, metric, layer, *j[1:]), strict=True))
                for j in of_layer
            ]
    return rows


def searched(run: Run, metric: str | None = None) -> tuple[int, int]:
    """Return the number of measurements and of series per seed that `jumps_of_run` searches."""
    t, names, _ = _series(run, metric or run.model["dimension"])
    return len(t), len(names)


def _series(run, metric):
    """Return the steps [T], the names and the values [S, T, K] of the series of a metric."""
    measure, _, quantity = metric.partition("/")
    if not quantity:
        layers_SxTxL = run.array("probe", metric)
        mean_SxT = run.dimension(metric, gaps=True)
        each = np.concatenate([mean_SxT[:, :, None], layers_SxTxL], 2)
        return run.steps("probe"), (detector.MEAN, *run.layer_names), each
    if not run.has(measure, quantity) or run.array(measure, quantity).ndim == 2:
        values_SxTxK = one_value(run, measure, quantity)[:, :, None]
        return run.steps(measure), (quantity,), values_SxTxK
    values = run.array(measure, quantity)
    values_SxTxK = values.reshape(*values.shape[:2], -1)
    names = tuple(f"{quantity}/{k}" for k in range(values_SxTxK.shape[2]))
    if measure in OF_LAYERS and len(run.layer_names) == len(names):
        names = tuple(run.layer_names)
    return run.steps(measure), names, values_SxTxK


def critical_moments(run: Run, most: int, window: int, asked=()) -> list[list[CriticalMoment]]:
    """Choose the critical steps of a run: the strongest jumps, then periods of joint movement.

    Args:
      run: open run.
      most: maximum number of critical steps; it does not limit requested steps.
      window: steps from `during` to `before` and to `after`.
      asked: steps that the user requests. If there are any, they are used in every seed instead of
        detected steps.

    Returns:
      One triple (before, during, after) per critical step; the first triple has number 1.

    Raises:
      RunError: a requested step is too close to an end of the run.
    """
    last = int(run.steps("probe")[-1])
    for step in asked:
        if not window <= step <= last - window:
            raise RunError(
                f"step {step} is nearer than {window} steps to an end of {run.path}: choose a step "
                f"from {window} to {last - window}"
            )
    chosen = [(step, "asked", {"seed": seed}) for step in asked for seed in run.seeds]
    if not asked:
        for step, kind, info in _of_jumps(run, window) + _of_periods(run):
            apart = all(abs(step - other) > window for other, _, _ in chosen)
            if window <= step <= last - window and apart:
                chosen.append((step, kind, info))
    return [
        [
            CriticalMoment(run.name, at, f"{side}_{kind}", info)
            for side, at in zip(SIDES, (step - window, step, step + window), strict=True)
        ]
        for step, kind, info in (chosen if asked else chosen[:most])
    ]


def _of_jumps(run, window):
    if len(run.steps("probe")) < detector.LEAST_LENGTH:
        return []
    groups = detector.strongest(jumps_of_run(run), len(run.steps("probe")), window)
    return [
        (group[0]["step"], "jump", group[0] | {"layers": sorted({j["layer"] for j in group})})
        for group in groups
    ]


def together(run: Run) -> list[tuple[int, str, coordination.Verdict | str]]:
    """Test whether the layers of each seed move together, and whether D moves with the loss.

    Args:
      run: open run.

    Returns:
      One triple per seed and test: the seed, `coordinated` or `loss_linked`, and the Verdict, or a
      text that says why there is none.
    """
    layers_SxTxL = run.array("probe", run.model["dimension"])
    d_SxT, known = run.dimension(gaps=True), has_loss(run)
    loss_SxT = loss_at_measurements(run) if known else np.full(d_SxT.shape, np.nan)
    found, rng = [], np.random.default_rng(SEED)
    for i, seed in enumerate(run.seeds):
        for kind, judge, series in (
            ("coordinated", coordination.coordinated, (layers_SxTxL[i],)),
            ("loss_linked", coordination.loss_linked, (d_SxT[i], loss_SxT[i])),
        ):
            if kind == "loss_linked" and not known:
                found.append((seed, kind, "the loss was not recorded"))
                continue
            try:
                found.append((seed, kind, judge(*series, rng)))
            except ValueError as error:
                found.append((seed, kind, str(error)))
    return found


def _of_periods(run):
    """Return the strongest measurement of each period in which layers, or D and loss, co-vary."""
    found, at = [], run.steps("probe")
    for seed, kind, verdict in together(run):
        if isinstance(verdict, str):
            continue
        for start, stop, value in verdict.periods:
            peak = start + int(np.argmax(np.abs(verdict.value_T[start:stop])))
            info = {"seed": seed, "value": value, "level": verdict.level, "p": verdict.p}
            found.append((int(at[peak]), kind, info))
    order = {"coordinated": 0, "loss_linked": 1}
    return sorted(found, key=lambda m: (order[m[1]], -m[2]["value"] / m[2]["level"]))


def has_loss(run: Run) -> bool:
    """Decide whether a run has recorded a loss."""
    return run.has("probe", "loss") or run.has("scalar", "loss")


def loss_at_measurements(run: Run) -> np.ndarray:
    """Return the loss on the probe, or the training loss if that was not recorded, [S, T]."""
    if run.has("probe", "loss"):
        return run.array("probe", "loss")
    at, step = run.steps("probe"), run.steps("scalar")
    return np.stack([np.interp(at, step, loss_T) for loss_T in run.array("scalar", "loss")])


def ordinary_pairs(run: Run, centre: int, window: int) -> list[tuple[int, int]]:
    """Choose pairs of steps that are as far apart as before and after, near the critical step.

    The pairs follow each other without overlap and exclude the window around the critical step.

    Args:
      run: open run.
      centre: critical step.
      window: half the distance in steps between the two steps of a pair.

    Returns:
      Pairs in the order of steps, enough for `NULL_PAIRS` over all seeds if the run is long enough.
    """
    at, apart = run.steps("probe"), 2 * window
    last = int(at[-1])
    # The offset is the same for all critical steps. It is at a measurement, because a replay then
    # runs whole blocks.
    offset = int(at[np.random.default_rng(SEED).integers(np.searchsorted(at, apart))])
    starts = np.arange(offset, last - apart + 1, apart)
    starts = starts[(starts + apart <= centre - window) | (starts >= centre + window)]
    away = np.abs(np.log((starts + window) / centre))
    nearest = starts[np.argsort(away, kind="stable")]
    wanted = -(-NULL_PAIRS // len(run.seeds))
    return [(int(s), int(s) + apart) for s in np.sort(nearest[:wanted])]


def plan_from(run: Run, available, most: int, asked=()) -> dict:
    """Plan a comparison from the snapshots that another loop has written.

    Args:
      run: open run.
      available: steps of the snapshots.
      most: maximum number of critical steps; it does not limit requested steps.
      asked: steps that the user requests instead of detected steps.

    Returns:
      JSON data as from `plan`. Critical steps are moved to the nearest snapshot with one on either
      side, and ordinary pairs lie at snapshots.

    Raises:
      RunError: there are too few snapshots, they are not evenly spaced, or a requested step has no
        snapshot on either side.
    """
    available = np.unique(available)
    # An ordinary pair takes two intervals, and none lies around the critical step.
    needed = 2 * (-(-LEAST_PAIRS // len(run.seeds)) + 3) + 1
    if len(available) < needed:
        raise RunError(
            f"{run.path}: {len(available)} snapshots are too few to compare a critical step with "
            f"ordinary ones: with {plural(len(run.seeds), 'seed')}, at least {needed}, evenly "
            "spaced, are needed"
        )
    apart = np.diff(available)
    window = int(apart[0])
    if (apart != window).any():
        raise RunError(f"{run.path}: its snapshots are not evenly spaced in steps")
    for step in asked:
        if not available[0] < step < available[-1]:
            raise RunError(
                f"--at={step}: {run.path} has snapshots from step {available[0]} to "
                f"{available[-1]}, and needs one on either side"
            )
    moments, taken = [], []
    for triple in critical_moments(run, len(available), window, asked):
        nearest = int(available[1:-1][np.abs(available[1:-1] - triple[1].step).argmin()])
        near = abs(nearest - triple[1].step) <= window
        if not near or any(abs(nearest - other) <= window for other in taken):
            continue
        taken += [] if asked else [nearest]
        at = (nearest - window, nearest, nearest + window)
        moved = [m._replace(step=step)._asdict() for m, step in zip(triple, at, strict=True)]
        starts = available[:-2:2]
        away = (starts + 2 * window <= at[0]) | (starts >= at[2])
        pairs = [(int(start), int(start) + 2 * window) for start in starts[away]]
        moments.append({"triple": moved, "null": pairs})
    moments = moments if asked else moments[:most]
    return {"window": window, "moments": moments, "steps": available.tolist()}


def plan(run: Run, most: int, asked=(), window: int | None = None) -> dict:
    """Plan the snapshots that `analysis mechanistic` needs.

    Args:
      run: open run.
      most: maximum number of critical steps.
      asked: steps that the user requests instead of detected steps.
      window: steps from `during` to `before` and to `after`; None uses `checkpoint.pin_window`, or
        5 measurements if that is 0.

    Returns:
      JSON data: `window`; `moments`, one dict per critical step with its `triple` of
      CriticalMoment as dicts and its `null` pairs; and `steps`, all steps that need a snapshot.

    Raises:
      RunError: a requested step is too close to an end of the run; see `critical_moments`.
    """
    of_config = run.config.get("checkpoint", {}).get("pin_window", 0)
    window = window or of_config or WINDOW * int(np.median(np.diff(run.steps("probe"))))
    moments, steps = [], set()
    for triple in critical_moments(run, most, window, asked):
        pairs = ordinary_pairs(run, triple[1].step, window)
        moments.append({"triple": [m._asdict() for m in triple], "null": pairs})
        steps |= {m.step for m in triple} | {step for pair in pairs for step in pair}
    if not moments:  # take snapshots that show the trajectory of training instead
        at = run.steps("probe")
        steps = {int(at[i]) for i in np.linspace(0, len(at) - 1, 9).astype(int)}
    return {"window": window, "moments": moments, "steps": sorted(steps)}
