"""What changed inside a network around a critical moment, beyond what changes all the time.

Every quantity of every layer is compared before and after the moment, and over ordinary pairs of
states equally far apart in the same part of training. The logarithm of each change, less its
trend over training, is put in units of the spread of the ordinary ones of its seed. The largest
over all quantities of an ordinary pair is what a change has to exceed (Westfall and Young 1993):
many quantities do not make false findings.
"""

from typing import NamedTuple

import numpy as np

from analysis import measures
from analysis.architectures import rectified_layers
from analysis.io import Run, RunError
from analysis.moments import SIDES, CriticalMoment
from analysis.snapshots import Snapshot

ANGLES = 5  # principal directions whose angles are measured
LEAST_PAIRS = 19  # ordinary pairs over all seeds: below, no p-value reaches 5 %
LEAST_OF_SEED = 5  # ordinary pairs of one seed: a spread needs that many
ALPHA = 0.05
SHUFFLES, SHUFFLE_SEED = 5, 0  # of the labels, for the selectivity that chance gives
LEAST_SPREAD = 0.25  # of the logarithm of a change
# What does not count as a change, of quantities that move in whole units and may rest for long.
RESOLUTION = {"dead units": 0.5, "born or died": 0.5, "feature turnover": 0.25}
SMALL = 0.1  # of a mean change: below that, how much smaller a change is does not matter


class AnalysisResult(NamedTuple):
    """What was found at one moment.

    `moment` names it; `measurements` holds `values` before, during and after, `changes` (one row a
    layer and quantity, the most unusual first), `units` and `null_pairs`; `visualizations` maps
    what a figure shows to its file.
    """

    experiment: str
    moment: str
    measurements: dict
    visualizations: dict


class Pair(NamedTuple):
    """A seed's network at two steps."""

    seed: int
    before: Snapshot
    after: Snapshot


def owner(path: str, attention) -> tuple[str, str]:
    """The measured layer that a parameter belongs to, and its name there.

    Args:
      path: such as `block_0/linear_0/kernel` or `block_0/attention/query/kernel`.
      attention: names of the attention layers, whose projections belong to them.

    Returns:
      (layer, projection): the projection is empty but for attention.
    """
    name = path.rpartition("/")[0].replace("/", "_")
    block, _, projection = name.rpartition("_")
    return (block, projection) if block in attention else (name, "")


def values(snapshot: Snapshot, rectified) -> dict[tuple[str, str], float]:
    """What can be said of a network at one step.

    Args:
      snapshot: of one seed.
      rectified: layers that a ReLU follows.

    Returns:
      (layer, quantity) -> value, in the units that `measures` gives.
    """
    found = {}
    for layer, p_PxHxQxQ in snapshot.group("attention").items():
        special = measures.attention_specialization(p_PxHxQxQ)
        places = measures.positional_scores(p_PxHxQxQ)
        found |= {
            (layer, "entropy"): special["mean_entropy"],
            (layer, "specialization"): special["specialization_index"],
            (layer, "head similarity"): measures.head_similarity(p_PxHxQxQ),
            **{(layer, f"looks at {name}"): float(s.mean()) for name, s in places.items()},
        }
    for layer, a_PxD in snapshot.group("activations").items():
        found[layer, "sparsity"] = measures.activation_sparsity(a_PxD)
        if (a_PxD > 0).any():
            rng = np.random.default_rng(SHUFFLE_SEED)  # the same shuffles for every state
            chance = measures.selectivity_beyond_chance(a_PxD, snapshot.y_P, rng, SHUFFLES)
            beyond = chance["selectivity"] - chance["chance"]
            found[layer, "class selectivity beyond chance"] = beyond
    for layer, positive_D in snapshot.group("positive").items():
        if layer in rectified:
            found[layer, "dead units"] = float((positive_D == 0).sum())
    for layer, w_hxwxCxD in snapshot.group("filters").items():
        rows = w_hxwxCxD.reshape(-1, w_hxwxCxD.shape[-1]).T
        for name, value in measures.filter_differentiation(rows).items():
            found[layer, f"filter {name}"] = value
    return found


