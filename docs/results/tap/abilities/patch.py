"""Put trained attention heads into networks that are not able yet, and train on.

    python docs/results/tap/abilities/patch.py docs/results/tap/abilities/patch.csv

At step `EARLY` of the induction task, attention heads of each seed get the weights that they have
at step `LATE` of the same seed. Which ones is chosen by their scores at `LATE`. The table has the
step at which the accuracy on repeated tokens reaches `ABLE`, per seed and intervention.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from configs.tap.emergence import get_config
from tapjax.measure import heads
from tapjax.run.assembly import assemble

EARLY, LATE, END = 100, 400, 400
ABLE = 0.5
HEADS = 4
SEEDS = 20


def train(ready, states, steps):
    """Train some steps, and return the states and the accuracies on repeated tokens [S, T]."""
    found = []
    for _ in range(0, steps, ready.cfg.chunk_steps):
        states, record = ready.programs.train(
            states, ready.data, ready.cfg.chunk_steps // ready.cfg.probe.every
        )
        found.append(np.asarray(record.probe["skill_accuracy"])[:, :, 1])
    return states, np.concatenate(found, 1)


def prefix_matching(ready, states):
    """Return the prefix-matching score of each head, [S, L, H]."""

    @jax.jit
    def of_seed(state):
        return heads.measure(ready.recipe.model, None, state, ready.data, None)["prefix_matching"]

    each = [of_seed(jax.tree.map(lambda leaf, i=i: leaf[i], states)) for i in range(SEEDS)]
    return np.stack(each).reshape(SEEDS, -1, HEADS)


def patched(early, late, chosen_SxLxH):
    """Return the early states with the late weights of the chosen heads."""
    params, late_params = (jax.tree.map(np.array, of.params) for of in (early, late))
    for layer in range(chosen_SxLxH.shape[1]):
        own, new = (p[f"block_{layer}"]["attention"] for p in (params, late_params))
        for name in ("query", "key", "value", "out"):
            width = own[name]["kernel"].shape[1]
            feature_SxD = np.repeat(chosen_SxLxH[:, layer], width // HEADS, 1)
            # Inputs of the output projection belong to single heads, its outputs to all heads.
            of_kernel = feature_SxD[:, :, None] if name == "out" else feature_SxD[:, None, :]
            own[name]["kernel"] = np.where(of_kernel, new[name]["kernel"], own[name]["kernel"])
            if name != "out":
                own[name]["bias"] = np.where(feature_SxD, new[name]["bias"], own[name]["bias"])
    # Training reuses the memory of the states that it gets.
    return jax.tree.map(jnp.copy, early)._replace(params=jax.tree.map(jnp.asarray, params))


def choices(score_SxLxH):
    """Name the heads that are put in: masks [S, L, H]."""
    order_SxH = score_SxLxH[:, 1].argsort(1)
    none = np.zeros(score_SxLxH.shape, bool)
    rank = order_SxH.argsort(1)
    second = {"best two": rank >= HEADS - 2, "other two": rank < 2}
    masks = {"none": none}
    for name, chosen_SxH in second.items():
        masks[f"layer 2: {name}"] = np.stack([none[:, 0], chosen_SxH], 1)
    masks["layer 1: all"] = np.stack([~none[:, 0], none[:, 1]], 1)
    masks["layer 1 and best two"] = np.stack([~none[:, 0], second["best two"]], 1)
    masks["layer 1 and other two"] = np.stack([~none[:, 0], second["other two"]], 1)
    return masks


def main():
    """Train to `LATE`, put the heads in at `EARLY`, and train on."""
    cfg = get_config(f"task=induction,seeds={SEEDS}")
    cfg.probe.measures, cfg.chunk_steps = "", 50
    ready = assemble(cfg)
    early, before_SxT = train(ready, ready.programs.init(), EARLY)
    kept = jax.tree.map(jnp.copy, early)
    late, _ = train(ready, early, LATE - EARLY)
    rows = []
    steps = np.arange(0, END, cfg.probe.every)
    for name, chosen in choices(prefix_matching(ready, late)).items():
        _, after_SxT = train(ready, patched(kept, late, chosen), END - EARLY)
        able_SxT = np.concatenate([before_SxT, after_SxT], 1) >= ABLE
        first_S = np.where(able_SxT.any(1), steps[able_SxT.argmax(1)], np.nan)
        at_once_S = after_SxT[:, 0]
        for seed, (first, at_once) in enumerate(zip(first_S, at_once_S, strict=True)):
            rows.append({"heads": name, "seed": seed, "able": first, "at_once": at_once})
        print(name, np.nanmedian(first_S), np.median(at_once_S), flush=True)
    pd.DataFrame(rows).round(4).to_csv(sys.argv[1], index=False)


if __name__ == "__main__":
    main()
