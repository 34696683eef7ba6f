# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Abilities that emerge: does anything move first?
#
# A network learns the parity of 4 of 40 bits: its accuracy stays at chance for a thousand steps, and
# then rises at once. Twenty seeds train in one program. In twenty controls, the targets are the
# majority of the same four bits, so that all can be learned but the ability. Does any measured
# quantity tell, before the accuracy does, that the ability will come? Time: about four minutes.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image

from analysis import open_run

# !tapjax run --config=configs/tap/emergence.py:task=parity --config.probe.measures=features --workdir=runs/parity 2>&1 | tail -1
# !tapjax run --config=configs/tap/emergence.py:task=parity,control=partial --config.probe.measures=features --workdir=runs/control 2>&1 | tail -1

# %% [markdown]
# The measure `features` follows the mechanism: `inputs` is how concentrated the weights of the first layer are on single bits,
# and `input_share` how much of the weights each bit has; here on the four relevant ones.

# %%
run, control = open_run("runs/parity"), open_run("runs/control")
figure, axes = plt.subplots(1, 3, figsize=(10, 3))
for each, colour in ((control, "0.7"), (run, "tab:blue")):
    steps = each.steps("probe")
    share = each.array("features", "input_share")[:, :, :4].sum(2)
    axes[0].plot(steps, each.array("probe", "accuracy").T, color=colour, linewidth=0.7)
    axes[1].plot(each.steps("features"), share.T, color=colour, linewidth=0.7)
    axes[2].plot(steps, each.array("probe", "loss").T, color=colour, linewidth=0.7)
for axis, label in zip(
    axes,
    ("accuracy of the parity", "share of weights on relevant bits", "loss on the parity"),
    strict=True,
):
    axis.set(xlabel="training step", ylabel=label)
figure.suptitle("blue: parity; grey: majority of the same bits")
figure.tight_layout()

# %% [markdown]
# `tapjax precursors` asks three questions of every quantity: does it move farther than in the controls
# before the ability comes, does it tell which seed is the next, and does the order of seeds follow it?
# All tests are corrected together, and the power is stated.

# %%
# !tapjax precursors runs/parity --control=runs/control --out=out/precursors > log.txt 2>&1
print(json.loads(Path("out/precursors/precursors.json").read_text())["conclusions"][0])
table = pd.read_csv("out/precursors/precursors.csv")
table[["signal", "lead", "rho", "q", "area", "q_warning", "next", "q_next"]].round(2)

# %%
Image("out/precursors/parity_precursors.png")

# %% [markdown]
# Signals that warn become alarms of the monitor, with the share of seeds in which they were right.
# Without any, it stays silent:

# %%
# !tapjax monitor --run=runs/parity --alarms=out/precursors/precursors.json --out=out/monitor 2>/dev/null | grep -i alarm | head -3

# %% [markdown]
# ## Induction heads
#
# An attention-only transformer reads random tokens that are repeated. Two seeds are enough to see the
# mechanism and the ability appear together.

# %%
# !tapjax run --config=configs/tap/emergence.py:task=induction,seeds=2 --config.steps=400 --config.probe.measures='heads*2' --workdir=runs/induction 2>&1 | tail -1
run = open_run("runs/induction")
figure, axes = plt.subplots(2, 1, sharex=True, figsize=(7, 4.5))
accuracy = run.array("probe", "skill_accuracy")
for k, name in enumerate(run.model["skill_names"]):
    axes[0].plot(run.steps("probe"), accuracy[:, :, k].T, color=f"C{k}", label=name)
axes[0].set_ylabel("accuracy on tokens\nthat occur for the")
handles, labels = axes[0].get_legend_handles_labels()
unique = dict(zip(labels, handles, strict=True))
axes[0].legend(unique.values(), ["first time", "second time"])
for k, name in enumerate(("previous_token", "prefix_matching")):
    axes[1].plot(
        run.steps("heads"), np.max(run.array("heads", name), 2).T, color=f"C{k}", label=name
    )
handles, labels = axes[1].get_legend_handles_labels()
unique = dict(zip(labels, handles, strict=True))
axes[1].legend(unique.values(), unique.keys())
axes[1].set(xlabel="training step", ylabel="largest score of a head")

# %% [markdown]
# What not to conclude: that a quantity which moves with the ability, such as the prefix-matching
# score, warns of it. A warning has to come before, and not in runs without the ability. The
# [results](../results/tap/abilities/README.md) have twenty seeds of four tasks, and all signals.
