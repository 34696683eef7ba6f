"""Changes inside a network around a critical step, beyond the changes of ordinary training.

Every quantity of every layer is compared before and after the critical step. The difference is
tested against ordinary pairs of states that are equally far apart and in the same part of training
(see excesses.py). One of the quantities of each layer is the change of the single unit, channel or
head that moved most (see single_units.py).
"""

from typing import NamedTuple

import numpy as np

from analysis.mechanistic import metrics, single_units
from analysis.mechanistic.critical_steps import SIDES, CriticalMoment
from analysis.mechanistic.excesses import LEAST_PAIRS, excesses, usable
from analysis.runs.reader import Run, RunError
from analysis.runs.snapshots import Snapshot
from tapjax.contract.architectures import rectified_layers

ONE_UNIT = "weights of one unit"  # or channel or head: the quantity of `single_units.largest`
MOST_UNITS = 10  # maximum number of units that are listed per critical step
COMPARED = ("weights", "activations", "positive", "attention")  # groups of a snapshot
ANGLES = 5  # number of principal directions whose angles are measured
# Minimum number of ordinary pairs before the critical step. The first changes of training do not
# follow the trend of later ones, so later pairs alone cannot predict them.
LEAST_EARLIER = 5
ALPHA = 0.05
SHUFFLES, SHUFFLE_SEED = 5, 0  # shuffles of the labels that give the selectivity by chance
# Smaller changes do not count, for quantities that change in whole units and may stay constant for
# a long time.
RESOLUTION = {"dead units": 0.5, "born or died": 0.5, "feature turnover": 0.25}


class AnalysisResult(NamedTuple):
    """Results of the comparison at one critical step.

    `moment` names the critical step. `measurements` holds, among others, `changes` (one row per
    layer and quantity, the most unusual first, with the values before, during and after), `units`
    (the units that moved most) and `null_pairs` (the number of ordinary pairs). `visualizations`
    maps the content of each figure to its file.
    """

    experiment: str
    moment: str
    measurements: dict
    visualizations: dict


class Pair(NamedTuple):
    """Network of one seed at two steps."""

    seed: int
    before: Snapshot
    after: Snapshot


def owner(path: str, attention) -> tuple[str, str]:
    """Return the measured layer that a parameter belongs to, and the part of the layer that it is.

    Args:
      path: path of the parameter, such as `block_0/linear_0/kernel` or
        `block_0/attention/query/kernel`.
      attention: names of the attention layers. Their projections belong to them.

    Returns:
      (layer, part). The part is the name of the projection for a kernel of an attention layer,
      empty for other kernels, and the name of the parameter for parameters that are not kernels. A
      parameter that is not in a module is a layer of its own name.
    """
    module, _, leaf = path.rpartition("/")
    name = module.replace("/", "_")
    block, _, projection = name.rpartition("_")
    if block in attention and leaf == "kernel":
        return block, projection
    return (name, "" if leaf == "kernel" else leaf) if name else (leaf, "")


def values(snapshot: Snapshot, rectified) -> dict[tuple[str, str], float]:
    """Compute the quantities of a network at one step.

    Args:
      snapshot: snapshot of one seed.
      rectified: names of the layers that are followed by a ReLU.

    Returns:
      Dict from (layer, quantity) to the value, in the units that metrics.py documents.
    """
    found = {}
    for layer, p_PxHxQxQ in snapshot.group("attention").items():
        special = metrics.attention_specialization(p_PxHxQxQ)
        places = metrics.positional_scores(p_PxHxQxQ)
        found |= {
            (layer, "entropy"): special["mean_entropy"],
            (layer, "specialization"): special["specialization_index"],
            (layer, "head similarity"): metrics.head_similarity(p_PxHxQxQ),
            **{(layer, f"looks at {name}"): float(s.mean()) for name, s in places.items()},
        }
    for layer, a_PxD in snapshot.group("activations").items():
        found[layer, "sparsity"] = metrics.activation_sparsity(a_PxD)
        if (a_PxD > 0).any():
            rng = np.random.default_rng(SHUFFLE_SEED)  # the same shuffles for every state
            chance = metrics.selectivity_beyond_chance(a_PxD, snapshot.y_P, rng, SHUFFLES)
            beyond = chance["selectivity"] - chance["chance"]
            found[layer, "class selectivity beyond chance"] = beyond
    for layer, positive_D in snapshot.group("positive").items():
        if layer in rectified:
            found[layer, "dead units"] = float((positive_D == 0).sum())
    for layer, w_hxwxCxD in snapshot.group("filters").items():
        rows = w_hxwxCxD.reshape(-1, w_hxwxCxD.shape[-1]).T
        for name, value in metrics.filter_differentiation(rows).items():
            found[layer, f"filter {name}"] = value
    return found


