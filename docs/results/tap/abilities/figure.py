"""Draw abilities that emerge beside their mechanisms, and write a table with a row per seed.

    python docs/results/tap/abilities/figure.py RUNS docs/results/tap/abilities

RUNS holds the runs `induction`, `parity` and `modular` of configs/tap/emergence.py, their controls
`TASK_partial` and `TASK_shuffled`, and the results of `tapjax precursors` with each control in
`precursors/TASK_CONTROL`. The run `mixture` is optional.
"""

import json
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
ALARM = ("signal", "hits", "ahead", "lead", "false_alarms")
NEEDED = 0.2  # accuracy below which the removed heads were needed
ABLE = 0.9  # accuracy of a seed that has learned a task of the mixture


def ability(run):
    """Return (label, steps, values [S, T]) of the ability of a run."""
    if "repeated" in run.model.get("skill_names", ()):
        values = run.array("probe", "skill_accuracy")[:, :, 1]
        return "accuracy on repeated tokens", run.steps("probe"), values
    return "accuracy (probe)", run.steps("probe"), run.array("probe", "accuracy")


def mechanism(run):
    """Return (label, steps, values [S, T]) of the mechanism of a run."""
    if "heads" in run.measured:
        values = run.array("heads", "prefix_matching").max(2)
        return "largest prefix matching", run.steps("heads"), values
    if "fourier" in run.measured:
        values = run.array("fourier", "top_share")
        return "power in five frequencies", run.steps("fourier"), values
    share = run.array("features", "input_share")[:, :, :RELEVANT].sum(2)
    return "weights on relevant bits", run.steps("features"), share


def loss(run):
    """Return (label, steps, values [S, T]) of the loss on the probe."""
    return "loss (probe)", run.steps("probe"), run.array("probe", "loss")


def draw(runs, out):
    """Draw ability, mechanism and loss of each task, with partial controls in grey."""
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


def ablation(seeds):
    """Return one row per number of removed heads: accuracy on repeated tokens over seeds."""
    found = []
    for k in (1, 2, 3, 4):
        top, others = seeds[f"without_top_{k}"], seeds[f"without_others_{k}"]
        found.append({
            "heads": k, "top": top.mean(), "top_most": top.max(), "below": (top < NEEDED).sum(),
            "others": others.mean(), "others_least": others.min(),
        })  # fmt: skip
    return pd.DataFrame(found)


def precursors(folder):
    """Return the rows of `tapjax precursors` of all tasks, relative to each control."""
    tables = [
        pd.read_csv(path).assign(control=path.parent.name.rpartition("_")[2])
        for path in sorted(folder.glob("precursors/*/precursors.csv"))
    ]
    return pd.concat(tables).round(4)


def alarms(folder):
    """Return the operating characteristics of the alarms of all tasks, relative to each control."""
    found = []
    for path in sorted(folder.glob("precursors/*/precursors.json")):
        for each in json.loads(path.read_text())["alarms"]:
            found.append({"control": path.parent.name.rpartition("_")[2], **each})
    return pd.DataFrame(found)[["run", "control", *ALARM]].round(4)


def main():
    """Draw the figure and write the tables."""
    folder, out = map(Path, sys.argv[1:3])
    names = [n for n in ("induction", "parity", "modular") if (folder / n).is_dir()]
    runs = [(open_run(folder / n), open_run(folder / f"{n}_partial")) for n in names]
    draw(runs, out / "abilities")
    tables = {name: rows(run, name) for name, (run, _) in zip(names, runs, strict=True)}
    pd.concat(tables.values()).round(4).to_csv(out / "seeds.csv", index=False)
    ablation(tables["induction"]).round(3).to_csv(out / "ablation.csv", index=False)
    precursors(folder).to_csv(out / "signals.csv", index=False)
    alarms(folder).to_csv(out / "alarms.csv", index=False)
    if (folder / "mixture").is_dir():
        mixture(open_run(folder / "mixture")).round(4).to_csv(out / "mixture.csv", index=False)


if __name__ == "__main__":
    main()
