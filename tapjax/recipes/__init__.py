"""The families of experiments: what each one puts together for the loop."""

from tapjax.recipes import credit, motifs, plasticity, tap

RECIPES = {
    "tap": tap.recipe,
    "credit": credit.recipe,
    "plasticity": plasticity.recipe,
    "motifs": motifs.recipe,
}