def changes(pair: Pair, rectified) -> dict[tuple[str, str], float]:
    """How much each layer differs between two steps.

    Args:
      pair: a seed's network at two steps.
      rectified: layers that a ReLU follows.

    Returns:
      (layer, quantity) -> change, 0 or more; for each of `values` its absolute difference.
    """
    before, after = pair.before, pair.after
    old, new = values(before, rectified), values(after, rectified)
    found = {key: abs(new[key] - old[key]) for key in old.keys() & new.keys()}
    for path, w in before.group("weights").items():
        if w.ndim > 1:
            moved = measures.weight_change_magnitude(w, after.group("weights")[path])
            layer, projection = owner(path, before.group("attention"))
            found[layer, f"{projection} weight change".strip()] = moved["relative_change"]
            found[layer, f"{projection} weight turn".strip()] = 1 - moved["cosine_similarity"]
    for layer, x_PxD in before.group("activations").items():
        y_PxD = after.group("activations")[layer]
        found[layer, "1 - CKA"] = 1 - measures.linear_cka(x_PxD, y_PxD)
        angles = measures.principal_angles(x_PxD, y_PxD, ANGLES)
        found[layer, "principal angle"] = float(angles.mean()) if len(angles) else float("nan")
        rank = [measures.class_selectivity(s, before.y_P) for s in (x_PxD, y_PxD)]
        found[layer, "feature turnover"] = measures.feature_turnover(*rank)
    for layer in rectified:
        if layer in before.group("positive"):
            moved = measures.births_and_deaths(
                before.group("positive")[layer], after.group("positive")[layer]
            )
            found[layer, "born or died"] = float(moved["born"] + moved["died"])
    for layer, p in before.group("attention").items():
        distance_H = measures.attention_distance(p, after.group("attention")[layer]).mean((0, 2))
        found[layer, "attention moved"] = float(distance_H.mean())
        found[layer, "most moved head"] = float(distance_H.max())
    return found


def unit_changes(pair: Pair) -> dict[str, np.ndarray]:
    """How far the incoming weights of each unit, channel or head have moved.

    Args:
      pair: a seed's network at two steps.

    Returns:
      Layer -> [units], relative to the norm before.
    """
    parts = {}
    heads = {layer: p.shape[1] for layer, p in pair.before.group("attention").items()}
    after = pair.after.group("weights")
    for path, w in pair.before.group("weights").items():
        layer, projection = owner(path, heads)
        if w.ndim < 2 or projection == "out":  # the output projection belongs to all heads
            continue
        units = heads[layer] if projection else w.shape[-1]
        both = [a.reshape(-1, a.shape[-1]).T.reshape(units, -1) for a in (w, after[path])]
        parts.setdefault(layer, []).append(both)
    found = {}
    for layer, pairs in parts.items():
        old, new = (np.concatenate(side, 1).astype(float) for side in zip(*pairs, strict=True))
        norm = np.linalg.norm(old, axis=1)
        found[layer] = np.linalg.norm(new - old, axis=1) / np.where(norm > 0, norm, np.nan)
    return found


def excesses(null_NxK, seed_N, step_N, observed_K, seed, step, least_K=1e-9):
    """Changes in units of the spread of ordinary ones, and how often chance goes as far.

    Each row, ordinary or not, is judged against the ordinary ones of its own seed without itself,
    so that under the null all rows are alike.

    Args:
      null_NxK: ordinary changes.
      seed_N: the seed of each.
      step_N: where in training each lies; changes shrink as training goes.
      observed_K: changes at the moment.
      seed: its seed.
      step: its step.
      least_K: changes below that are alike.

    Returns:
      (z [K], p [K]): p is the share of rows whose largest z is at least as large.

    Raises:
      ValueError: too few ordinary pairs.
    """
    null_NxK, seed_N, step_N = (np.asarray(a) for a in (null_NxK, seed_N, step_N))
    kept = [s for s in np.unique(seed_N) if np.sum(seed_N == s) >= LEAST_OF_SEED]
    rows = np.isin(seed_N, kept)
    if seed not in kept or rows.sum() < LEAST_PAIRS:
        raise ValueError(f"{rows.sum()} ordinary pairs are too few, at least {LEAST_PAIRS}")
    same = seed_N == seed
    z_K = _judge(observed_K, step, null_NxK[same], step_N[same], least_K)
    largest = []
    for i in np.flatnonzero(rows):
        others = (seed_N == seed_N[i]) & (np.arange(len(seed_N)) != i)
        z = _judge(null_NxK[i], step_N[i], null_NxK[others], step_N[others], least_K)
        largest.append(z.max())
    reached_K = (np.array(largest)[:, None] >= z_K).sum(0)
    return z_K, (1 + reached_K) / (1 + len(largest))


def _judge(row_K, step, others_NxK, steps_N, least_K=1e-9):
    """How far a row lies above the power law in the step that others follow, in their spreads."""
    least_K = np.maximum(SMALL * others_NxK.mean(0), least_K)
    logs_NxK = np.log(others_NxK + least_K)
    x_N = np.log1p(steps_N)
    centred = x_N - x_N.mean()
    slope_K = centred @ logs_NxK / max(centred @ centred, 1e-12)
    left_NxK = logs_NxK - logs_NxK.mean(0) - centred[:, None] * slope_K
    expected_K = logs_NxK.mean(0) + (np.log1p(step) - x_N.mean()) * slope_K
    return (np.log(row_K + least_K) - expected_K) / np.maximum(
        left_NxK.std(0, ddof=2), LEAST_SPREAD
    )


