"""From one step to the compiled chunk: block = probe + K steps, chunk = many blocks, over seeds.

The cadence of measurements is the nesting of the scans. A `lax.cond` on a step counter inside
vmap would become a select and measure at every step.
"""

import functools
import os

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tapjax.config.schema import ConfigError
from tapjax.types import Record


def make_block(step, probe, k: int, scalar_bin: int = 1, prepare=lambda state, data: data):
    """Measure the state, then train for K steps.

    Args:
      step: `(state, data) -> (state, scalars)`.
      probe: `(state, data) -> dict of arrays`.
      k: steps between two measurements.
      scalar_bin: steps averaged into one recorded scalar; divides k.
      prepare: `(state, data) -> data`, once at the beginning.

    Returns:
      `block(state, data) -> (state, Record)` with scalars `[k // scalar_bin, ...]`.
    """

    def block(state, data):
        data = prepare(state, data)
        measured = probe(state, data)
        state, scalars = jax.lax.scan(lambda s, _: step(s, data), state, None, k)
        if scalar_bin > 1:
            scalars = jax.tree.map(lambda a: _binned(a, scalar_bin), scalars)
        return state, Record(scalars, measured)

    return block


def _binned(scalar_K, size):
    """Means over so many steps; of integers, which name something, the first."""
    bins = scalar_K.reshape(-1, size, *scalar_K.shape[1:])
    return bins[:, 0] if jnp.issubdtype(scalar_K.dtype, jnp.integer) else bins.mean(1)


def make_chunk(block, n: int, over_seeds):
    """Scan n blocks and compile the result once.

    Args:
      block: `(state, data) -> (state, Record)`.
      n: blocks a chunk.
      over_seeds: one of `OVER_SEEDS`: how the seed axis is run.

    Returns:
      `chunk(states, data) -> (states, Record)`, all leaves with a leading seed axis: scalars
      `[S, T]` for the n * K steps, probe arrays `[S, n, ...]`. The given states are donated.
    """

    def chunk(state, data):
        state, record = jax.lax.scan(lambda s, _: block(s, data), state, None, n)
        scalars = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), record.scalars)
        return state, Record(scalars, record.probe)

    return over_seeds(chunk, donate=True)


def _compiled(over_all, fn, donate):
    """A function of all seeds, compiled under the name of what it does for one."""

    def named(states, *shared):
        return over_all(states, *shared)

    named.__name__ = fn.__name__
    return jax.jit(named, donate_argnums=0 if donate else ())


def vmap_seeds(fn, donate: bool = False):
    """All seeds in one batched program."""

    def batched(states, *shared):
        return jax.vmap(lambda state: fn(state, *shared))(states)

    return _compiled(batched, fn, donate)


def map_seeds(fn, donate: bool = False):
    """All seeds in one program, one after another."""

    def mapped(states, *shared):
        return jax.lax.map(lambda state: fn(state, *shared), states)

    return _compiled(mapped, fn, donate)


def loop_seeds(fn, donate: bool = False):
    """One program for a single seed, called once a seed."""
    compiled = _compiled(fn, fn, donate)

    def run(states, *shared):
        seeds = range(jax.tree.leaves(states)[0].shape[0])
        results = [compiled(jax.tree.map(lambda a, s=s: a[s], states), *shared) for s in seeds]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return run


def shard_seeds(fn, donate: bool = False):
    """Seeds spread over the local devices, batched on each, which exchange nothing."""

    def batched(states, shared):
        return jax.vmap(lambda state: fn(state, *shared))(states)

    @functools.cache
    def compiled(mesh):
        specs = (SPLIT, WHOLE)
        mapped = jax.shard_map(batched, mesh=mesh, in_specs=specs, out_specs=SPLIT, check_vma=False)
        return _compiled(mapped, fn, donate)

    def sharded(states, *shared):
        mesh = _mesh(jax.tree.leaves(states)[0].shape[0])
        placed = jax.device_put(states, NamedSharding(mesh, SPLIT))
        return compiled(mesh)(placed, jax.device_put(shared, NamedSharding(mesh, WHOLE)))

    return sharded


SPLIT, WHOLE = PartitionSpec("seeds"), PartitionSpec()


def check_devices() -> None:
    """Make sure that JAX has a device to run on.

    Raises:
      ConfigError: what JAX_PLATFORMS asks for is not here.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise ConfigError(
            f"JAX finds no device of JAX_PLATFORMS={wanted}: unset it, or install JAX for that "
            "device (on NVIDIA: pip install 'jax[cuda12]')"
        ) from error


def devices_for(seeds: int) -> int:
    """Over how many local devices seeds are spread: as many as leave each an equal number."""
    return max(n for n in range(1, jax.local_device_count() + 1) if seeds % n == 0)


def _mesh(seeds):
    return Mesh(jax.local_devices()[: devices_for(seeds)], ("seeds",))


def share(tree, over_seeds: str, seeds: int):
    """Put what all seeds read where it is read, once: on every device that has seeds.

    Args:
      tree: arrays.
      over_seeds: a key of `OVER_SEEDS`.
      seeds: number of seeds S.

    Returns:
      The same arrays.
    """
    return (
        jax.device_put(tree, NamedSharding(_mesh(seeds), WHOLE)) if over_seeds == "shard" else tree
    )


# Families whose small networks gain from a batch of seeds on one CPU core.
SMALL = ("mlp", "residual", "dynamics")
OVER_SEEDS = {"vmap": vmap_seeds, "map": map_seeds, "loop": loop_seeds, "shard": shard_seeds}


def choose_over_seeds(name: str, seeds: int, structure: dict, batch_size: int) -> str:
    """The fastest way to run the seed axis here, unless the config names one.

    On one CPU core batching seeds pays only where matrices are small, in small MLPs (at batch 1,
    where time goes into reading weights, in tiny ones), and batched convolutions are several times
    slower; accelerators batch or shard.

    Args:
      name: `auto` or a key of `OVER_SEEDS`.
      seeds: number of seeds S.
      structure: the architecture's features; empty for a model of the user's own.
      batch_size: examples a step.

    Returns:
      A key of `OVER_SEEDS`.
    """
    if name != "auto":
        return name
    if jax.default_backend() == "cpu":
        most = 500_000 if batch_size > 1 else 5_000
        small = structure.get("family") in SMALL and structure["num_params"] < most
        return "vmap" if small else "loop"
    return "shard" if devices_for(seeds) > 1 else "vmap"
