"""Estimate of the memory that a run needs, made before anything is compiled."""

import os
from typing import NamedTuple

import jax
from jax.extend import core

from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.run.limits import host_bytes
from tapjax.step import blocks
from tapjax.store import records
from tapjax.types import Record, tree_bytes

LIMIT = "TAPJAX_MEMORY_GB"  # environment variable: replaces the limit of the device
ADVICE = {
    "data": "data.train_size and data.test_size make it smaller",
    "states": "fewer seeds, a smaller model, or more devices",
    "records": "chunk_steps (now {chunk}) makes chunks shorter",
    "work": "data.batch_size, probe.size, or over_seeds='loop'",
}


class Estimate(NamedTuple):
    """Memory needed on each device, in bytes.

    `data` is the data set, `states` are the states of the seeds on the device, and `records` are
    the records of one chunk. `work` are the intermediate values that exist at the same time while
    a step or a measurement is computed.
    """

    data: int
    states: int
    records: int
    work: int


def estimate(ready, record: Record) -> Estimate:
    """Estimate the memory that a run needs on each device.

    Args:
      ready: Assembly of the run.
      record: shapes of the Record of one block, over all seeds.

    Returns:
      The Estimate. Its `work` is right within a factor of about two, because fusion makes it
      smaller and copies that the compiler adds make it larger.
    """
    cfg, recipe = ready.cfg, ready.recipe
    together = ready.over_seeds in ("vmap", "shard")
    seeds = len(cfg.seeds)
    here = seeds // blocks.devices_for(seeds) if ready.over_seeds == "shard" else seeds
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), ready.like)
    prepared = jax.eval_shape(recipe.prepare, one, ready.data)
    programs = [recipe.step, recipe.probe, *(fn for fn, _ in recipe.measures.values())]
    work = max(peak_bytes(program, one, prepared) for program in programs)
    work += peak_bytes(recipe.prepare, one, ready.data)  # for example a permuted copy of the images
    blocks_a_chunk = schema.chunk_steps(cfg) // cfg.probe.every
    examples = ready.contents["data.json"]
    share_of_test = examples["test_examples"] / examples["train_examples"]
    return Estimate(
        data=int(tree_bytes(ready.data) * (1 + share_of_test)),
        states=2 * here * tree_bytes(one),  # before and after a step
        records=here * records.size(record, ready.programs.periods, blocks_a_chunk) // seeds,
        work=(here if together else 1) * work,
    )


def check(needed: Estimate, cfg) -> None:
    """Refuse a run that needs more memory than a device has.

    Args:
      needed: Estimate of the run.
      cfg: config of the run.

    Raises:
      ConfigError: the memory is too small. The message says which settings make the largest part
        smaller.
    """
    limit = available()
    if limit is None or sum(needed) <= limit:
        return
    largest = max(needed._fields, key=lambda name: getattr(needed, name))
    raise ConfigError(
        f"this run needs {describe(needed)}, and a device has {gigabytes(limit)}: "
        f"{ADVICE[largest].format(chunk=schema.chunk_steps(cfg))} ({LIMIT} overrules the limit)"
    )


def describe(needed: Estimate) -> str:
    """Return an estimate as text."""
    parts = ", ".join(f"{name} {gigabytes(n)}" for name, n in needed._asdict().items())
    return f"about {gigabytes(sum(needed))} of memory a device ({parts})"


def gigabytes(size: int) -> str:
    """Return a number of bytes as text in gigabytes or megabytes."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def available() -> int | None:
    """Return the number of bytes that a run may use on a device.

    Returns:
      Bytes: the value of the environment variable `LIMIT` if it is set, else the limit of the
      device, which on a CPU is that of the host. None if no limit is known.

    Raises:
      ConfigError: the environment variable is not a number.
    """
    if LIMIT in os.environ:
        try:
            return int(float(os.environ[LIMIT]) * 1e9)
        except ValueError as error:
            raise ConfigError(
                f"{LIMIT}={os.environ[LIMIT]!r} is not a number of gigabytes"
            ) from error
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return host_bytes()
    return (device.memory_stats() or {}).get("bytes_limit")


def peak_bytes(fn, *args) -> int:
    """Compute the peak size of the intermediate values while a function is computed.

    The function is followed operation by operation.

    Args:
      fn: JAX function.
      *args: arrays or their shapes. Their own size is not counted.

    Returns:
      Bytes.
    """
    return _peak(jax.make_jaxpr(fn)(*args).jaxpr)


def _peak(jaxpr):
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if isinstance(v, core.Var)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if isinstance(v, core.Var)}
    alive, now, most = {}, 0, 0
    for i, eqn in enumerate(jaxpr.eqns):
        made = {v: _size(v) for v in eqn.outvars}
        inside = max(map(_peak, inner_programs(eqn)), default=0)
        most = max(most, now + max(sum(made.values()), inside))
        alive |= {v: size for v, size in made.items() if v in last}
        for v in [v for v in alive if last[v] <= i]:
            del alive[v]
        now = sum(alive.values())
    return most


def inner_programs(equation) -> list:
    """Return the programs that an operation calls, such as the body of a loop, as Jaxprs."""
    found = []
    for value in equation.params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, core.ClosedJaxpr):
                found.append(each.jaxpr)
            elif isinstance(each, core.Jaxpr):
                found.append(each)
    return found


def _size(variable):
    aval = variable.aval
    return getattr(aval, "size", 0) * getattr(getattr(aval, "dtype", None), "itemsize", 0)
