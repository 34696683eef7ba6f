"""Measure how often a link is claimed between series that have no link.

    python docs/results/motifs/nulls.py RUNS... --out=docs/results/motifs/nulls.csv

The series are autoregressions of order 1, random walks and their increments, which are drawn
independently; and the loss of one seed against D of another seed of the same run (RUNS: folders of
runs with at least two seeds). A claim means p <= .05 of level and rise together, against 39
surrogates with random phases. The first 30 % of the T points of a series are used to choose the
embedding. `cross_maps_alone` is rho > .2, a rule that is in use.

With --mismatched=RUN, a run with at least ten seeds, only the whole procedure is tested. It takes
five seeds at a time and pairs their effects with the causes of other seeds. A claim must then also
hold against all exchanges of the five seeds.
"""

import argparse
import csv

import numpy as np

from analysis.edm.links import evidence
from analysis.edm.nulls import phase_randomised
from analysis.edm.variables import increments, variables
from analysis.runs.finding import find_runs
from analysis.runs.reader import open_run
from analysis.statistics.surrogates import p_value

POINTS, SEEDS, SURROGATES = 1000, 5, 39


def autoregression(rng, coefficient):
    """Draw one autoregressive series of order 1, [T]."""
    noise, x = rng.standard_normal(POINTS + 500), np.zeros(POINTS + 500)
    for t in range(1, len(x)):
        x[t] = coefficient * x[t - 1] + noise[t]
    return x[500:]


def walk(rng):
    """Draw one random walk, [T]."""
    return np.cumsum(rng.standard_normal(POINTS))


def made(pairs):
    """Yield each kind of independent series: its name, and an iterator of pairs [T]."""
    for name, make in (
        ("autoregression, .9", lambda rng: autoregression(rng, 0.9)),
        ("autoregression, .99", lambda rng: autoregression(rng, 0.99)),
        ("random walk", walk),
        ("random walk, increments", lambda rng: np.diff(walk(rng))),
    ):
        rngs = [np.random.default_rng([i, len(name)]) for i in range(pairs)]
        yield name, ((make(rng), make(rng)) for rng in rngs)


def recorded(paths, pairs):
    """Yield a name and an iterator of pairs of series [T] from different seeds of the same run."""
    found = []
    for path in find_runs(paths):
        run = open_run(path)
        _, series = variables(run, ["loss", "D"])
        loss, d = (increments(series[name])[:, 1:] for name in ("loss", "D"))
        seeds = range(len(loss))
        for i in seeds:
            for j in seeds:
                if i != j:
                    found += [(loss[i], d[j]), (d[i], loss[j])]
    order = np.random.default_rng(0).permutation(len(found))[:pairs]
    yield "loss and D of different seeds, increments", (found[k] for k in order)


def mismatched(path, pairs):
    """Yield a name and an iterator of (effects, causes) of five seeds each.

    The cause that is paired with an effect always comes from another seed.

    Args:
      path: run directory.
      pairs: number of pairs.

    Yields:
      (name, iterator of pairs of series [S, T]).
    """
    run, rng, found = open_run(path), np.random.default_rng(0), []
    _, series = variables(run, ["loss", "probe_loss", "D", "update_norm"])
    ready = {name: increments(values)[:, 1:] for name, values in series.items()}
    while len(found) < pairs:
        effect, cause = rng.choice(list(ready), 2, replace=False)
        effects = rng.choice(len(run.seeds), SEEDS, replace=False)
        causes = rng.choice(len(run.seeds), SEEDS, replace=False)
        if (effects != causes).all():
            found.append((ready[effect][effects], ready[cause][causes]))
    yield f"variables of different seeds, {SEEDS} seeds", iter(found)


def main():
    """Write one row per kind of series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--out", required=True)
    parser.add_argument("--mismatched")
    parser.add_argument("--pairs", type=int, default=200)
    args = parser.parse_args()
    if args.mismatched:
        kinds = list(mismatched(args.mismatched, args.pairs))
    else:
        kinds = list(made(args.pairs))
        kinds += list(recorded(args.runs, args.pairs)) if args.runs else []
    with open(args.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["series", "pairs", "claimed", "level_alone", "cross_maps_alone"])
        for name, pairs in kinds:
            found = [
                evidence(
                    np.atleast_2d(x),
                    np.atleast_2d(y),
                    phase_randomised,
                    SURROGATES,
                    samples=10,
                    seed=i,
                )
                for i, (x, y) in enumerate(pairs)
            ]
            level = [p_value(e.rho[-1], e.null[:, -1]) <= 0.05 for e in found]
            both = [e.p(runs=e.n > 1) <= 0.05 for e in found]
            claims = both, level, [e.rho[-1] > 0.2 for e in found]
            writer.writerow([name, len(found), *(float(np.mean(c)) for c in claims)])
            file.flush()


if __name__ == "__main__":
    main()
