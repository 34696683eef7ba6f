"""Compiled functions of a run, over all its seeds."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tapjax.config.schema import chunk_steps
from tapjax.data.datasets import Arrays
from tapjax.step.blocks import (
    NEVER,
    OVER_SEEDS,
    due_blocks,
    make_block,
    make_chunk,
    shard_seeds,
    share,
    trimmed,
    vmap_seeds,
)
from tapjax.types import Recipe


class Programs(NamedTuple):
    """Functions that a run executes.

    Every leaf of a state and every result has a leading seed axis.

    `init() -> states` returns the initial states. `chunk(states, data,
    blocks, last, block)` is the function that `blocks.make_chunk` describes, `most` its largest
    number of blocks, and `periods` the number of blocks between two measurements of each measure.
    `block(states, data)` is one block at which all measures are due; it has the shapes of a record
    and is not run.
    `step(states, data) -> (states, scalars)` makes a single step. `probe(states, data)` and
    `evaluate(states, data)` return dicts of arrays.
    """

    init: Callable
    chunk: Callable
    most: int
    block: Callable
    step: Callable
    probe: Callable
    evaluate: Callable
    periods: dict[str, int] = {}

    def train(self, states, data, blocks: int, last: int = 0, block: int = NEVER):
        """Run some blocks, and measure the state after them if `last` is 1.

        Args:
          states: states of all seeds.
          data: DeviceData.
          blocks: number of blocks.
          last: 1 to measure the state after them, else 0.
          block: number of the first block, for the measures that are due, or `NEVER`.

        Returns:
          (states, Record of NumPy arrays without unused rows).
        """
        states, record = self.chunk(states, data, blocks, last, block)
        due = {n: len(due_blocks(block, blocks + last, p)) for n, p in self.periods.items()}
        return states, trimmed(record, self.most, blocks, last, due)


def states_like(cfg, recipe: Recipe):
    """Return the shapes of the states of all seeds.

    Args:
      cfg: config of the run.
      recipe: Recipe of the run.

    Returns:
      TrainState of shapes with a leading seed axis.
    """
    seeds = jax.ShapeDtypeStruct((len(cfg.seeds),), jnp.uint32)
    return jax.eval_shape(jax.vmap(lambda seed: recipe.init(jax.random.key(seed))), seeds)


def make_programs(cfg, recipe: Recipe, over_seeds: str, arrays: Arrays) -> Programs:
    """Make the compiled functions of a recipe.

    Each function is compiled and run only when it is called.

    Args:
      cfg: config of the run.
      recipe: Recipe of the run.
      over_seeds: key of `blocks.OVER_SEEDS`.
      arrays: data set, used for its test split.

    Returns:
      The Programs of the run.
    """
    over = OVER_SEEDS[over_seeds]
    every, prepare = cfg.probe.every, recipe.prepare
    most = chunk_steps(cfg) // every
    # Functions that are compiled by themselves are traced once, wherever they are called.
    step, probe = jax.jit(recipe.step), jax.jit(recipe.probe)
    block = make_block(step, probe, every, cfg.scalar_bin, prepare)

    def block_and_measures(state, data):
        due = {name: fn(state, data) for name, (fn, _) in recipe.measures.items()}
        state, record = block(state, data)
        return state, record._replace(measures=due)

    seeds = jnp.asarray(cfg.seeds, jnp.uint32)
    test = (jnp.asarray(arrays.x_test), jnp.asarray(arrays.y_test))  # copied to the device once
    test = share(test, over_seeds, len(seeds))

    # The whole initialisation is one program, because compiling it operation by operation takes
    # seconds. It runs once, so that optimising it would take longer than it saves.
    def initial(seed):
        return recipe.init(jax.random.key(seed))

    begin = (shard_seeds if over_seeds == "shard" else vmap_seeds)(initial, once=True)
    evaluate = over(recipe.evaluate)
    return Programs(
        init=lambda: begin(seeds),
        chunk=make_chunk(block, most, over, recipe.measures),
        most=most,
        block=over(block_and_measures),
        step=_single_step(lambda s, data: step(s, prepare(s, data)), over_seeds),
        probe=over(lambda s, data: probe(s, prepare(s, data))),
        evaluate=lambda states, data: evaluate(states, data, *test),
        periods={name: period for name, (_, period) in recipe.measures.items()},
    )


def _single_step(step, over_seeds):
    """Make one training step that is equal, bit for bit, to the same step inside a chunk.

    Under `lax.map`, XLA compiles a convolution inside a loop differently than outside of a loop.
    The step is therefore put into a loop whose length XLA does not know, so that it remains a loop.
    """

    def looped(state, data, length):
        like = jax.eval_shape(step, state, data)[1]
        none_yet = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
        return jax.lax.fori_loop(
            0, length, lambda _, carry: step(carry[0], data), (state, none_yet)
        )

    if over_seeds != "map":
        return OVER_SEEDS[over_seeds](step)
    compiled = OVER_SEEDS[over_seeds](looped)
    return lambda states, data: compiled(states, data, 1)
