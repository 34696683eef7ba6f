"""Snapshots: the contents of a network at one step, written as plain arrays.

A snapshot can hold parameters, the optimizer's state, gradients, and activations on the fixed probe
examples.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config.schema import ConfigError, config_hash, from_json, to_json
from tapjax.contract.layout import RECORDS, SNAPSHOT, filters, record_name, write_npz
from tapjax.contract.text import did_you_mean
from tapjax.measure.probes import pooled
from tapjax.run.replay import Drift, Timeline, enter, states_at
from tapjax.step.batched import examples_at_once, in_parts
from tapjax.step.blocks import OVER_SEEDS
from tapjax.store.rundir import read_arrays
from tapjax.types import DeviceData, Recipe, TrainState, tree_bytes


def check_records(names: Sequence[str]) -> None:
    """Refuse names of records that no snapshot can hold.

    Args:
      names: keys of `layout.RECORDS`.

    Raises:
      ConfigError: a name is unknown. The message contains it.
    """
    for name in names:
        if name not in RECORDS:
            raise ConfigError(
                f"--record={name!r} is not one of {', '.join(RECORDS)}{did_you_mean(name, RECORDS)}"
            )


def make_snapshot(recipe: Recipe, classes: int, records: Sequence[str], examples: int):
    """Build the function that takes a snapshot of a state.

    Args:
      recipe: Recipe of the run.
      classes: number of classes C.
      records: keys of `layout.RECORDS`, which describes what each one holds.
      examples: number of probe examples for which attention and maps are kept.

    Returns:
      `snapshot(state, data) -> dict` from array names to arrays, for one seed.
    """

    def snapshot(state: TrainState, data: DeviceData):
        probe, few = data.probe, data.probe.x[:examples]
        taken = {}
        if "weights" in records:
            taken |= _named("weights", state.params) | _named("stats", state.stats)
        if "optimizer" in records:
            taken |= _named("optimizer", state.opt)
        if "gradients" in records:
            taken |= _named("gradients", recipe.gradient(state, recipe.prepare(state, data)))
        if "activations" in records:
            taken |= _activations(recipe.model, state, probe, classes)
        if "maps" in records:
            _, hidden, _ = recipe.model.apply(state.params, state.stats, few)
            layers = zip(recipe.model.layer_names, hidden, strict=True)
            taken |= {f"maps/{name}": h for name, h in layers if h.ndim > 2}
        if "attention" in records:
            taken |= _attention(recipe.model, state, few)
        if "filters" in records:
            taken |= {f"filters/{name}": w for name, w in filters(_paths(state.params)).items()}
        return taken

    return snapshot


def _paths(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}


def _named(group, tree):
    return {f"{group}/{path}": leaf for path, leaf in _paths(tree).items()}


def _activations(model, state, probe, classes):
    """Return measurements of each unit.

    These are its mean over space or tokens [P, D], its share of positive values [D] and, unless
    there is a target at every position, its mean for each class [C, D].
    """

    def apply(x):
        return model.apply(state.params, state.stats, x)[:2]

    def reduced(x):
        _, hidden = apply(x)
        inner = [tuple(range(1, h.ndim - 1)) for h in hidden]
        positive = [(h > 0).mean(axes) for h, axes in zip(hidden, inner, strict=True)]
        return [pooled(h, "mean") for h in hidden], positive

    activity, positive = in_parts(reduced, probe.x, examples_at_once(apply, probe.x))
    taken = {}
    for name, h_PxD, positive_PxD in zip(model.layer_names, activity, positive, strict=True):
        taken[f"activations/{name}"] = h_PxD
        taken[f"positive/{name}"] = positive_PxD.mean(0)
    if probe.y.ndim > 1:
        return taken
    member_CxP = (jnp.arange(classes)[:, None] == probe.y[None]).astype(jnp.float32)
    mean_CxP = member_CxP / jnp.maximum(member_CxP.sum(1, keepdims=True), 1)
    means = {f"class_mean/{n}": mean_CxP @ taken[f"activations/{n}"] for n in model.layer_names}
    return taken | means


def _attention(model, state, x):
    """Return the softmax probabilities [P, H, Q, Q] of each block, by the name of its layer."""
    sown = model.capture(state.params, state.stats, x) if model.capture else {}
    return {
        "attention/" + path.removesuffix("/probabilities").replace("/", "_"): value
        for path, value in sown.items()
        if path.endswith("probabilities")
    }


class Writer(NamedTuple):
    """A writer of snapshots.

    `take(states, data)` takes a snapshot of all seeds, and `bytes_each` is the size of one file in
    bytes.
    """

    timeline: Timeline
    take: Callable
    bytes_each: int


def make_writer(timeline: Timeline, records: Sequence[str], examples: int) -> Writer:
    """Prepare the snapshots of a run.

    Args:
      timeline: Timeline of the run.
      records: see `make_snapshot`.
      examples: see `make_snapshot`.

    Returns:
      The Writer.

    Raises:
      ConfigError: the network of the run has none of the requested records.
    """
    ready = timeline.assembly
    classes = ready.contents["data.json"]["classes"]
    take = OVER_SEEDS[ready.over_seeds](make_snapshot(ready.recipe, classes, records, examples))
    single = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), ready.like)
    like = jax.eval_shape(
        make_snapshot(ready.recipe, classes, records, examples), single, ready.data
    )
    if not like:
        raise ConfigError(f"--record={','.join(records)}: {ready.cfg.model.name} has none of it")
    return Writer(timeline, take, tree_bytes(like) * len(ready.cfg.seeds))


def write_snapshots(writer: Writer, steps: Sequence[int], out: Path, drift: Drift | None = None):
    """Replay a run to each step and write a snapshot there.

    Arrays that an earlier snapshot of the same run and step has in its file are kept.

    Args:
      writer: Writer from `make_writer`.
      steps: training steps.
      out: folder to write the files in.
      drift: Drift that compares the replay with the recorded scalars; None for no comparison.

    Yields:
      The path of each file once it is written.
    """
    ready = writer.timeline.assembly
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "seeds": np.array(ready.cfg.seeds),
        "probe_y": np.asarray(ready.data.probe.y),
        "config": np.array(_hash_of_any_length(ready.cfg)),
    }
    for step, states in states_at(writer.timeline, steps, drift):
        taken = jax.device_get(writer.take(enter(ready, states, step), ready.data))
        path, about["step"] = out / record_name(step), np.array(step)
        write_npz(path, _of_the_same(path, about) | about | taken)
        yield path


def _hash_of_any_length(cfg):
    """Return a hash of the config that does not depend on the length of the run.

    The run may have been extended since the earlier snapshot.
    """
    any_length = {"steps": 1, "former_steps": ()}
    return config_hash(from_json(to_json(cfg) | any_length))


def _of_the_same(path, about):
    """Return the arrays of an earlier snapshot of this run and step; empty if there is none."""
    if not path.exists():
        return {}
    there = read_arrays(path)
    same = all(np.array_equal(there.get(name), about[name]) for name in SNAPSHOT)
    return there if same else {}
