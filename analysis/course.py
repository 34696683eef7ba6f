"""The course of a run from its records alone: which layer settles first, what moves together."""

import numpy as np

from analysis import convergence, coordination, jumps
from analysis.io import Run
from analysis.moments import jumps_of_run, loss_at_measurements

SEED = 0


def describe(run: Run) -> dict:
    """Convergence, coordination and jumps of a run.

    Args:
      run: an open run.

    Returns:
      JSON data: what it is, `settled` (layer -> step a seed), `convergence`, `coordination`,
      `jumps`, their `kinds` and `early_against_late`.
    """
    rng = np.random.default_rng(SEED)
    layers_SxTxL, at = run.array("probe", run.model["dimension"]), run.steps("probe")
    settled_SxL = np.array(
        [[at[convergence.settling_index(series)] for series in each.T] for each in layers_SxTxL]
    )
    rows = convergence.characterise(
        found_jumps(run), layers_SxTxL, run.dimension(), run.seeds, run.layer_names, at
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
        "coordination": _together(run, layers_SxTxL, rng),
        "jumps": rows,
        "kinds": kinds,
        "early_against_late": convergence.early_against_late(rows),
    }


def found_jumps(run: Run) -> list[dict]:
    """Jumps of a run; of one too short to judge there are none."""
    return jumps_of_run(run) if len(run.steps("probe")) >= jumps.LEAST_LENGTH else []


def _together(run, layers_SxTxL, rng):
    at, loss_SxT, d_SxT = run.steps("probe"), loss_at_measurements(run), run.dimension()
    rows = []
    for i, seed in enumerate(run.seeds):
        for kind, judge, series in (
            ("layers together", coordination.coordinated, (layers_SxTxL[i],)),
            ("D with the loss", coordination.loss_linked, (d_SxT[i], loss_SxT[i])),
        ):
            try:
                verdict = judge(*series, rng)
            except ValueError as error:
                rows.append({"seed": seed, "kind": kind, "p": None, "why": str(error)})
                continue
            periods = [[int(at[start]), int(at[stop - 1])] for start, stop, _ in verdict.periods]
            strongest = float(np.abs(verdict.value_T).max())
            rows.append(
                {"seed": seed, "kind": kind, "p": verdict.p, "strongest": strongest}
                | {"level": verdict.level, "periods": periods}
            )
    return rows


def summary(course: dict) -> dict:
    """One row that compares a run with others.

    Args:
      course: from `describe`.

    Returns:
      Jumps per 1000 measurements of D and of layers, how layers settle, how often they move
      together.
    """
    series = len(course["seeds"]) * course["measurements"]
    of_d = [jump for jump in course["jumps"] if jump["layer"] == jumps.MEAN]
    of_layers = len(course["jumps"]) - len(of_d)
    together = {
        kind: [row for row in course["coordination"] if row["kind"] == kind and row["p"]]
        for kind in ("layers together", "D with the loss")
    }
    return {
        "architecture": course["architecture"],
        "data": course["data"],
        "jumps_of_D_per_1000": 1000 * len(of_d) / series,
        "jumps_a_layer_per_1000": 1000 * of_layers / series / len(course["settled"]),
        "settling": course["convergence"]["pattern"],
        "rho": course["convergence"]["rho"],
        "p": course["convergence"]["p"],
        **{
            f"seeds with {kind}": f"{sum(r['p'] <= 0.05 for r in rows)} of {len(rows)}"
            for kind, rows in together.items()
        },
    }
