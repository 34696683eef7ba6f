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
# # plasticity: does a network keep learning?
#
# Task after task, 256 digits get new random labels, and a network memorises them in 160 steps. Plain
# training is compared with continual backprop, which reinitialises units of little use. Time: about
# one minute.

# %%
from IPython.display import Image

# !tapjax sweep --config=configs/plasticity/random_labels.py --grid='mitigation=none,cbp' --workdir=runs/tasks 2>/dev/null
# !tapjax plasticity runs/tasks --out=out/plasticity

# %%
Image("out/plasticity/setting_1.png")

# %% [markdown]
# Plain training learns less and less: its units die, and the rank of its activations falls. Continual
# backprop keeps most of the ability. What not to conclude: that every network loses plasticity this
# fast. The learning rate is high; on permuted MNIST the loss appears after hundreds of tasks, as the
# results page shows.
