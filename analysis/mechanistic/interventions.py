"""Test of the effects of interventions at a critical step against those at ordinary steps.

The effect of an intervention is the absolute change of the loss. It is large for important units at
any step. Each unit is therefore compared with itself: its effect between the two sides of a
critical step is tested against its effects between ordinary pairs of steps, by the test that is
used for changes (see excesses.py). Under the null, the critical step is one more ordinary pair.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.mechanistic import single_units
from analysis.mechanistic.changes import LEAST_EARLIER
from analysis.mechanistic.excesses import LEAST_PAIRS, excesses, usable
from analysis.mechanistic.overview import quiet_pairs
from analysis.runs.reader import Run, RunError
from tapjax.contract.files import read_json, read_npz
from tapjax.contract.layout import INTERVENTIONS, pair_name

# Effects that are tested: kinds of files, of which the second is subtracted if there are two.
TESTED = {
    "undo": ("undo",),
    "transplant": ("transplant",),
    "ablation": ("ablate_after", "ablate_before"),
}
LEAST = 1e-6  # smallest difference of the loss that is distinguished


class Intervention(NamedTuple):
    """Effects of all interventions at one critical step.

    `about` holds the `step`, the `seed`, `why` the step was chosen, the number of ordinary
    `null_pairs` and the `smallest_p`. `rows` are the tested effects, most unusual first, see
    `compare`. `units` holds for each (layer, intervention) the absolute effects of every unit and,
    last, of the whole layer at the critical step, and their medians over ordinary pairs.
    """

    about: dict
    rows: list[dict]
    units: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def read_plan(run: Run) -> dict:
    """Read the critical steps around which interventions were made.

    Args:
      run: open run.

    Returns:
      JSON data: `window`, and `moments`, as from `critical_steps.plan`.

    Raises:
      RunError: no interventions were made, or the file is damaged.
    """
    path = run.path / INTERVENTIONS / "moments.json"
    if not path.is_file():
        raise RunError(
            f"{run.path} has no interventions: tapjax intervene --run={run.path} makes them"
        )
    return read_json(path, {"window": int, "moments": list})


def check_pairs(run: Run, planned: dict) -> None:
    """Check that there are enough ordinary pairs, before anything is computed.

    Args:
      run: open run.
      planned: plan of the critical steps.

    Raises:
      RunError: there are too few.
    """
    for moment, pairs in zip(planned["moments"], quiet_pairs(run, planned), strict=True):
        about = moment["triple"][1]
        seeds = [pair[0] for pair in pairs]
        rows = usable(seeds)
        seed, step = about["jump_info"]["seed"], about["step"]
        earlier = sum(own == seed and after <= step for own, _, after in pairs)
        if earlier < LEAST_EARLIER:
            raise RunError(
                f"{run.name}, step {step}: the step is too early: {earlier} ordinary pairs of its "
                f"seed precede it, but {LEAST_EARLIER} are needed"
            )
        if len(rows) < LEAST_PAIRS or seed not in np.take(seeds, rows):
            raise RunError(
                f"{run.name}, step {step}: {len(rows)} ordinary pairs are too few, at "
                f"least {LEAST_PAIRS} are needed; train longer, or name fewer steps"
            )


def compare(
    run: Run, unit: tuple[str, int] | None = None, planned: dict | None = None
) -> list[Intervention]:
    """Test the effects of all interventions of a run.

    Args:
      run: open run with interventions.
      unit: (layer, number) of the only unit to test, which was chosen beforehand; None to test all
        units and layers.
      planned: plan of the critical steps; None for the stored one.

    Returns:
      One Intervention per critical step. A row has the `layer`, `intervention` and `unit`, None for
      the whole layer, the `effect` on the loss, the `accuracy`, the `class` whose loss changes
      most, the `ordinary` effect, `z` and `p`. Of single units, only the most unusual of each layer
      and intervention has a row. p is corrected for all layers, units, interventions and critical
      steps.

    Raises:
      RunError: there are no interventions, too few ordinary pairs, or no such unit.
    """
    planned = planned or read_plan(run)
    quiet = quiet_pairs(run, planned)
    found = []
    for moment, pairs in zip(planned["moments"], quiet, strict=True):
        before, during, after = (side["step"] for side in moment["triple"])
        seed = moment["triple"][1]["jump_info"]["seed"]
        here = _read(run, before, after, seed)
        null = [(*pair, _read(run, *pair[1:], pair[0])) for pair in pairs]
        layers = _layers(here, [pair[3] for pair in null])
        if unit:
            if unit[0] not in layers or not unit[1] < len(here[f"undo/{unit[0]}/loss"]) - 1:
                raise RunError(f"unit {unit[0]}:{unit[1]} has no interventions in {run.path}")
            layers = [unit[0]]
        where = ([p[0] for p in null], [(p[1] + p[2]) // 2 for p in null])
        at = (seed, (before + after) // 2)
        effects = [p[3] for p in null]
        try:
            rows = _rows(here, effects, where, at, layers, unit, len(quiet))
        except ValueError as error:
            raise RunError(f"{run.name}, step {during}: {error}; train longer") from error
        pairs_used = len(usable(where[0]))
        about = {
            "step": during,
            "seed": seed,
            "why": moment["triple"][1]["jump_info"],
            "null_pairs": pairs_used,
            "smallest_p": min(len(quiet) / (1 + pairs_used), 1.0),
        }
        units = {
            (layer, what): (
                _effect(here, what, layer),
                np.median([_effect(each, what, layer) for each in effects], 0),
            )
            for layer in layers
            for what in TESTED
        }
        rows.sort(key=lambda row: (row["p"], -row["z"]))
        found.append(Intervention(about, rows, units))
    return found


def _layers(here, null):
    """Return the layers in which interventions were made between all pairs, in order."""
    each = [
        [
            name.split("/")[1]
            for name in arrays
            if name.startswith("undo/") and name.endswith("/loss")
        ]
        for arrays in (here, *null)
    ]
    shared = set.intersection(*map(set, each))
    return [layer for layer in each[0] if layer in shared]


def _read(run, before, after, seed) -> dict[str, np.ndarray]:
    """Read the effects of one seed between two steps."""
    path = Path(run.path) / INTERVENTIONS / pair_name(before, after)
    if not path.is_file():
        raise RunError(f"{path} is missing: tapjax intervene --run={run.path} makes it")
    arrays = read_npz(path, lambda name: True)
    seeds = arrays.pop("seeds").tolist()
    return {name: a[seeds.index(seed)] for name, a in arrays.items() if name != "steps"}


def signed(arrays, what, layer, quantity="loss"):
    """Return an effect of every unit and of the whole layer.

    Args:
      arrays: effects of one seed between two steps, by their names in the file.
      what: key of `TESTED`.
      layer: name of the layer.
      quantity: `loss`, `accuracy` or `class_loss`.

    Returns:
      Array [U + 1, ...]; for an ablation that of the later network less that of the earlier one.
    """
    first, *second = (arrays[f"{kind}/{layer}/{quantity}"].astype(float) for kind in TESTED[what])
    return first - second[0] if second else first


def _effect(arrays, what, layer):
    return np.abs(signed(arrays, what, layer))


def _rows(here, null, where, at, layers, unit, tests):
    keys = [(layer, what) for layer in layers for what in TESTED]
    own = [_effect(here, what, layer) for layer, what in keys]
    others = [np.stack([_effect(n, what, layer) for n in null]) for layer, what in keys]
    column = -1 if unit is None else unit[1]
    observed_K = np.array([a[column] for a in own])
    null_NxK = np.stack([a[:, column] for a in others], 1)
    pairs = [(a[:-1], b[:, :-1]) for a, b in zip(own, others, strict=True)]
    of_units = pairs if unit is None else ()
    z, p = excesses(null_NxK, *where, observed_K, *at, LEAST, of_units)
    whole = None if unit is None else unit[1]
    rows = [
        _row(here, key, whole, column, null_NxK[:, k], z[k], p[k], tests)
        for k, key in enumerate(keys)
    ]
    if unit is not None:
        return rows
    same = np.asarray(where[0]) == at[0]
    for j, (key, (row_U, null_NxU)) in enumerate(zip(keys, pairs, strict=True)):
        kept = single_units.live(np.vstack([null_NxU, row_U]))
        if len(kept):
            steps = np.asarray(where[1])[same]
            z_U = single_units.unit_z(row_U[kept], at[1], null_NxU[same][:, kept], steps)
            most = int(kept[z_U.argmax()])
            k = len(keys) + j
            rows.append(_row(here, key, most, most, null_NxU[:, most], z[k], p[k], tests))
    return rows


def _row(here, key, unit, column, null_N, z, p, tests):
    layer, what = key
    classes_C = signed(here, what, layer, "class_loss")[column]
    known = np.isfinite(classes_C).any()
    return {
        "layer": layer,
        "intervention": what,
        "unit": unit,
        "effect": float(signed(here, what, layer)[column]),
        "accuracy": float(signed(here, what, layer, "accuracy")[column]),
        "class": int(np.nanargmax(np.abs(classes_C))) if known else None,
        "ordinary": float(np.median(null_N)),
        "z": float(z),
        "p": float(min(p * tests, 1.0)),
    }
