"""Do sketches of weight matrices move as the matrices themselves do?

    python docs/results/motifs/sketch.py --run=runs/fashion --first=20000 --steps=400 \
        --out=docs/results/motifs/sketch.csv

Replays consecutive steps with all weights of the first seed and compares increments: lengths of a
step, distances between any two steps, and the principal components' scores over time, as canonical
correlations (1: the same subspace).
"""

import csv

import jax
import numpy as np
from absl import app, flags
from scipy.spatial.distance import pdist

from analysis.motifs.channels import MODES, components
from analysis.runs.reader import open_run
from tapjax.run import replay

RUN = flags.DEFINE_string("run", None, "Run of the motifs family.", required=True)
FIRST = flags.DEFINE_integer("first", 20_000, "First step.")
STEPS = flags.DEFINE_integer("steps", 400, "Consecutive steps.")
OUT = flags.DEFINE_string("out", "sketch.csv", "Table.")


def canonical(a_TxK, b_TxK) -> np.ndarray:
    """Canonical correlations of two sets of scores."""
    bases = [np.linalg.qr(x - x.mean(0))[0] for x in (a_TxK, b_TxK)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def exact_increments(path, steps) -> list[np.ndarray]:
    """Changes of every weight matrix of the first seed, [T, D] each."""
    found = []
    with replay.open_timeline(path) as timeline:
        for _, states in replay.states_at(timeline, steps):
            leaves = [leaf for leaf in jax.tree.leaves(states.params) if leaf.ndim > 2]
            found.append([np.asarray(leaf[0]).reshape(-1) for leaf in leaves])
    return [np.diff(np.stack(kind), axis=0) for kind in zip(*found, strict=True)]


def main(_):
    """Write one row a matrix."""
    run = open_run(RUN.value)
    steps = range(FIRST.value, FIRST.value + STEPS.value + 1)
    sketch = run.array("scalar", "sketch")[0][steps.start : steps.stop]
    rows = []
    exact = exact_increments(RUN.value, steps)
    for i, (name, whole) in enumerate(zip(run.model["weight_names"], exact, strict=True)):
        small = np.diff(sketch[:, i], axis=0)
        length = np.linalg.norm(small, axis=1) / np.linalg.norm(whole, axis=1)
        apart = pdist(small) / pdist(whole)
        score, share = components(small, MODES)
        # Of the steps' own covariance, which is smaller than that of the weights.
        u, size, _ = np.linalg.svd(whole - whole.mean(0), full_matrices=False)
        agree = canonical(score, u[:, :MODES])
        rows.append(
            {
                "matrix": name, "weights": whole.shape[1],
                "length": length.mean(), "length_sd": length.std(),
                "distance": apart.mean(), "distance_sd": apart.std(),
                "share_exact": (size[:MODES] ** 2).sum() / (size**2).sum(),
                "share_sketch": share.sum(), "canonical_mean": agree.mean(),
                "canonical_least": agree.min(),
            }
        )  # fmt: skip
    with open(OUT.value, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(
            {k: v if isinstance(v, str) else round(float(v), 4) for k, v in row.items()}
            for row in rows
        )


if __name__ == "__main__":
    app.run(main)
