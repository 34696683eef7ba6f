"""How much memory a run will need, told before anything is compiled."""

import os
from typing import NamedTuple

import jax
from jax.extend import core

from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.run.limits import host_bytes
from tapjax.step import blocks
from tapjax.types import Record, tree_bytes

LIMIT = "TAPJAX_MEMORY_GB"  # environment variable: overrules what the device says
ADVICE = {
    "data": "data.train_size and data.test_size make it smaller",
    "states": "fewer seeds, a smaller model, or more devices",
    "records": "chunk_steps (now {chunk}) makes chunks shorter",
    "work": "data.batch_size, probe.size, or over_seeds='loop'",
}


class Estimate(NamedTuple):
    """Bytes on each device: the data set, the states of its seeds, a chunk's records, and what is
    alive in between while a step or a measurement is computed."""

    data: int
    states: int
    records: int
    work: int


def estimate(ready, record: Record) -> Estimate:
    """What an assembled run needs on each device.

    Args:
      ready: an Assembly.
      record: shapes of what one block leaves behind, over all seeds.

    Returns:
      An Estimate. Fusion makes the work smaller, copies of the compiler's make it larger: within a
      factor of about two.
    """
    cfg, recipe = ready.cfg, ready.recipe
    together = ready.over_seeds in ("vmap", "shard")
    seeds = len(cfg.seeds)
    here = seeds // blocks.devices_for(seeds) if ready.over_seeds == "shard" else seeds
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), ready.like)
    prepared = jax.eval_shape(recipe.prepare, one, ready.data)
    work = max(peak_bytes(recipe.step, one, prepared), peak_bytes(recipe.probe, one, prepared))
    work += peak_bytes(recipe.prepare, one, ready.data)  # such as a permuted copy of the images
    blocks_a_chunk = schema.chunk_steps(cfg) // cfg.probe.every
    examples = ready.contents["data.json"]
    share_of_test = examples["test_examples"] / examples["train_examples"]
    return Estimate(
        data=int(tree_bytes(ready.data) * (1 + share_of_test)),
        states=2 * here * tree_bytes(one),  # old and new
        records=here * tree_bytes(record) // seeds * blocks_a_chunk,
        work=(here if together else 1) * work,
    )


def check(needed: Estimate, cfg) -> None:
    """Refuse a run that the device cannot hold.

    Args:
      needed: its Estimate.
      cfg: its config.

    Raises:
      ConfigError: saying what takes most of it and what makes that smaller.
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
    """The estimate as text."""
    parts = ", ".join(f"{name} {gigabytes(n)}" for name, n in needed._asdict().items())
    return f"about {gigabytes(sum(needed))} of memory a device ({parts})"


def gigabytes(size: int) -> str:
    """Bytes as text."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def available() -> int | None:
    """Bytes that a run may use of a device: on CPU of the host; None if nobody says."""
    if LIMIT in os.environ:
        try:
            return int(float(os.environ[LIMIT]) * 1e9)
        except ValueError as error:
            raise ConfigError(f"{LIMIT}={os.environ[LIMIT]!r} is no number of gigabytes") from error
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return host_bytes()
    return (device.memory_stats() or {}).get("bytes_limit")


def peak_bytes(fn, *args) -> int:
    """The most that is alive at once while a function is computed, operation by operation.

    Args:
      fn: a JAX function.
      *args: arrays or their shapes; they do not count.

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
        inside = max(map(_peak, core.jaxprs_in_params(eqn.params)), default=0)
        most = max(most, now + max(sum(made.values()), inside))
        alive |= {v: size for v, size in made.items() if v in last}
        for v in [v for v in alive if last[v] <= i]:
            del alive[v]
        now = sum(alive.values())
    return most


def _size(variable):
    aval = variable.aval
    return getattr(aval, "size", 0) * getattr(getattr(aval, "dtype", None), "itemsize", 0)
