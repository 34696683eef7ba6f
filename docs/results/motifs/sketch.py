"""Compare the changes of sketches of weight matrices with those of the matrices themselves.

    python docs/results/motifs/sketch.py --run=runs/fashion --first=20000 --steps=400 \
        --out=docs/results/motifs/sketch.csv

The script replays consecutive steps with all weights of the first seed and compares increments: the
length of each step, the distance between any two steps, and the scores of the principal components
over time. The scores are compared by canonical correlations (1: the same subspace).
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
    """Compute the canonical correlations of two sets of scores.

    Args:
      a_TxK: scores of the first set.
      b_TxK: scores of the second set.

    Returns:
      Correlations [K] in [0, 1], in descending order.
    """
    bases = [np.linalg.qr(x - x.mean(0))[0] for x in (a_TxK, b_TxK)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def exact_increments(path, steps) -> list[np.ndarray]:
    """Compute the changes of every weight matrix of the first seed by a replay.

    Args:
      path: run directory.
      steps: T + 1 consecutive steps.

    Returns:
      One array per weight matrix: changes of its D weights, [T, D].
    """
    found = []
    with replay.open_timeline(path) as timeline:
        for _, states in replay.states_at(timeline, steps):
            leaves = [leaf for leaf in jax.tree.leaves(states.params) if leaf.ndim > 2]
            found.append([np.asarray(leaf[0]).reshape(-1) for leaf in leaves])
    return [np.diff(np.stack(kind), axis=0) for kind in zip(*found, strict=True)]


def main(_):
    """Write one row per weight matrix."""
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
        # Scores come from an SVD over steps: their covariance is smaller than that of the weights.
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