class Ordinary(NamedTuple):
    """What changed over an ordinary pair of steps of one seed, and the step between them."""

    seed: int
    step: int
    changes: dict[tuple[str, str], float]
    units: dict[str, np.ndarray]


def rectified_of(run: Run) -> list[str]:
    """Layers of a run that a ReLU follows."""
    return rectified_layers(run.model.get("structure", {}).get("family"), run.layer_names)


def ordinary(pair: Pair, rectified) -> Ordinary:
    """The changes over a pair of steps."""
    middle = (pair.before.step + pair.after.step) // 2
    return Ordinary(pair.seed, middle, changes(pair, rectified), unit_changes(pair))


def compare(
    run: Run, triple: list[CriticalMoment], sides: list[Snapshot], null: list[Ordinary], tests: int
) -> AnalysisResult:
    """Before and after a moment, against what changes ordinarily.

    Args:
      run: an open run.
      triple: before, during, after.
      sides: the snapshots of the moment's seed at these three steps.
      null: ordinary changes of all seeds, none with a jump in between.
      tests: moments that are tested in all; p-values are multiplied by it (Bonferroni).

    Returns:
      AnalysisResult without figures.

    Raises:
      RunError: too few ordinary pairs.
    """
    seed, rectified = triple[1].jump_info["seed"], rectified_of(run)
    moment = ordinary(Pair(seed, sides[0], sides[-1]), rectified)
    keys = list(moment.changes)
    table = np.array([[row.changes.get(key, np.nan) for key in keys] for row in null])
    observed = np.array([moment.changes[key] for key in keys])
    if len(null) < LEAST_PAIRS:
        raise RunError(
            f"{run.path}, step {triple[1].step}: {len(null)} ordinary pairs are too few, at least "
            f"{LEAST_PAIRS}; train longer, or choose a smaller checkpoint.pin_window"
        )
    known = np.isfinite(observed) & np.isfinite(table).all(0)
    keys = [key for key, k in zip(keys, known, strict=True) if k]
    try:
        where = ([o.seed for o in null], [o.step for o in null])
        least_K = np.array([RESOLUTION.get(quantity, 1e-9) for _, quantity in keys])
        at = (observed[known], seed, moment.step)
        z_K, p_K = excesses(table[:, known], *where, *at, least_K)
    except ValueError as error:
        raise RunError(f"{run.path}, step {triple[1].step}: {error}; train longer") from error
    at_all = [values(snapshot, rectified) for snapshot in sides]
    usual_K = np.median(table[:, known], 0)
    rows = [
        {
            "layer": key[0],
            "quantity": key[1],
            **{side: at.get(key) for side, at in zip(SIDES, at_all, strict=True)},
            "change": moment.changes[key],
            "ordinary": float(usual),
            "z": float(z),
            "p": float(min(p * tests, 1.0)),
            "p_alone": float(p),
        }
        for key, usual, z, p in zip(keys, usual_K, z_K, p_K, strict=True)
    ]
    measurements = {
        "seed": seed,
        "steps": [m.step for m in triple],
        "why": triple[1].jump_info,
        "changes": sorted(rows, key=lambda row: (row["p"], -row["z"])),
        "units": _units(moment, [o for o in null if o.seed == seed]),
        "null_pairs": len(null),
        "smallest_p": min(tests / (1 + len(null)), 1.0),
    }
    kind = triple[1].moment_type.removeprefix("during_")
    return AnalysisResult(run.name, f"{kind} at step {triple[1].step}", measurements, {})


def _units(moment, null, most=10):
    """Units whose incoming weights moved furthest, in spreads of what they do otherwise."""
    rows = []
    for layer, moved_U in moment.units.items():
        steps = np.array([each.step for each in null])
        z_U = _judge(moved_U, moment.step, np.stack([each.units[layer] for each in null]), steps)
        rows += [
            {
                "layer": layer,
                "unit": int(unit),
                "change": float(moved_U[unit]),
                "z": float(z_U[unit]),
            }
            for unit in np.flatnonzero(np.isfinite(z_U))
        ]
    return sorted(rows, key=lambda row: -row["z"])[:most]


def findings(result: AnalysisResult) -> list[dict]:
    """The changes beyond the null."""
    return [row for row in result.measurements["changes"] if row["p"] <= ALPHA]
