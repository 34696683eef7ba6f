"""Numbers of a config that compiled programs take as arguments.

Runs that differ only in these numbers have the same program. A sweep over learning rates therefore
compiles once; its other runs find the program in the cache of compiled programs.
"""

import jax
import jax.numpy as jnp

from tapjax.config import schema
from tapjax.run.user_objects import user_objects
from tapjax.types import DeviceData, Recipe, TrainState

# A number that is 0 is not an argument, because 0 leaves out a part of the program.
NUMBERS = (
    "optimizer.lr",
    "optimizer.weight_decay",
    "optimizer.clip",
    "optimizer.drive",
    "optimizer.noise",
    "optimizer.l2_init",
    "optimizer.spectral",
    "optimizer.perturb",
    "rule.block_lr",
    "credit.lr",
    "renewal.rate",
    "renewal.threshold",
)


def numbers_of(cfg) -> dict[str, jax.Array]:
    """Return the numbers of a config that its programs take as arguments, by field.

    There are none if the config names an object of the user's. It may need the numbers as they are,
    and it is not built again for the step, because that could give another object.
    """
    if user_objects(cfg):
        return {}
    flat = schema.flatten(cfg)
    return {name: jnp.float32(flat[name]) for name in NUMBERS if flat.get(name)}


def reading_numbers(make, cfg, arrays) -> Recipe:
    """Make a recipe whose step reads the numbers from the data instead of the config.

    Args:
      make: function `(cfg, arrays) -> Recipe`, one of `tapjax.recipes.RECIPES`.
      cfg: config of the run.
      arrays: data set.

    Returns:
      A Recipe. Its step uses the numbers in `data.numbers`, which has the fields of `numbers_of`.
    """
    recipe = make(cfg, arrays)
    if not numbers_of(cfg):
        return recipe

    def step(state: TrainState, data: DeviceData):
        traced = cfg.copy_and_resolve_references()
        with traced.ignore_type():
            traced.update_from_flattened_dict(data.numbers)
        with jax.ensure_compile_time_eval():  # making a recipe may compute with arrays
            again = make(traced, arrays)
        return again.step(state, data)

    return recipe._replace(step=step)
