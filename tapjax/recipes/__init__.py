"""The families of experiments.

The recipe of a family puts together everything that the training loop needs for one run.
"""

from tapjax.recipes import credit, motifs, plasticity, tap

RECIPES = {
    "tap": tap.recipe,
    "credit": credit.recipe,
    "plasticity": plasticity.recipe,
    "motifs": motifs.recipe,
}
