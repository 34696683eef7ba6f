"""Overview of a run from its records alone: order of settling, joint movement, and jumps."""

import numpy as np

from analysis.mechanistic import convergence
from analysis.mechanistic.critical_steps import WINDOW, jumps_of_run, together
from analysis.runs.reader import Run
from tapjax.contract import detector

SEED = 0
SAID = {"coordinated": "layers together", "loss_linked": "D with the loss"}


def describe(run: Run) -> dict:
    """Describe the convergence, the coordination and the jumps of a run.

    Args:
      run: open run.

    Returns:
      JSON data: the architecture, data and size of the run; `settled`, for each layer the step at
      which it settled in each finite seed; `convergence`; `coordination`; `jumps`; their `kinds`;
      and `early_against_late`.
    """
    rng = np.random.default_rng(SEED)
    layers_SxTxL, at = run.array("probe", run.model["dimension"]), run.steps("probe")
    finite_S = np.isfinite(layers_SxTxL).all((1, 2))
    settled_SxL = np.array(
        [[at[convergence.settling_index(x)] for x in each.T] for each in layers_SxTxL[finite_S]]
    ).reshape(-1, len(run.layer_names))
    rows = convergence.characterise(
        found_jumps(run), layers_SxTxL, run.dimension(gaps=True), run.seeds, run.layer_names, at
    )
    kinds = convergence.cluster(rows)
    rows = [row | {"kind": kind} for row, kind in zip(rows, kinds.pop("labels"), strict=True)]
    return {
        "architecture": run.model["architecture"],
        "data": run.model["data"],
        "synthetic": bool(run.model.get("synthetic")),
        "family": run.model.get("structure", {}).get("family"),
        "seeds": run.seeds,
        "measurements": len(at),
        "settled": dict(zip(run.layer_names, settled_SxL.T.tolist(), strict=True)),
        "convergence": convergence.settling_order(settled_SxL, rng),
        "coordination": _together(run),
        "jumps": rows,
        "kinds": kinds,
        "early_against_late": convergence.early_against_late(_events(run, rows)),
    }


def found_jumps(run: Run) -> list[dict]:
    """Return the jumps of a run, an empty list if the run is too short for the detector."""
    return jumps_of_run(run) if len(run.steps("probe")) >= detector.LEAST_LENGTH else []


def quiet_pairs(run: Run, planned: dict) -> list[list[tuple[int, int, int]]]:
    """List the ordinary pairs of steps of each critical step, for every seed.

    A pair is left out if a jump or a critical step of its seed is near.

    Args:
      run: open run.
      planned: plan of the critical steps, see `critical_steps.plan`.

    Returns:
      For each critical step a list of (seed, step, step).
    """
    window = planned["window"]
    eventful = [(jump["seed"], jump["step"]) for jump in found_jumps(run)]
    eventful += [(seed, m["triple"][1]["step"]) for seed in run.seeds for m in planned["moments"]]

    def quiet(seed, a, b):
        steps = [step for other, step in eventful if other == seed]
        return not any(a - window < step <= b + window for step in steps)

    return [
        [(seed, a, b) for a, b in moment["null"] for seed in run.seeds if quiet(seed, a, b)]
        for moment in planned["moments"]
    ]


def _together(run):
    at, rows = run.steps("probe"), []
    for seed, kind, verdict in together(run):
        about = {"seed": seed, "kind": SAID[kind]}
        if isinstance(verdict, str):
            rows.append(about | {"p": None, "why": verdict})
            continue
        periods = [[int(at[start]), int(at[stop - 1])] for start, stop, _ in verdict.periods]
        strongest = float(np.abs(verdict.value_T).max())
        judged = {"p": verdict.p, "strongest": strongest, "level": verdict.level}
        rows.append(about | judged | {"periods": periods})
    return rows


def _events(run, rows):
    """Keep the strongest of the jumps in several layers of one seed at about the same time."""
    if not rows:
        return []
    near = WINDOW * int(np.median(np.diff(run.steps("probe"))))
    groups = []
    for seed in run.seeds:
        of_seed = [row for row in rows if row["seed"] == seed]
        groups += detector.strongest(of_seed, len(of_seed), near)
    return [group[0] for group in groups]


def summary(course: dict) -> dict:
    """Summarise a run in one row, for a table that compares runs.

    Args:
      course: description of the run from `describe`.

    Returns:
      Architecture and data; jumps per 1000 measurements of D and of a layer, None if the run is too
      short to be searched; the pattern in which
      layers settle, with `rho` and `p`; and the number of seeds in which layers move together and
      in which D moves with the loss.
    """
    series = len(course["seeds"]) * course["measurements"]
    of_d = len([jump for jump in course["jumps"] if jump["layer"] == detector.MEAN])
    of_layers = (len(course["jumps"]) - of_d) / len(course["settled"])
    searched = course["measurements"] >= detector.LEAST_LENGTH
    together = {
        kind: [row for row in course["coordination"] if row["kind"] == kind and row["p"]]
        for kind in ("layers together", "D with the loss")
    }
    return {
        "architecture": course["architecture"],
        "data": course["data"],
        "jumps_of_D_per_1000": 1000 * of_d / series if searched else None,
        "jumps_a_layer_per_1000": 1000 * of_layers / series if searched else None,
        "settling": course["convergence"]["pattern"],
        "rho": course["convergence"]["rho"],
        "p": course["convergence"]["p"],
        **{
            f"seeds with {kind}": f"{sum(r['p'] <= 0.05 for r in rows)} of {len(rows)}"
            for kind, rows in together.items()
        },
    }
