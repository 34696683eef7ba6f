"""Interventions between two steps of a run, computed by replaying it.

RUN/interventions/000001150-000001250.npz holds `steps [2]`, `seeds [S]` and the arrays of
`measure.interventions.effects` with a leading seed axis, of the states before these two steps.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config.schema import ConfigError
from tapjax.contract.files import read_npz
from tapjax.contract.layout import INTERVENTIONS, pair_name, write_npz
from tapjax.contract.text import did_you_mean
from tapjax.measure.interventions import effects, unit_axis
from tapjax.measure.unit_probe import named_activations
from tapjax.run.replay import Drift, Timeline, enter, states_at
from tapjax.types import Batch

EXAMPLES = 256


def choose_layers(timeline: Timeline, names: Sequence[str], unit=None) -> dict[str, int]:
    """Choose the layers in which to intervene.

    Args:
      timeline: Timeline of the run.
      names: names of layers; empty for all, or for that of the unit.
      unit: (layer, number) of the only unit of interest, or None.

    Returns:
      Names of layers -> number of units.

    Raises:
      ConfigError: the activations of the network cannot be replaced, or a layer or unit is unknown.
    """
    ready = timeline.assembly
    model = ready.recipe.model
    if model.watch is None:
        raise ConfigError(
            f"the activations of {ready.cfg.model.name!r} cannot be replaced: its Model has no "
            "`watch`"
        )
    single = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), ready.like)
    few = jax.ShapeDtypeStruct((1, *ready.data.x.shape[1:]), jnp.float32)
    shapes = jax.eval_shape(model.watch, single.params, single.stats, few)[1]
    layers = named_activations(shapes, heads=True)
    known = {name: leaf.shape[unit_axis(name)] for name, leaf in layers}
    names = list(names) or ([unit[0]] if unit else list(known))
    for name in (*names, *([unit[0]] if unit else [])):
        if name not in known:
            said = did_you_mean(name, known)
            raise ConfigError(f"layer {name!r} is not one of {', '.join(known)}{said}")
    if unit and (unit[0] not in names or unit[1] >= known[unit[0]]):
        raise ConfigError(
            f"--unit={unit[0]}:{unit[1]} is not one of the {known[unit[0]]} units of a chosen layer"
        )
    return {name: known[name] for name in names}


def missing_pairs(folder: Path, pairs, layers: Sequence[str]) -> list[tuple[int, int]]:
    """Return the sorted pairs of steps between which a layer has not been measured yet.

    Args:
      folder: run directory.
      pairs: pairs of steps.
      layers: names of layers.

    Returns:
      Pairs of steps.
    """

    def done(pair):
        path = folder / INTERVENTIONS / pair_name(*pair)
        wanted = {f"undo/{layer}/loss" for layer in layers}
        return path.is_file() and len(read_npz(path, wanted.__contains__)) == len(wanted)

    return sorted(pair for pair in set(pairs) if not done(pair))


def intervene(
    timeline: Timeline, folder: Path, pairs, layers: Sequence[str], drift: Drift | None = None
) -> Iterator[Path]:
    """Intervene between pairs of steps, and write the effects.

    Args:
      timeline: Timeline of the run.
      folder: run directory.
      pairs: pairs of steps (before, after).
      layers: names of layers.
      drift: Drift that compares the replay with the recorded scalars; None for no comparison.

    Yields:
      The path of each written file.

    Raises:
      RunDirError: see `replay.states_at`.
    """
    ready, kept = timeline.assembly, {}
    recipe = ready.recipe

    @jax.jit
    def of_seed(before, after, data):
        probe = recipe.prepare(after, data).probe
        few = Batch(probe.x[:EXAMPLES], probe.y[:EXAMPLES], probe.allowed)
        sides = [(state.params, state.stats) for state in (before, after)]
        return effects(recipe.model, recipe.loss, *sides, few, tuple(layers))

    last_use = {}
    for before, after in pairs:
        last_use[before] = max(last_use.get(before, 0), after)
    out = folder / INTERVENTIONS
    out.mkdir(exist_ok=True)
    for step, states in states_at(timeline, sorted({s for pair in pairs for s in pair}), drift):
        now = enter(ready, states, step)
        for before, after in pairs:
            if after == step:
                yield _write(out, ready, of_seed, (before, after), kept[before], now)
        if step in last_use:  # the buffers of the states are reused
            kept[step] = jax.tree.map(jnp.copy, now)
        kept = {s: state for s, state in kept.items() if last_use[s] > step}


def _write(out, ready, of_seed, pair, before, after):
    """Measure one seed after another, which needs the memory of one."""
    seeds = ready.cfg.seeds

    def one(tree, i):
        return jax.tree.map(lambda leaf: leaf[i], tree)

    found = [
        jax.device_get(of_seed(one(before, i), one(after, i), ready.data))
        for i in range(len(seeds))
    ]
    arrays = {name: np.stack([each[name] for each in found]) for name in found[0]}
    path = out / pair_name(*pair)
    write_npz(path, arrays | {"steps": np.array(pair), "seeds": np.array(seeds)})
    return path