def changes(pair: Pair, rectified) -> dict[tuple[str, str], float]:
    """Measure how much each layer differs between two steps.

    Args:
      pair: network of one seed at two steps.
      rectified: names of the layers that are followed by a ReLU.

    Returns:
      Dict from (layer, quantity) to the change. It contains the absolute difference of each of
      `values`, and quantities that compare the two states directly.
    """
    before, after = pair.before, pair.after
    old, new = values(before, rectified), values(after, rectified)
    found = {key: abs(new[key] - old[key]) for key in old.keys() & new.keys()}
    for path, w in before.group("weights").items():
        if w.ndim > 1:
            moved = metrics.weight_change_magnitude(w, after.group("weights")[path])
            layer, part = owner(path, before.group("attention"))
            found[layer, f"{part} weight change".strip()] = moved["relative_change"]
            found[layer, f"{part} weight turn".strip()] = 1 - moved["cosine_similarity"]
    for layer, x_PxD in before.group("activations").items():
        y_PxD = after.group("activations")[layer]
        varies = [np.ptp(a, axis=0).any() for a in (x_PxD, y_PxD)]
        if all(varies):
            found[layer, "1 - CKA"] = 1 - metrics.linear_cka(x_PxD, y_PxD)
            angles = metrics.principal_angles(x_PxD, y_PxD, ANGLES)
            found[layer, "principal angle"] = float(angles.mean())
        else:  # a layer that became constant has nothing in common with its earlier state
            found[layer, "1 - CKA"] = float(any(varies))
            found[layer, "principal angle"] = any(varies) * np.pi / 2
        rank = [metrics.class_selectivity(s, before.y_P) for s in (x_PxD, y_PxD)]
        found[layer, "feature turnover"] = metrics.feature_turnover(*rank)
    for layer in rectified:
        if layer in before.group("positive"):
            moved = metrics.births_and_deaths(
                before.group("positive")[layer], after.group("positive")[layer]
            )
            found[layer, "born or died"] = float(moved["born"] + moved["died"])
    for layer, p in before.group("attention").items():
        distance_H = metrics.attention_distance(p, after.group("attention")[layer]).mean((0, 2))
        found[layer, "attention moved"] = float(distance_H.mean())
        found[layer, "most moved head"] = float(distance_H.max())
    return found


def unit_changes(pair: Pair) -> dict[str, np.ndarray]:
    """Measure how far the incoming weights of each unit, channel or head have moved.

    Args:
      pair: network of one seed at two steps.

    Returns:
      Dict from layer to the norms of the changes divided by the norms before, [U];
      not-a-number for units whose weights were zero.
    """
    parts = {}
    heads = {layer: p.shape[1] for layer, p in pair.before.group("attention").items()}
    after = pair.after.group("weights")
    for path, w in pair.before.group("weights").items():
        layer, part = owner(path, heads)
        # The output projection of attention combines all heads and belongs to none of them.
        if w.ndim < 2 or not path.endswith("/kernel") or part == "out":
            continue
        units = heads[layer] if part else w.shape[-1]
        both = [a.reshape(-1, a.shape[-1]).T.reshape(units, -1) for a in (w, after[path])]
        parts.setdefault(layer, []).append(both)
    found = {}
    for layer, pairs in parts.items():
        old, new = (np.concatenate(side, 1).astype(float) for side in zip(*pairs, strict=True))
        norm = np.linalg.norm(old, axis=1)
        found[layer] = np.linalg.norm(new - old, axis=1) / np.where(norm > 0, norm, np.nan)
    return found


