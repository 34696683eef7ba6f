"""Run three steps with every pair of mitigations, and record which pairs are refused and why.

    python docs/results/plasticity/pairs.py pairs.csv

The network has hidden layers of 3 and 2 units and is trained by SGD. Units are reset from the first
step on. The steps run operation by operation, because for such a small network this is faster than
compiling 171 programs.
"""

import csv
import itertools
import sys

import jax
import numpy as np

from configs.plasticity import continual
from configs.plasticity.mitigations import MITIGATIONS
from tapjax.config import schema
from tapjax.data.datasets import Arrays
from tapjax.data.sampling import device_data
from tapjax.recipes import plasticity

REMEDIES = [name for name in MITIGATIONS if name != "none"]


def tiny_arrays():
    """Make forty random images of 2 x 2 pixels in three classes."""
    x = np.random.default_rng(0).integers(0, 255, (40, 2, 2, 1)).astype(np.uint8)
    y = (np.arange(40) % 3).astype(np.int32)
    return Arrays("tiny", x, y, x, y, 3, np.zeros(1, np.float32), np.ones(1, np.float32))


def outcome(mitigation: str) -> str:
    """Train three steps with some mitigations and describe the outcome.

    Args:
      mitigation: names of mitigations, joined by `+`.

    Returns:
      `runs`; `refused: ` and the error message; or `fails: ` and the reason.
    """
    try:
        cfg = continual.get_config(
            f"quick,arch=mlp:widths=3-2,optimizer=sgd,mitigation={mitigation}"
        )
        schema.check(cfg)
    except (ValueError, schema.ConfigError) as error:
        return f"refused: {str(error).partition(': ')[2]}"
    cfg.renewal.update(rate=0.4, maturity=0, period=1)
    cfg.data.batch_size = 8
    arrays = tiny_arrays()
    try:
        recipe = plasticity.recipe(cfg, arrays)
        data, _ = device_data(arrays, 8)
        with jax.disable_jit():
            state = recipe.init(jax.random.key(0))
            data = recipe.prepare(state, data)
            for _ in range(3):
                state, scalars = recipe.step(state, data)
    except Exception as error:  # noqa: BLE001
        return f"fails: {type(error).__name__}"
    leaves = jax.tree.leaves((state.params, state.stats, scalars))
    finite = all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
    return "runs" if finite else "fails: not finite"


def main(path):
    """Write the table of all pairs."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("first", "second", "outcome"))
        for pair in itertools.combinations(REMEDIES, 2):
            table.writerow((*pair, outcome("+".join(pair))))
            file.flush()


if __name__ == "__main__":
    main(sys.argv[1])
