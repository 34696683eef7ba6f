"""Compiled training loops: from one step to blocks of steps, chunks of blocks and all seeds.

A block is one probe measurement followed by K training steps. A chunk is many blocks. It is
compiled once and runs for all seeds.

The nesting of the scans determines when measurements are made. A `lax.cond` on a step counter
would not work, because vmap turns it into a select, which measures at every step.
"""

import functools
import os

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tapjax.config.schema import ConfigError
from tapjax.types import Record


def make_block(step, probe, k: int, scalar_bin: int = 1, prepare=lambda state, data: data):
    """Make a function that measures the state and then trains for K steps.

    Args:
      step: training step, `(state, data) -> (state, scalars)`.
      probe: measurement, `(state, data) -> dict of arrays`.
      k: number of steps K between two measurements.
      scalar_bin: number of steps averaged into one recorded scalar; it divides k.
      prepare: function `(state, data) -> data`, called once at the beginning of the block.

    Returns:
      `block(state, data) -> (state, Record)` with scalars of shape `[k // scalar_bin, ...]`.
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
    """Average over bins of `size` steps.

    Integers are identifiers, so the first of each bin is kept instead.
    """
    bins = scalar_K.reshape(-1, size, *scalar_K.shape[1:])
    return bins[:, 0] if jnp.issubdtype(scalar_K.dtype, jnp.integer) else bins.mean(1)


def make_chunk(block, n: int, over_seeds):
    """Make a function that runs n blocks and is compiled once.

    Args:
      block: function `(state, data) -> (state, Record)` from `make_block`.
      n: number of blocks per chunk.
      over_seeds: one of the functions in `OVER_SEEDS`; it determines how the seed axis is run.

    Returns:
      `chunk(states, data) -> (states, Record)`. All leaves have a leading seed axis: scalars are
      `[S, T]` with the T values recorded during the n * K steps, and probe arrays are
      `[S, n, ...]`. The buffers of the given states are donated.
    """

    def chunk(state, data):
        state, record = jax.lax.scan(lambda s, _: block(s, data), state, None, n)
        scalars = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), record.scalars)
        return state, Record(scalars, record.probe)

    return over_seeds(chunk, donate=True)


def _compiled(over_all, fn, donate):
    """Compile a function of all seeds under the name of the function `fn` of one seed."""

    def named(states, *shared):
        return over_all(states, *shared)

    named.__name__ = fn.__name__
    return jax.jit(named, donate_argnums=0 if donate else ())


def vmap_seeds(fn, donate: bool = False):
    """Run all seeds in one batched program."""

    def batched(states, *shared):
        return jax.vmap(lambda state: fn(state, *shared))(states)

    return _compiled(batched, fn, donate)


def map_seeds(fn, donate: bool = False):
    """Run all seeds in one program, one after another."""

    def mapped(states, *shared):
        return jax.lax.map(lambda state: fn(state, *shared), states)

    return _compiled(mapped, fn, donate)


def loop_seeds(fn, donate: bool = False):
    """Compile a program for a single seed and call it once per seed."""
    compiled = _compiled(fn, fn, donate)

    def run(states, *shared):
        seeds = range(jax.tree.leaves(states)[0].shape[0])
        results = [compiled(jax.tree.map(lambda a, s=s: a[s], states), *shared) for s in seeds]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return run


def shard_seeds(fn, donate: bool = False):
    """Spread the seeds over the local devices, in one batch per device.

    The devices do not communicate.
    """

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
    """Check that JAX has a device to run on.

    Raises:
      ConfigError: if the device requested by JAX_PLATFORMS is not available.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise ConfigError(
            f"JAX finds no device for JAX_PLATFORMS={wanted}: unset it, or install JAX for that "
            "device (on NVIDIA: pip install 'jax[cuda12]')"
        ) from error


def devices_for(seeds: int) -> int:
    """Return the number of local devices that the seeds are spread over.

    This is the largest number that gives every device the same number of seeds.

    Args:
      seeds: number of seeds S.

    Returns:
      Number of devices, at least 1.
    """
    return max(n for n in range(1, jax.local_device_count() + 1) if seeds % n == 0)


def _mesh(seeds):
    return Mesh(jax.local_devices()[: devices_for(seeds)], ("seeds",))


def share(tree, over_seeds: str, seeds: int):
    """Place arrays that all seeds read on every device that runs seeds.

    Doing this once saves a copy at every call. It changes nothing unless seeds are sharded.

    Args:
      tree: tree of arrays.
      over_seeds: key of `OVER_SEEDS`.
      seeds: number of seeds S.

    Returns:
      The same tree of arrays, placed on these devices.
    """
    return (
        jax.device_put(tree, NamedSharding(_mesh(seeds), WHOLE)) if over_seeds == "shard" else tree
    )


# Families whose small networks run faster with batched seeds on one CPU core.
SMALL = ("mlp", "residual", "dynamics")
# Each function takes `fn(state, *shared)` of one seed, and whether to donate the states' buffers.
# It returns a function of the states of all seeds, whose leaves have a leading seed axis [S, ...].
OVER_SEEDS = {"vmap": vmap_seeds, "map": map_seeds, "loop": loop_seeds, "shard": shard_seeds}


def choose_over_seeds(name: str, seeds: int, structure: dict, batch_size: int) -> str:
    """Choose the fastest way to run the seed axis on this machine, unless the config names one.

    On one CPU core, batching seeds is faster only where matrices are small, that is, in small MLPs.
    At batch size 1, where reading the weights takes most of the time, it is faster only in tiny
    MLPs. Batched convolutions are several times slower there. Accelerators batch or shard.

    Args:
      name: `auto` or a key of `OVER_SEEDS`.
      seeds: number of seeds S.
      structure: features of the architecture; empty for a user-defined model.
      batch_size: number of examples per step.

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
