"""The motifs family: training as in the tap family, with measurements recorded at every step."""

from tapjax.data.datasets import Arrays
from tapjax.measure.recording import make_recorder
from tapjax.recipes.tap import recipe as tap_recipe
from tapjax.types import Recipe


def recipe(cfg, arrays: Arrays) -> Recipe:
    """Put together everything that the training loop needs for one run.

    Args:
      cfg: a valid config.
      arrays: the data set.

    Returns:
      The Recipe.
    """
    return tap_recipe(cfg, arrays, make_recorder)