class Ordinary(NamedTuple):
    """Changes of one seed over an ordinary pair of steps, and the step midway between them."""

    seed: int
    step: int
    changes: dict[tuple[str, str], float]
    units: dict[str, np.ndarray]


def rectified_of(run: Run) -> list[str]:
    """Return the layers of a run that are directly followed by a ReLU."""
    model = run.config.get("model", {})
    chosen = [model.get(name, "own") for name in ("activation", "norm")]
    if chosen[0] not in ("own", "relu") or chosen[1] not in ("own", "none"):
        return []
    return rectified_layers(run.model.get("structure", {}).get("family"), run.layer_names)


def ordinary(pair: Pair, rectified) -> Ordinary:
    """Measure all changes over a pair of steps.

    Args:
      pair: network of one seed at two steps.
      rectified: names of the layers that are followed by a ReLU.

    Returns:
      The changes of layers and of units, with the step midway between the two.

    Raises:
      RunError: the two snapshots do not hold the same arrays.
    """
    shapes = [
        {(group, name): a.shape for group in COMPARED for name, a in side.group(group).items()}
        for side in (pair.before, pair.after)
    ]
    if shapes[0] != shapes[1]:
        raise RunError(
            f"the snapshots of steps {pair.before.step} and {pair.after.step} do not hold the same "
            "arrays: take them again with `tapjax replay --run=RUN --moments`"
        )
    middle = (pair.before.step + pair.after.step) // 2
    return Ordinary(pair.seed, middle, changes(pair, rectified), unit_changes(pair))


def compare(
    run: Run, triple: list[CriticalMoment], sides: list[Snapshot], null: list[Ordinary], tests: int
) -> AnalysisResult:
    """Test the changes around a critical step against the changes of ordinary training.

    Args:
      run: open run.
      triple: steps before, during and after.
      sides: snapshots of the seed of the critical step at these three steps.
      null: ordinary changes of all seeds, over pairs without a jump between their steps.
      tests: total number of critical steps that are tested. p-values are multiplied by it
        (Bonferroni).

    Returns:
      AnalysisResult without figures.

    Raises:
      RunError: there are too few ordinary pairs, or the snapshots do not hold the same arrays.
    """
    seed, rectified = triple[1].jump_info["seed"], rectified_of(run)
    moment = ordinary(Pair(seed, sides[0], sides[-1]), rectified)
    _check_enough(run, moment, null)
    keys = list(moment.changes)
    table = np.array([[row.changes.get(key, np.nan) for key in keys] for row in null])
    observed = np.array([moment.changes[key] for key in keys])
    known = np.isfinite(observed) & np.isfinite(table).all(0)
    unknown = [" ".join(key) for key, k in zip(keys, known, strict=True) if not k]
    keys = [key for key, k in zip(keys, known, strict=True) if k]
    try:
        where = ([o.seed for o in null], [o.step for o in null])
        least_K = np.array([RESOLUTION.get(quantity, 1e-9) for _, quantity in keys])
        at = (observed[known], seed, moment.step)
        of_units = [(moved, _stack(null, layer)) for layer, moved in moment.units.items()]
        z_K, p_K = excesses(table[:, known], *where, *at, least_K, of_units)
    except ValueError as error:
        raise RunError(f"{run.name}, step {triple[1].step}: {error}; train longer") from error
    at_all = [values(snapshot, rectified) for snapshot in sides]
    usual_K = np.median(table[:, known], 0)
    named = _units(moment, [o for o in null if o.seed == seed])
    singles, z_J, p_J = _singles(named, moment, null), z_K[len(keys) :], p_K[len(keys) :]
    rows = [
        {
            "layer": key[0],
            "quantity": key[1],
            "unit": None,
            **{side: at.get(key) for side, at in zip(SIDES, at_all, strict=True)},
            "change": moment.changes[key],
            "ordinary": float(usual),
            "z": float(z),
            "p": float(min(p * tests, 1.0)),
            "p_alone": float(p),
        }
        for key, usual, z, p in zip(keys, usual_K, z_K[: len(keys)], p_K[: len(keys)], strict=True)
    ]
    rows += [
        row | {"z": float(z), "p": float(min(p * tests, 1.0)), "p_alone": float(p)}
        for row, z, p in zip(singles, z_J, p_J, strict=True)
        if row["unit"] is not None
    ]
    pairs = len(usable([o.seed for o in null]))
    measurements = {
        "seed": seed,
        "steps": [m.step for m in triple],
        "why": triple[1].jump_info,
        "changes": sorted(rows, key=lambda row: (row["p"], -row["z"])),
        "units": named[:MOST_UNITS],
        "not_measured": unknown,
        "null_pairs": pairs,
        "smallest_p": min(tests / (1 + pairs), 1.0),
    }
    kind = triple[1].moment_type.removeprefix("during_")
    return AnalysisResult(run.name, f"{kind} at step {triple[1].step}", measurements, {})


