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
# # motifs and edm: which variables act on each other?
#
# Six seeds of a small MLP train with a learning rate that is a chaotic signal, a different one for
# each seed. Cross mapping should find that the rate drives the loss of fixed images, and not the
# reverse. Time: about a minute.

# %%
from IPython.display import Image

# !tapjax run --config=configs/motifs/mlp_fashion.py:quick --workdir=runs/driven 2>&1 | tail -1
# !tapjax edm runs/driven --variables=lr,probe_loss --start=300 --out=out/edm 2>/dev/null

# %%
Image("out/edm/driven/links.png")

# %%
Image("out/edm/driven/convergence.png")

# %% [markdown]
# A link counts only if it exceeds surrogates of its cause and exchanges of the seeds, after
# correction, and if the command recovers a planted link of the same size first. What not to
# conclude: that a link that was not found does not exist. The column `found_from` says how strong a
# planted link must be to be found.
