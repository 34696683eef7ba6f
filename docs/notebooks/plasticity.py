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
# Task after task, the pixels of digits are permuted anew. Plain training is compared with continual
# backprop, which reinitialises units of little use. Time: about two minutes.

# %%
from IPython.display import Image

# !tapjax sweep --config=configs/plasticity/continual.py --fixed=quick --grid='mitigation=none,cbp' --workdir=runs/tasks 2>/dev/null
# !tapjax plasticity runs/tasks --out=out/plasticity

# %%
Image("out/plasticity/setting_1.png")

# %% [markdown]
# Nine short tasks on digits are too few for a loss of plasticity: the two curves agree within their
# intervals, and the table says that two seeds are too few for a test. On permuted MNIST the loss
# appears after hundreds of tasks; the results page shows it.
