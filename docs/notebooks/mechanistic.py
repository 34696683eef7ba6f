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
# # mechanistic: what changes inside a network around a jump?
#
# A small CNN trains on digits. At step 640, channel 2 of its second layer is reinitialised on
# purpose. Can the analysis name it, without being told? Time: about a minute.

# %%
from IPython.display import Image

# !tapjax run --config=configs/mechanistic/families.py:quick --workdir=runs/planted 2>&1 | tail -1
# !tapjax replay --run=runs/planted --moments 2>&1 | tail -1

# %% [markdown]
# The replay restored the states around each jump, bit for bit, and saved what the network held. The
# comparison asks which changes exceed those between ordinary states, equally far apart.

# %%
# !tapjax mechanistic runs/planted --out=out/mechanistic 2>/dev/null

# %%
Image("out/mechanistic/planted/moment_1_filter_viz.png")

# %%
Image("out/mechanistic/planted/change_map.png")

# %% [markdown]
# The layer and the channel are named. p cannot be smaller here than one part in the number of
# ordinary pairs, so a longer run gives stronger evidence. What not to conclude: that a change near a
# jump caused it.
