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
# # credit: can a network learn without backpropagation through its blocks?
#
# Three ways to give every block a credit, an estimate of the gradient of the loss by its output: a
# random projection of the error (`dfa`), the output's gradient copied to every block (`dir`), and a
# field learned from forward-mode derivatives (`vector_response`). Time: about two minutes.

# %%
from IPython.display import Image

# !tapjax sweep --config=configs/credit/digits.py --grid='method=bp,dfa,dir,vector_response' --workdir=runs/credit 2>/dev/null
# !tapjax credit runs/credit --out=out/credit

# %%
Image("out/credit/setting_1.png")

# %% [markdown]
# Gamma is the cosine of the credit with the true gradient: the learned field is near to it, the others
# are not, and it learns faster. What not to conclude: that the learned field is needed. Trained for
# longer, all three solve digits, and where skip connections are present, the copy has a Gamma of .9.
