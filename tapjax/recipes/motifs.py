"""The motifs family: the tap family's training, with every step recorded as a point of a series."""

from tapjax.data.datasets import Arrays
from tapjax.measure.recording import make_recorder
from tapjax.recipes.tap import recipe as tap_recipe
from tapjax.types import Recipe


def recipe(cfg, arrays: Arrays) -> Recipe:
    """Everything that the loop needs for one run.

    Args:
      cfg: a valid config.
      arrays: the data set.

    Returns:
      A Recipe.
    """
    return tap_recipe(cfg, arrays, make_recorder)
