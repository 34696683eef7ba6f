"""Measures by name, computed during training or afterwards at any step of a run."""

from collections.abc import Callable, Sequence

import jax

from tapjax.config.schema import ConfigError, lookup
from tapjax.contract.layout import STEP_AXES
from tapjax.measure import (
    barrier,
    collapse,
    curvature,
    dimension,
    examples,
    features,
    fourier,
    head_ablation,
    heads,
    intrinsic_dimension,
    kernel,
    llc,
    noise_scale,
    representation,
    weight_spectrum,
)
from tapjax.types import Measure, Recipe, Tree

MEASURES = {
    "probe_again": Measure(None, 2, "what did the run record: its own probe, at other steps"),
    "dimension": Measure(
        dimension.measure, 2, "how many directions are used: dimensionalities of every layer"
    ),
    "examples": Measure(
        examples.measure,
        1,
        "which examples are learned: loss, margin and error of each",
        classes=True,
    ),
    "noise_scale": Measure(
        noise_scale.measure, 20, "is a batch large enough: noise of the gradient, by example", True
    ),
    "curvature": Measure(
        curvature.measure, 800, "how sharp is the loss: eigenvalues and trace of its Hessian", True
    ),
    "kernel": Measure(
        kernel.measure,
        300,
        "lazy or feature learning: the empirical tangent kernel",
        classes=True,
    ),
    "collapse": Measure(
        collapse.measure,
        1,
        "do classes become points: neural collapse of the last hidden layer",
        classes=True,
    ),
    "features": Measure(
        features.measure, 1, "does a unit carry the answer: correlation with classes", classes=True
    ),
    "fourier": Measure(
        fourier.measure, 1, "is a sum computed by rotations: Fourier spectrum of the embedding"
    ),
    "heads": Measure(
        heads.measure, 1, "what do attention heads do: induction, previous token, copying"
    ),
    "head_ablation": Measure(
        head_ablation.measure, 50, "which attention heads are needed: accuracy without some"
    ),
    "intrinsic_dimension": Measure(
        intrinsic_dimension.measure, 20, "manifold or linear spread: TwoNN and Gride of every layer"
    ),
    "representation": Measure(
        representation.measure, 1, "when is a layer final: activations, for tapjax similarity"
    ),
    "weight_spectrum": Measure(
        weight_spectrum.measure, 15, "are weights heavy-tailed: power laws, spikes above random"
    ),
    "llc": Measure(
        llc.measure, 1800, "how degenerate is the minimum: local learning coefficient", True
    ),
    "barrier": Measure(
        barrier.measure,
        300,
        "same basin: loss barriers to other seeds, to the end, and from a clone to its base",
        True,
        True,
    ),
}
TAKEN = (*STEP_AXES, "D", "loss", "grad_norm")  # names that mean something else in a run
SALT = 0x3EA5  # separates the random numbers of measures from those of training


def chosen(names: Sequence[str], field: str = "--measures") -> dict[str, Measure]:
    """Look measures up by name.

    Args:
      names: keys of `MEASURES`, or import paths `package.module:measure` of a `types.Measure` or of
        a function like `Measure.apply`.
      field: flag or config field that the names are from, for error messages.

    Returns:
      Name of the folder -> Measure. For an import path it is the name of the object.

    Raises:
      ConfigError: a name is unknown, taken, or that of two measures.
    """
    found = {}
    for name in names:
        made = lookup(name, MEASURES, field.removeprefix("--"))
        if not isinstance(made, Measure):
            made = Measure(made, 1, "own measure", training=True)
        short = name.rpartition(":")[2]
        if short in TAKEN:
            raise ConfigError(f"{field}: {short} is the name of recorded arrays: rename it")
        if short in found:
            raise ConfigError(f"{field}: {short} is named twice")
        found[short] = made
    return found


