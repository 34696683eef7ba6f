"""Judge critical steps that were chosen blindly, in every seed, and count how often p is small.

    tapjax replay --run=RUN --moments --steps=210,272,281 --out=SNAPSHOTS
    python docs/results/mechanistic/placebo.py RUN SNAPSHOTS [PLANTED_STEP]

Ordinary pairs of states are those without a jump and without a planted change of their seed.
Critical steps within three windows of a planted change are left out.
"""

import argparse
import functools
from pathlib import Path

import numpy as np

from analysis import open_run
from analysis.mechanistic import changes
from analysis.mechanistic.critical_steps import CriticalMoment
from analysis.mechanistic.overview import found_jumps
from analysis.runs.reader import RunError
from analysis.runs.snapshots import read_plan, read_snapshots

EARLY = 600


def judged(run, folder, planted):
    """Judge each critical step alone, in every seed.

    Args:
      run: open run.
      folder: folder of the snapshots.
      planted: step of a planted change; 0 for none.

    Yields:
      (smallest p, step) of each critical step and seed that is not refused.
    """
    plan, rectified = read_plan(folder), changes.rectified_of(run)
    window = plan["window"]
    at = functools.lru_cache(6)(functools.partial(read_snapshots, folder))
    changed = [(jump["seed"], jump["step"]) for jump in found_jumps(run)]
    changed += [(seed, planted) for seed in run.seeds if planted]
    pairs = {
        (seed, *pair): changes.ordinary(
            changes.Pair(seed, at(pair[0])[seed], at(pair[1])[seed]), rectified
        )
        for pair in sorted({tuple(p) for m in plan["moments"] for p in m["null"]})
        for seed in run.seeds
    }
    quiet = {
        (seed, a, b)
        for seed, a, b in pairs
        if not any(seed == s and a - window < step <= b + window for s, step in changed)
    }
    triples = {m["triple"][1]["step"]: m for m in plan["moments"]}
    for step, moment in triples.items():
        if planted and abs(step - planted) <= 3 * window:
            continue
        null = [
            pairs[seed, a, b]
            for a, b in moment["null"]
            for seed in run.seeds
            if (seed, a, b) in quiet
        ]
        for seed in run.seeds:
            triple = [
                CriticalMoment(**m)._replace(jump_info={"seed": seed}) for m in moment["triple"]
            ]
            sides = [at(m.step)[seed] for m in triple]
            try:
                found = changes.compare(run, triple, sides, null, 1)
            except RunError:  # the step is too early to be judged
                continue
            yield min(row["p"] for row in found.measurements["changes"]), step


def main():
    """Print the number of comparisons with a small p."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("snapshots", type=Path)
    parser.add_argument("planted", type=int, nargs="?", default=0)
    args = parser.parse_args()
    p_N, step_N = np.array(list(judged(open_run(args.run), args.snapshots, args.planted))).T
    early_N = step_N <= EARLY
    print(
        f"{len(p_N)} comparisons: {(p_N <= 0.05).sum()} with p <= .05, {(p_N <= 0.1).sum()} <= .1"
    )
    print(f"to step {EARLY}: {early_N.sum()}, {(p_N[early_N] <= 0.05).sum()} with p <= .05")


if __name__ == "__main__":
    main()
