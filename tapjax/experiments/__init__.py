"""The families of experiments: what each one puts together for the loop."""

from tapjax.experiments import tap

RECIPES = {"tap": tap.recipe}
