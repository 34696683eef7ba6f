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
# # tap: how does D change while a network trains?
#
# Two networks on handwritten digits, three seeds each, measured every 5 steps. Time: about a minute,
# most of it compilation.

# %%
import matplotlib.pyplot as plt

from analysis import open_run
from analysis.tap.calibration import fit_run
from configs.tap import calibration
from tapjax.run import loop

for arch in ("mlp_wide", "cnn:channels=8-16"):
    config = calibration.get_config(f"arch={arch},steps=600")
    print(arch, loop.run(config, f"runs/{arch.replace(':', '-')}").status)

# %% [markdown]
# A run is a folder of plain arrays: `run.dimension()` is D(t) of every seed.

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for axes, name in zip(panels, ("mlp_wide", "cnn-channels=8-16")):
    run = open_run(f"runs/{name}")
    rows, curves = fit_run(run, None, ("tap_compression",))
    axes.plot(run.steps("probe"), run.dimension().T, "k", alpha=0.4)
    for fitted in curves.values():
        axes.plot(run.steps("probe"), fitted, "C0", linewidth=1)
    axes.set(xlabel="training step", ylabel="D", title=f"{name}\nblack: seeds, blue: TAP equation")
    for row in rows:
        alpha = f"alpha {row['alpha']:.3g}" if row["identified"] else "alpha not identified"
        print(f"{name}, seed {row['seed']}: R2 {row['r2']:.3f}, {alpha}")
plt.show()

# %% [markdown]
# A good R2 does not mean that alpha is known: most curves do not determine it, and the fit says so.
# What not to conclude: two networks on one small data set say nothing about architectures.
