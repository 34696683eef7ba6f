"""Description of a run in its run directory: config, environment, data and model."""

import jax

from tapjax.config import schema
from tapjax.data.datasets import digests
from tapjax.data.synthetic import is_task
from tapjax.measure.probes import weight_names
from tapjax.measure.unit_probe import unit_layers
from tapjax.step.blocks import devices_for
from tapjax.store.environment import environment


def manifest(cfg, recipe, arrays, probe_index, over_seeds: str, params_like) -> dict[str, dict]:
    """Return the contents of the four files that describe a run.

    Args:
      cfg: config of the run.
      recipe: Recipe of the run.
      arrays: data set of the run.
      probe_index: indices [P] of the probe examples in the test split.
      over_seeds: way in which the seed axis is run, a key of `blocks.OVER_SEEDS`.
      params_like: shapes of the parameters, with a leading seed axis.

    Returns:
      File name -> JSON data.
    """
    return {
        "config.json": schema.to_json(cfg),
        "env.json": environment(cfg, over_seeds),
        "data.json": _describe_data(arrays, probe_index),
        "model.json": _describe_model(cfg, recipe, arrays, params_like),
    }


def describe(cfg, model: dict, over_seeds: str, probe_size: int, size: int) -> str:
    """Describe in one line the size of a run and the expected cost of its measurements.

    Args:
      cfg: config of the run.
      model: contents of model.json.
      over_seeds: way in which the seed axis is run, a key of `blocks.OVER_SEEDS`.
      probe_size: number of probe examples P.
      size: number of bytes of the records.

    Returns:
      A line of text. The estimate counts a training step as three forward passes over its batch.
    """
    examples = probe_size / cfg.probe.every
    if cfg.family == "motifs":
        examples += min(cfg.record.examples, probe_size)
    share = examples / (3 * cfg.data.batch_size)
    measures = f"; measures {cfg.probe.measures}" if cfg.probe.measures else ""
    return (
        f"{model['architecture']} on {model['data']}: {model['num_params']:,} parameters, "
        f"{_how(len(cfg.seeds), over_seeds)}, {cfg.steps} steps in chunks of "
        f"{schema.chunk_steps(cfg)}; probe of {probe_size} examples every {cfg.probe.every} steps: "
        f"about {share:.0%} of the training's work in forward passes, plus the spectra{measures}; "
        f"{size / 1e6:.3g} MB of records"
    )


def _how(seeds, over_seeds):
    """Describe how the seeds are run, and whether devices stay idle."""
    if over_seeds != "shard":
        return f"{seeds} seeds by {over_seeds}"
    used, all_of_them = devices_for(seeds), jax.local_device_count()
    idle = "" if used == all_of_them else f" (of {all_of_them}: seeds have to divide evenly)"
    return f"{seeds} seeds over {used} devices{idle}"


def _describe_data(arrays, probe_index):
    return {
        "sha256": digests(arrays),
        "shape": list(arrays.shape),
        "classes": arrays.classes,
        "train_examples": len(arrays.y),
        "test_examples": len(arrays.y_test),
        "probe_index": probe_index.tolist(),
    }


def _describe_model(cfg, recipe, arrays, params_like):
    units = cfg.family == "plasticity"
    single = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params_like
    )
    return {
        "architecture": cfg.model.name,
        "data": cfg.data.name,
        "config_hash": schema.config_hash(cfg),
        "structure": recipe.structure,
        "num_params": sum(leaf.size for leaf in jax.tree.leaves(single)),
        "layer_names": list(recipe.model.layer_names),
        "head": recipe.model.layer_names[-1],
        "dimension": cfg.probe.dimension,
        "dimension_is": f"mean of {cfg.probe.dimension} over all layers but the head",
        "weight_names": weight_names(single),
        "unit_layers": unit_layers(recipe.model, arrays.shape) if units else [],
        "skill_names": list(arrays.task.skills) if arrays.task else [],
        "synthetic": is_task(cfg.data.name),
    }
