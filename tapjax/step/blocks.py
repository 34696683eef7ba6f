"""Compiled training loops: from one step to blocks of steps, chunks of blocks and all seeds.

A block is one probe measurement followed by K training steps. A chunk is many blocks. It is
compiled once and runs for all seeds. The numbers of blocks and of steps are arguments of the
compiled program, so that a shorter chunk and the measurement of the final state need no program of
their own.

The nesting of the loops determines when the probe is measured. A `lax.cond` on the step counter of
a state would not work, because vmap turns it into a select, which measures at every step. Further
measures are due at some blocks; the number of a block is the same for all seeds.
"""

import functools
import os

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tapjax.config.schema import ConfigError
from tapjax.types import Record

NEVER = -1  # number of the first block of a chunk that computes no measure


def make_block(step, probe, k: int, scalar_bin: int = 1, prepare=lambda state, data: data):
    """Make a function that measures the state and then trains for K steps.

    Args:
      step: training step, `(state, data) -> (state, scalars)`.
      probe: measurement, `(state, data) -> dict of arrays`.
      k: number of steps K between two measurements.
      scalar_bin: number of steps averaged into one recorded scalar; it divides k.
      prepare: function `(state, data) -> data`, called once at the beginning of the block.

    Returns:
      `block(state, data, trains=1) -> (state, Record)` with scalars of shape
      `[k // scalar_bin, ...]`. With `trains=0` it only measures, and the scalars are zero.
    """

    def block(state, data, trains=1):
        data = prepare(state, data)
        measured = probe(state, data)
        state, scalars = _recorded(lambda s, _: step(s, data), state, k, trains * k)
        if scalar_bin > 1:
            scalars = jax.tree.map(lambda a: _binned(a, scalar_bin), scalars)
        return state, Record(scalars, measured)

    return block


def _recorded(advance, state, most, count):
    """Apply a function `(state, i) -> (state, results)` a number of times and record the results.

    Args:
      advance: the function; `i` is the number of the repetition.
      state: first state.
      most: largest number of repetitions.
      count: number of repetitions, at most `most`; it may be a traced number.

    Returns:
      (last state, results `[most, ...]`, which are zero from `count` on).
    """
    like = jax.eval_shape(advance, state, jnp.int32(0))[1]
    empty = jax.tree.map(lambda a: jnp.zeros((most, *a.shape), a.dtype), like)
    put = jax.lax.dynamic_update_index_in_dim

    def repeat(i, carry):
        state, recorded = carry
        state, results = advance(state, i)
        return state, jax.tree.map(lambda rows, row: put(rows, row, i, 0), recorded, results)

    return jax.lax.fori_loop(0, count, repeat, (state, empty))


def _binned(scalar_K, size):
    """Average over bins of `size` steps.

    Integers are identifiers, so the first of each bin is kept instead.
    """
    bins = scalar_K.reshape(-1, size, *scalar_K.shape[1:])
    return bins[:, 0] if jnp.issubdtype(scalar_K.dtype, jnp.integer) else bins.mean(1)


