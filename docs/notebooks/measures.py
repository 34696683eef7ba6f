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
# # Measures: ask a run now, and again when it is over
#
# A small CNN trains on digits, and a channel is reinitialised at step 640. While it trains, the noise
# of the gradient and the intrinsic dimension of every layer are measured. Afterwards, questions
# follow that nobody had before: how sharp is the loss, when is a layer final, and did the change
# matter? Time: about two minutes.

# %%
import matplotlib.pyplot as plt
from IPython.display import Image

from analysis import open_run

# !tapjax run --config=configs/mechanistic/families.py:quick --config.probe.measures='noise_scale*8,intrinsic_dimension*8' --workdir=runs/planted 2>&1 | tail -1

# %% [markdown]
# Any step can be computed again, bit for bit, so that measures can be added at any time.

# %%
# !tapjax measure --run=runs/planted --measures=curvature --steps=0:800:100 2>/dev/null
# !tapjax measure --run=runs/planted --measures=representation --steps=0:801:40 2>/dev/null

# %%
run = open_run("runs/planted")
panels = {
    ("curvature", "top"): "largest eigenvalue\nof the Hessian",
    ("noise_scale", "noise_scale"): "noise scale\n(examples)",
}
figure, axes = plt.subplots(len(panels), 1, sharex=True, figsize=(7, 5))
for axis, ((measure, quantity), label) in zip(axes, panels.items(), strict=True):
    values = run.array(measure, quantity)
    values = values[:, :, 0] if values.ndim == 3 else values
    axis.plot(run.steps(measure), values.T, ".-")
    axis.set(ylabel=label, yscale="log")
    axis.axvline(640, color="0.6", linewidth=1)
axes[-1].set_xlabel("training step (line: reinitialised channel)")
# %% [markdown]
# When is a layer final? CKA compares its activations on the same examples at all pairs of steps.

# %%
# !tapjax similarity runs/planted --out=out/similarity 2>/dev/null
Image("out/similarity/planted/between_steps.png")

# %% [markdown]
# Did the change matter? The activations of each unit are undone, transplanted and ablated, and the
# effect on the loss is compared with that at ordinary steps.

# %%
# !tapjax intervene --run=runs/planted --most=1 2>/dev/null
# !tapjax mechanistic runs/planted --out=out/mechanistic > out/log.txt 2>&1
Image("out/mechanistic/planted/interventions_1.png")

# %% [markdown]
# Channel 2 of the second convolution comes first: transplanting its new activations into the network before the
# change costs a hundred times more than transplants of ordinary steps. What not to conclude: that a
# unit without an effect does nothing, because other units can take its place.
#
# `tapjax atlas runs/planted` puts all of this on one page.
