"""Preparation of a run from its config: data, recipe, programs to compile, and description."""

from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from tapjax.config import schema
from tapjax.data.datasets import load_arrays
from tapjax.data.sampling import device_data
from tapjax.measure.measures import live
from tapjax.recipes import RECIPES
from tapjax.run.manifest import manifest
from tapjax.run.numbers import numbers_of, reading_numbers
from tapjax.run.user_objects import explained, user_objects
from tapjax.step import blocks
from tapjax.step.programs import Programs, make_programs, states_like
from tapjax.types import DeviceData, Recipe, Tree


class Assembly(NamedTuple):
    """A config together with everything that is needed to run it.

    `like` has the shapes of the states, `contents` has the JSON files that describe the run (see
    manifest.py), and `remarks` are lines of text for the user.
    """

    cfg: ConfigDict
    recipe: Recipe
    programs: Programs
    data: DeviceData
    like: Tree
    contents: dict[str, dict]
    remarks: tuple[str, ...] = ()

    @property
    def over_seeds(self) -> str:
        """The way in which the seed axis is run, a key of `blocks.OVER_SEEDS`."""
        return self.contents["env.json"]["over_seeds"]


def assemble(cfg: ConfigDict) -> Assembly:
    """Load the data and put everything together that a run needs.

    A program is compiled only when it is first called.

    Args:
      cfg: a config as `config.defaults` describes it.

    Returns:
      The Assembly.

    Raises:
      ConfigError, DataError: the config or the data set cannot be used. The message is one line
        that says what to do.
    """
    schema.check(cfg)
    blocks.check_devices()
    sizes = (cfg.data.train_size, cfg.data.test_size, cfg.data.validation_size)
    arrays = load_arrays(cfg.data.name, *sizes, cfg.data.normalise, cfg.data.layout)
    schema.check_data(cfg, arrays)
    with explained(cfg):
        recipe = reading_numbers(RECIPES[cfg.family], cfg, arrays)
    data, probe_index = device_data(arrays, cfg.probe.size)
    data = data._replace(numbers=numbers_of(cfg))
    over_seeds = blocks.choose_over_seeds(
        cfg.over_seeds, len(cfg.seeds), recipe.structure, cfg.data.batch_size
    )
    data = blocks.share(data, over_seeds, len(cfg.seeds))
    with explained(cfg):
        like = states_like(cfg, recipe)
        recipe = recipe._replace(measures=live(recipe, cfg, like, data))
    programs = make_programs(cfg, recipe, over_seeds, arrays)
    with explained(cfg):
        if user_objects(cfg):  # errors in them are reported before anything is written
            jax.eval_shape(programs.block, like, data)
            jax.eval_shape(programs.evaluate, like, data)
    contents = manifest(cfg, recipe, arrays, probe_index, over_seeds, like.params)
    return Assembly(cfg, recipe, programs, data, like, contents, arrays.remarks)