def _check_enough(run, moment, null):
    where = f"{run.name}, step {moment.step}"
    more = "record more snapshots"
    smaller = more if run.recorded else "choose a smaller checkpoint.pin_window"
    longer = more if run.recorded else f"train longer, or {smaller}"
    earlier = sum(o.seed == moment.seed and o.step < moment.step for o in null)
    if len(null) < LEAST_PAIRS:
        raise RunError(
            f"{where}: {len(null)} ordinary pairs are too few, at least {LEAST_PAIRS} are needed; "
            f"{longer}"
        )
    if earlier < LEAST_EARLIER:
        raise RunError(
            f"{where}: the step is too early: {earlier} ordinary pairs of its seed precede it, but "
            f"{LEAST_EARLIER} are needed; {smaller}"
        )


def _stack(null, layer):
    return np.stack([each.units[layer] for each in null])


def _units(moment, null):
    """List the units with the z of their change, largest first; see `single_units.unit_z`."""
    rows, steps = [], np.array([each.step for each in null])
    for layer, moved_U in moment.units.items():
        others = _stack(null, layer)
        kept = single_units.live(np.vstack([others, moved_U]))
        if not len(kept):
            continue
        z_U = single_units.unit_z(moved_U[kept], moment.step, others[:, kept], steps)
        rows += [
            {"layer": layer, "unit": int(unit), "change": float(moved_U[unit]), "z": float(z)}
            for unit, z in zip(kept, z_U, strict=True)
        ]
    return sorted(rows, key=lambda row: -row["z"])


def _singles(named, moment, null):
    """Return one row of the changes per layer: its most unusual unit, or None if it has none."""
    rows = []
    for layer in moment.units:
        first = next((row for row in named if row["layer"] == layer), {})
        unit = first.get("unit")
        usual = None if unit is None else float(np.median(_stack(null, layer)[:, unit]))
        about = {"layer": layer, "quantity": ONE_UNIT, "unit": unit, **dict.fromkeys(SIDES)}
        rows.append(about | {"change": first.get("change"), "ordinary": usual})
    return rows


def findings(result: AnalysisResult) -> list[dict]:
    """Return the changes that are significant, with p at most .05."""
    return [row for row in result.measurements["changes"] if row["p"] <= ALPHA]