def make_chunk(block, most: int, over_seeds, measures=None):
    """Make a function that runs blocks and is compiled once, whatever their number.

    Args:
      block: function `(state, data, trains) -> (state, Record)` from `make_block`.
      most: largest number of blocks per chunk.
      over_seeds: one of the functions in `OVER_SEEDS`; it determines how the seed axis is run.
      measures: name -> (function `(state, data) -> dict`, number of blocks between measurements).

    Returns:
      `chunk(states, data, blocks=most, last=0, block=NEVER) -> (states, Record)`. It runs a number
      of blocks and, with `last=1`, measures the state after them. `block` is the number of the
      first block, which determines when measures are due, or `NEVER`. All leaves have a leading
      seed axis. Probe arrays are `[S, most + 1, ...]`, scalars `[S, (most + 1) * T]`, where T is
      the number of scalars per block, and the arrays of measures have a row for each measurement
      that may be due; see `trimmed`. The buffers of the given states are donated.
    """
    measures = measures or {}

    def chunk(state, data, blocks, last, number):
        def measured(name, state, kept, i):
            """Measure if a measurement is due.

            The predicate does not depend on the seed, so that vmap keeps the cond. A loop of one or
            no repetition would not do: XLA moves what does not change in a loop out of it.
            """
            fn, period = measures[name]
            due = (number >= 0) & ((number + i) % period == 0)
            row = (number + i) // period - (number + period - 1) // period

            def put(kept):
                found = fn(state, data)
                return jax.tree.map(lambda a, v: a.at[row].set(v), kept, found)

            return jax.lax.cond(due, put, lambda kept: kept, kept)

        def one(carry, i):
            state, kept = carry
            kept = {name: measured(name, state, rows, i) for name, rows in kept.items()}
            state, record = block(state, data, (i < blocks).astype(jnp.int32))
            return (state, kept), record

        empty = {
            name: jax.tree.map(
                lambda a, n=most // period + 1: jnp.zeros((n, *a.shape), a.dtype),
                jax.eval_shape(fn, state, data),
            )
            for name, (fn, period) in measures.items()
        }
        (state, kept), record = _recorded(one, (state, empty), most + 1, blocks + last)
        scalars = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), record.scalars)
        return state, Record(scalars, record.probe, kept)

    compiled = over_seeds(chunk, donate=True)
    return lambda states, data, blocks=most, last=0, block=NEVER: compiled(
        states, data, blocks, last, block
    )


def trimmed(
    record: Record, most: int, blocks: int, last: int = 0, due: dict[str, int] | None = None
) -> Record:
    """Copy what a chunk recorded to the host, without the unused rows.

    Args:
      record: Record that the chunk returned.
      most: largest number of blocks of the chunk.
      blocks: number of blocks that it ran.
      last: 1 if it measured the state after them, else 0.
      due: name of a measure -> number of its measurements, see `due_blocks`; None for no measures.

    Returns:
      Record of NumPy arrays: scalars `[S, blocks * T]`, probe arrays `[S, blocks + last, ...]`, and
      for each measure arrays `[S, due, ...]`.
    """
    record = jax.device_get(record)
    return Record(
        {name: a[:, : blocks * (a.shape[1] // (most + 1))] for name, a in record.scalars.items()},
        {name: a[:, : blocks + last] for name, a in record.probe.items()},
        {
            name: {key: a[:, :n] for key, a in record.measures[name].items()}
            for name, n in (due or {}).items()
        },
    )


def due_blocks(number: int, count: int, period: int) -> range:
    """Return the blocks at whose start a measure is due.

    Args:
      number: number of the first block of a chunk, or `NEVER`.
      count: number of blocks and, if the state after them is measured, one more.
      period: number of blocks between two measurements.

    Returns:
      Numbers of blocks, multiples of the period.
    """
    return range(-(-number // period) * period, number + count, period) if number >= 0 else range(0)


# Options of programs that run once. At this level LLVM compiles an initialisation in 40 to 60 %
# of the time, to the same bits.
ONCE = {"xla_backend_optimization_level": 1}


def _compiled(over_all, fn, donate, once=False):
    """Compile a function of all seeds under the name of the function `fn` of one seed."""

    def named(states, *shared):
        return over_all(states, *shared)

    named.__name__ = fn.__name__
    options = ONCE if once and jax.default_backend() == "cpu" else None
    return jax.jit(named, donate_argnums=0 if donate else (), compiler_options=options)


def vmap_seeds(fn, donate: bool = False, once: bool = False):
    """Run all seeds in one batched program; `once` says that it will be called only once."""

    def batched(states, *shared):
        return jax.vmap(lambda state: fn(state, *shared))(states)

    return _compiled(batched, fn, donate, once)


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


def shard_seeds(fn, donate: bool = False, once: bool = False):
    """Spread the seeds over the local devices, in one batch per device.

    The devices do not communicate. `once` is that of `vmap_seeds`.
    """

    def batched(states, shared):
        return jax.vmap(lambda state: fn(state, *shared))(states)

    @functools.cache
    def compiled(mesh):
        specs = (SPLIT, WHOLE)
        mapped = jax.shard_map(batched, mesh=mesh, in_specs=specs, out_specs=SPLIT, check_vma=False)
        return _compiled(mapped, fn, donate, once)

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
