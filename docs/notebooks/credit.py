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
# # credit: can a network learn without a backward pass through its blocks?
#
# Three ways to give every block a credit, an estimate of the gradient of the loss by its output: a
# random projection of the error (`dfa`), the output's gradient copied to every block (`dir`), and a
# field learned from forward-mode derivatives (`vector_response`). Time: about two minutes.

# %%
from IPython.display import Image

# !tapjax sweep --config=configs/credit/online.py --fixed=quick,dataset=digits --grid='method=dfa,dir,vector_response' --workdir=runs/credit 2>/dev/null
# !tapjax credit runs/credit --out=out/credit

# %%
Image("out/credit/setting_1.png")

# %% [markdown]
# Gamma is the cosine of the credit with the true gradient: the learned field is nearest to it. All
# three methods solve digits, so the accuracy says nothing here. What not to conclude: that the
# learned field is needed; where a skip connection is present, the copy is right to .9.
