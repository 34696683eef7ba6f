"""Draw abilities that emerge beside their mechanisms, and write a table with a row per seed.

    python docs/results/tap/abilities/figure.py RUNS docs/results/tap/abilities

RUNS holds the runs `induction`, `parity` and `mixture` of configs/tap/emergence.py, and the
controls `induction_control` and `parity_control`.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from analysis import open_run
from analysis.figures.style import COLOURS, NEUTRAL, look, save
from analysis.tap.precursors import emergence

matplotlib.use("Agg")
SCORE = 0.5  # prefix matching of an induction head
RELEVANT = 4  # bits of the parity
ABLE = 0.9  # accuracy of a seed that has learned a task of the mixture


def ability(run):
    """Return (label, steps, values [S, T]) of the ability of a run."""
    if run.has("probe", "skill_accuracy"):
        values = run.array("probe", "skill_accuracy")[:, :, 1]
        return "accuracy on repeated tokens", run.steps("probe"), values
    return "accuracy", run.steps("probe"), run.array("probe", "accuracy")


def mechanism(run):
    """Return (label, steps, values [S, T]) of the mechanism of a run."""
    if "heads" in run.measured:
        values = run.array("heads", "prefix_matching").max(2)
        return "largest prefix matching", run.steps("heads"), values
    share = run.array("features", "input_share")[:, :, :RELEVANT].sum(2)
    return "weights on relevant bits", run.steps("features"), share


def loss(run):
    """Return (label, steps, values [S, T]) of the loss on the probe."""
    return "loss (probe)", run.steps("probe"), run.array("probe", "loss")


def draw(runs, out):
    """Draw ability, mechanism and loss of each task, with the controls in grey."""
    with look():
        figure, axes = matplotlib.pyplot.subplots(
            3, len(runs), figsize=(4.6 * len(runs), 6.4), sharex="col", layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for column, (run, control) in zip(axes.T, runs, strict=True):
            for axis, quantity, colour in zip(
                column, (ability, mechanism, loss), COLOURS, strict=False
            ):
                for each, own in ((control, NEUTRAL), (run, colour)):
                    label, steps, values = quantity(each)
                    axis.plot(steps, values.T, color=own, lw=0.6, alpha=0.7)
                axis.set_ylabel(label)
                axis.grid(alpha=0.2)
            column[0].set_title(
                f"{run.model['data'].split(',shuffled')[0]}\n{run.model['architecture']}",
                fontsize="medium",
            )
            column[-1].set_xlabel("training step")
        return save(figure, out)


def rows(run, name):
    """Return one row per seed."""
    _, steps, values = ability(run)
    found = emergence(steps, values)
    _, at, scores = mechanism(run)
    table = pd.DataFrame({
        "task": name, "seed": run.seeds, "onset": found.onset, "half": found.half,
        "end": found.end, "ability": values[:, -1], "mechanism": scores[:, -1],
    })  # fmt: skip
    if name == "induction":
        reached = scores >= SCORE
        first = np.where(reached.any(1), at[reached.argmax(1)], np.nan)
        table["head_at_half_score"] = first
        last = run.array("head_ablation", "without_top")[:, -1]
        others = run.array("head_ablation", "without_others")[:, -1]
        for k in (1, 2, 3, 4):
            table[f"without_top_{k}"] = last[:, k - 1]
            table[f"without_others_{k}"] = others[:, k - 1]
    return table


def mixture(run):
    """Return one row per task of the mixture, over the seeds that have learned it."""
    steps, found = run.steps("probe"), []
    every = run.array("probe", "skill_accuracy")
    zipf = float(dict(p.split("=") for p in run.model["data"].split(":")[1].split(","))
                 .get("zipf", 1.4))  # fmt: skip
    share = np.arange(1, every.shape[2] + 1) ** -zipf
    for k, share_k in enumerate(share / share.sum()):
        able = every[:, -1, k] >= ABLE
        half = emergence(steps, every[able, :, k]).half
        found.append({
            "task": k, "share": share_k, "able": able.sum(), "median": np.median(half),
            "least": half.min(), "most": half.max(), "accuracy": every[:, -1, k].mean(),
        })  # fmt: skip
    return pd.DataFrame(found)


def main():
    """Draw the figure and write the table."""
    folder, out = map(Path, sys.argv[1:3])
    names = [n for n in ("induction", "parity") if (folder / n).is_dir()]
    runs = [(open_run(folder / n), open_run(folder / f"{n}_control")) for n in names]
    draw(runs, out / "abilities")
    tables = [rows(run, name) for name, (run, _) in zip(names, runs, strict=True)]
    pd.concat(tables).round(4).to_csv(out / "seeds.csv", index=False)
    mixture(open_run(folder / "mixture")).round(4).to_csv(out / "mixture.csv", index=False)


if __name__ == "__main__":
    main()
