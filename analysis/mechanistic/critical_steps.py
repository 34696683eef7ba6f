"""Critical moments of a run: which steps to look at, and ordinary ones to compare them with."""

from typing import NamedTuple

import numpy as np

from analysis.mechanistic import coordination
from analysis.runs.reader import Run, RunError
from tapjax.contract import detector

COLUMNS = ("run", "seed", "metric", "layer", "step", "size", "score")
SIDES = ("before", "during", "after")
# Ordinary pairs of states, over all seeds, that a change is compared with. The smallest p-value is
# one in so many.
NULL_PAIRS = 150
SEED = 0
WINDOW = 5  # measurements from a moment to its sides, where the config leaves it open


class CriticalMoment(NamedTuple):
    """A step worth looking at.

    `moment_type` is a side and a kind, as in `before_jump`; the kinds are `jump`, `coordinated`,
    `loss_linked` and `asked`. `jump_info` says why: for a jump its seed, layer, size and score.
    """

    experiment: str
    step: int
    moment_type: str
    jump_info: dict


def jumps_of_run(run: Run, metric: str | None = None) -> list[dict]:
    """Jumps of one run; a series that stops being finite is searched up to there.

    Args:
      run: an open run.
      metric: dimensionality; the run's own by default.

    Returns:
      One row a jump: run, seed, metric, layer (`mean` for D), step, size, score.

    Raises:
      RunError: too few measurements.
    """
    metric = metric or run.model["dimension"]
    t, least = run.steps("probe"), detector.LEAST_LENGTH
    if len(t) < least:
        raise RunError(f"{run.path}: {len(t)} measurements are too few for jumps, at least {least}")
    layers_SxTxL = run.array("probe", metric)
    each = np.concatenate([run.dimension(metric, gaps=True)[:, :, None], layers_SxTxL], 2)
    rows = []
    for seed, series_TxL in zip(run.seeds, each, strict=True):
        found, _ = detector.search_finite(series_TxL.T, t, np.zeros(series_TxL.shape[1], int))
        for layer, of_layer in zip((detector.MEAN, *run.layer_names), found, strict=True):
            rows += [
                dict(zip(COLUMNS, (run.name, seed, metric, layer, *j[1:]), strict=True))
                for j in of_layer
            ]
    return rows


def critical_moments(run: Run, most: int, window: int, asked=()) -> list[list[CriticalMoment]]:
    """The moments of a run: its strongest jumps, then other periods; or what is asked for.

    Args:
      run: an open run.
      most: at most so many.
      window: steps from `during` to `before` and `after`.
      asked: steps to look at instead, in every seed.

    Returns:
      Triples before, during, after; the first one is moment number 1.

    Raises:
      RunError: a step that was asked for is too near to an end of the run.
    """
    last = int(run.steps("probe")[-1])
    for step in asked:
        if not window <= step <= last - window:
            raise RunError(f"step {step} is nearer than {window} steps to an end of {run.path}")
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
    """Whether the layers of each seed move together, and whether D moves with the loss.

    Args:
      run: an open run.

    Returns:
      (seed, `coordinated` or `loss_linked`, the verdict or why there is none).
    """
    layers_SxTxL = run.array("probe", run.model["dimension"])
    loss_SxT, d_SxT = loss_at_measurements(run), run.dimension(gaps=True)
    found, rng = [], np.random.default_rng(SEED)
    for i, seed in enumerate(run.seeds):
        for kind, judge, series in (
            ("coordinated", coordination.coordinated, (layers_SxTxL[i],)),
            ("loss_linked", coordination.loss_linked, (d_SxT[i], loss_SxT[i])),
        ):
            try:
                found.append((seed, kind, judge(*series, rng)))
            except ValueError as error:
                found.append((seed, kind, str(error)))
    return found


def _of_periods(run):
    """The strongest measurement of each period in which layers, or D and the loss, go together."""
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


def loss_at_measurements(run: Run) -> np.ndarray:
    """The probe's loss, or where none was recorded the training loss, [S, T]."""
    if run.has("probe", "loss"):
        return run.array("probe", "loss")
    at, step = run.steps("probe"), run.steps("scalar")
    return np.stack([np.interp(at, step, loss_T) for loss_T in run.array("scalar", "loss")])


def ordinary_pairs(run: Run, centre: int, window: int) -> list[tuple[int, int]]:
    """Pairs of steps as far apart as before and after, in the same part of training.

    They follow each other without overlap and leave the moment itself out.

    Args:
      run: an open run.
      centre: step of the moment.
      window: half the distance of a pair.

    Returns:
      Pairs in order, enough for `NULL_PAIRS` over all seeds if the run is long enough.
    """
    at, apart = run.steps("probe"), 2 * window
    last = int(at[-1])
    # The same for all moments; at measurements, where a replay runs whole blocks.
    offset = int(at[np.random.default_rng(SEED).integers(np.searchsorted(at, apart))])
    starts = np.arange(offset, last - apart + 1, apart)
    starts = starts[(starts + apart <= centre - window) | (starts >= centre + window)]
    away = np.abs(np.log((starts + window) / centre))
    nearest = starts[np.argsort(away, kind="stable")]
    wanted = -(-NULL_PAIRS // len(run.seeds))
    return [(int(s), int(s) + apart) for s in np.sort(nearest[:wanted])]


def plan(run: Run, most: int, asked=(), window: int | None = None) -> dict:
    """What `analysis mechanistic` wants snapshots of.

    Args:
      run: an open run.
      most: at most so many moments.
      asked: steps to look at instead of jumps.
      window: steps from `during` to `before` and `after`; `checkpoint.pin_window`, or 5
        measurements.

    Returns:
      JSON data: `window`, `moments` (triples of CriticalMoment as dicts, each with its `null`
      pairs) and `steps`, all that are needed.

    Raises:
      RunError: see `critical_moments`.
    """
    of_config = run.config.get("checkpoint", {}).get("pin_window", 0)
    window = window or of_config or WINDOW * int(np.median(np.diff(run.steps("probe"))))
    moments, steps = [], set()
    for triple in critical_moments(run, most, window, asked):
        pairs = ordinary_pairs(run, triple[1].step, window)
        moments.append({"triple": [m._asdict() for m in triple], "null": pairs})
        steps |= {m.step for m in triple} | {step for pair in pairs for step in pair}
    if not moments:  # something to look at: the course of training
        at = run.steps("probe")
        steps = {int(at[i]) for i in np.linspace(0, len(at) - 1, 9).astype(int)}
    return {"window": window, "moments": moments, "steps": sorted(steps)}