def bound(measure: Measure, recipe: Recipe) -> Callable:
    """Return a measure of one seed of a recipe as a function `(state, data) -> dict of arrays`.

    A measure of pairs becomes a function `(state, other, data) -> dict of arrays`.
    """
    if measure.pairs:

        def compared(state, other, data):
            key = jax.random.fold_in(jax.random.fold_in(state.key, SALT), state.step)
            return measure.apply(recipe.model, recipe.loss, state, other, data, key)

        return compared
    if measure.apply is None:
        return lambda state, data: recipe.probe(state, recipe.prepare(state, data))

    def measured(state, data):
        key = jax.random.fold_in(jax.random.fold_in(state.key, SALT), state.step)
        data = recipe.prepare(state, data)
        return measure.apply(recipe.model, recipe.loss, state, data, key)

    return measured


def check(
    measures: dict[str, Measure], recipe: Recipe, cfg, like: Tree, data, field: str = "--measures"
) -> dict[str, Tree]:
    """Check that measures can be computed for a run.

    Args:
      measures: name -> Measure.
      recipe: Recipe of the run.
      cfg: config of the run.
      like: shapes of the states of all seeds.
      data: DeviceData of the run.
      field: flag or config field that the measures are from, for error messages.

    Returns:
      Name -> shapes of what the measure returns for one seed.

    Raises:
      ConfigError: a measure cannot be traced, or uses training examples although these change with
        the task.
    """
    single = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), like)
    shapes = {}
    for name, measure in measures.items():
        if measure.training and cfg.family == "plasticity" and cfg.tasks.kind != "single":
            raise ConfigError(
                f"{field}: {name} uses training examples, which change with the task in this run "
                f"(tasks.kind={cfg.tasks.kind!r})"
            )
        y = data.probe.y
        if measure.classes and (y.ndim > 1 or y.dtype.kind == "f"):
            has = "a target at every position" if y.ndim > 1 else "real-valued targets"
            raise ConfigError(
                f"{field}: {name} needs one class per example, and {cfg.data.name} has {has}"
            )
        if measure.pairs:
            continue
        try:
            found = jax.eval_shape(bound(measure, recipe), single, data)
        except (TypeError, ValueError, KeyError) as error:
            why = str(error).splitlines()[0]
            raise ConfigError(
                f"{field}: {name} cannot be computed for {cfg.model.name}: {why}"
            ) from None
        if not isinstance(found, dict) or not found:
            raise ConfigError(f"{field}: {name} does not return a dict of arrays")
        shapes[name] = found
    return shapes


def live(recipe: Recipe, cfg, like: Tree, data) -> dict[str, tuple[Callable, int]]:
    """Return the measures that a run computes during training.

    Args:
      recipe: Recipe of the run.
      cfg: config of the run. `probe.measures` holds names of measures, each followed by `*N` if it
        is computed only at every N-th measurement of the probe.
      like: shapes of the states of all seeds.
      data: DeviceData of the run.

    Returns:
      Name -> (function `(state, data) -> dict of arrays`, N).

    Raises:
      ConfigError: see `chosen` and `check`; or a number is not above 0.
    """
    field, periods = "probe.measures", {}
    for entry in filter(None, (part.strip() for part in cfg.probe.measures.split(","))):
        name, star, number = entry.partition("*")
        if not name or (star and not (number.isdecimal() and 0 < int(number) <= cfg.steps)):
            raise ConfigError(
                f"{field}: {entry!r} must be a name, or a name and a number up to steps: "
                f"{name or 'curvature'}*10"
            )
        if name in periods:
            raise ConfigError(f"{field}: {name} is named twice")
        periods[name] = int(number or 1)
    measures = chosen(list(periods), field)
    for name, measure in measures.items():
        if measure.pairs:
            raise ConfigError(f"{field}: {name} compares two states: use tapjax measure afterwards")
    check(measures, recipe, cfg, like, data, field)
    return {
        name: (bound(measure, recipe), period)
        for (name, measure), period in zip(measures.items(), periods.values(), strict=True)
    }
