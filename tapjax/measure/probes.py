"""Measurements of a network on a fixed probe batch, as pure and jit-safe functions.

All dimensionalities of a layer are computed from one spectrum of singular values, without vectors
(see singular_values.py).
"""

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config.schema import ConfigError, lookup
from tapjax.contract.layout import DIMENSIONS
from tapjax.data.sampling import normalise
from tapjax.measure.singular_values import spectra
from tapjax.step.batched import examples_at_once, in_parts
from tapjax.step.losses import is_graded, restricted, score_by_example, scores
from tapjax.types import DeviceData, TrainState

ENERGY = 0.9
BINS = 10


def spectral_metrics(s_R):
    """Compute the dimensionalities of one spectrum; all are zero for the zero matrix.

    With singular values s they are:
    the stable rank, sum(s^2)/s_1^2;
    the participation ratio, (sum s)^2/sum(s^2);
    the effective rank, the smallest number of leading values that hold 90 % of sum(s^2);
    the nuclear norm ratio, sum(s)/s_1;
    the participation ratio of the covariance, (sum s^2)^2/sum(s^4).
    They satisfy stable rank = nuclear norm ratio^2 / participation ratio.

    Args:
      s_R: singular values, largest first.

    Returns:
      Dict with one scalar for each of `DIMENSIONS`.

    Examples:
      >>> d = spectral_metrics(jnp.array([2.0, 2.0, 0.0]))  # two equal singular values
      >>> float(d["participation_ratio"]), float(d["stable_rank"])
      (2.0, 2.0)
    """
    top = s_R[0]
    s = s_R / jnp.where(top == 0, 1.0, top)  # prevents overflow and underflow of squares and sums
    nuclear, energy = s.sum(), jnp.square(s).sum()
    safe_energy = jnp.where(energy == 0, 1.0, energy)
    cumulative = jnp.cumsum(jnp.square(s)) / safe_energy
    needed = jnp.minimum(jnp.sum(cumulative < ENERGY) + 1, len(s)).astype(jnp.float32)
    needed = jnp.where(top == 0, 0.0, needed)
    values = (
        energy,
        nuclear**2 / safe_energy,
        needed,
        nuclear,
        energy**2 / jnp.where(energy == 0, 1.0, (s**4).sum()),
    )
    return dict(zip(DIMENSIONS, values, strict=True))


def pooled(h, tokens: str):
    """Average the activations of each example over space and, if requested, over tokens.

    Args:
      h: activations [P, D], [P, H, W, C] (averaged over space) or [P, Q, D] (tokens).
      tokens: treatment of tokens. `rows` keeps them; `mean` averages over them, [P, D]; `legacy`
        averages over features instead, [P, Q], as the system of the recorded runs did.

    Returns:
      Activations [P, D], [P, Q] with `legacy`, or [P, Q, D] where tokens are kept.
    """
    if h.ndim == 4:
        return h.mean((1, 2))
    if h.ndim == 3 and tokens != "rows":
        return h.mean(1 if tokens == "mean" else 2)
    return h


def as_matrix(h, rows: int):
    """Return a layer's activations as a matrix with samples as rows and features as columns.

    Args:
      h: activations from `pooled`.
      rows: maximum number of rows where tokens are kept. Their matrix is [P * Q, D] or, if that has
        more rows, a fixed random choice of its rows.

    Returns:
      Matrix [N, D].
    """
    if h.ndim == 2:
        return h
    flat = h.reshape(-1, h.shape[-1])
    chosen = np.random.default_rng(0).permutation(len(flat))[:rows]
    return flat[np.sort(chosen)] if rows < len(flat) else flat


def dimensions(layers, centred: bool, maps=None):
    """Compute the dimensionalities of layers; not-a-number if an activation is not finite.

    Layers of equal shape share one program for their spectra, and all layers share one for their
    metrics, which makes programs small.

    Args:
      layers: activations of each layer as a matrix [N, D].
      centred: whether to measure also the matrices without their column means; the names of these
        measurements begin with `centred_`.
      maps: for each layer, a matrix [R, D] whose rows span those of the layer, or None; see
        `singular_values.spectra`. None if no such matrices are known.

    Returns:
      Dict from metric name to an array with one value per layer [L].

    Examples:
      >>> d = dimensions([jnp.eye(4), jnp.ones((3, 2))], centred=False)
      >>> d["participation_ratio"].round(3).tolist()
      [4.0, 1.0]
    """
    # A maximum is found faster than whether all values are finite; it is NaN if one is.
    finite_L = jnp.isfinite(jnp.stack([jnp.abs(a).max() for a in layers]))
    groups = {}
    for i, (a, known) in enumerate(zip(layers, maps or [None] * len(layers), strict=True)):
        groups.setdefault((a.shape, None if known is None else known.shape), []).append(i)
    spectra_L = [None] * len(layers)
    for (_, has_map), group in groups.items():
        a_GxNxD = jnp.stack([jnp.where(finite_L[i], layers[i], 0.0) for i in group])
        map_GxRxD = jnp.stack([maps[i] for i in group]) if has_map else None
        found_GxKxR = jnp.stack(spectra(a_GxNxD, centred, map_GxRxD), 1)
        for i, spectra_KxR in zip(group, found_GxKxR, strict=True):
            spectra_L[i] = spectra_KxR
    longest = max(each.shape[-1] for each in spectra_L)
    padded_LxKxR = jnp.stack([jnp.pad(s, ((0, 0), (0, longest - s.shape[-1]))) for s in spectra_L])
    measured = jax.vmap(jax.vmap(spectral_metrics))(padded_LxKxR)
    return {
        prefix + name: jnp.where(finite_L, value_LxK[:, i], jnp.nan)
        for i, prefix in enumerate(("", "centred_")[: 1 + centred])
        for name, value_LxK in measured.items()
    }


def weight_names(params) -> list[str]:
    """Return the names of the weight matrices and kernels, in the order of `weight_norm`.

    Args:
      params: parameter tree.

    Returns:
      List of slash-separated paths.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(p, simple=True, separator="/") for p, w in leaves if w.ndim > 1]


def calibration(logits_PxC, correct_P):
    """Compute the confidence of a classifier and its expected calibration error.

    Args:
      logits_PxC: logits of each example and class.
      correct_P: 1 where the most probable class is the right one, else 0.

    Returns:
      Dict with `confidence`, the mean of the largest probability of each example, and `ece`, the
      expected calibration error over ten bins of equal width, the last of which includes 1
      (Guo et al. 2017, https://arxiv.org/abs/1706.04599, eq. 3).
    """
    confidence_P = jax.nn.softmax(logits_PxC).max(-1)
    bin_P = jnp.clip((confidence_P * BINS).astype(jnp.int32), 0, BINS - 1)
    gap_B = jnp.zeros(BINS).at[bin_P].add(correct_P - confidence_P)
    return {"confidence": confidence_P.mean(), "ece": jnp.abs(gap_B).sum() / len(correct_P)}


def skill_scores(task, x_P, y, scores_P):
    """Compute the mean score of each capability of a task.

    Args:
      task: `data.sequences.Task`.
      x_P: inputs of P examples.
      y: their targets, [P] or [P, Q].
      scores_P: scores of the targets, like `y`; see `losses.scores`.

    Returns:
      Array with one value per skill, not-a-number for a skill without targets.
    """
    skill = jnp.where(is_graded(y), task.skill(x_P, y), -1).reshape(-1)
    member_KxN = (jnp.arange(len(task.skills))[:, None] == skill[None]).astype(jnp.float32)
    return member_KxN @ scores_P.reshape(-1) / member_KxN.sum(1)


def make_probe(model, loss, classes: int, tokens="rows", rows=2048, centred=True, task=None):
    """Make the standard measurement of a network during training.

    Args:
      model: network, a `types.Model`.
      loss: per-example loss.
      classes: number of classes C.
      tokens: treatment of tokens, see `pooled`.
      rows: maximum number of rows, see `as_matrix`.
      centred: whether to measure centred activations too, see `dimensions`.
      task: `data.sequences.Task` whose capabilities are scored apart; None for other data.

    Returns:
      `probe(state, data) -> dict` with every dimensionality `[L]` (the head is last), `loss`,
      `accuracy`, `confidence` and `ece` (see `calibration`), `class_accuracy [C]` (not-a-number for
      a class without probe examples) and `weight_norm`, the Frobenius norms of the matrices listed
      by `weight_names`. For a task with several skills also `skill_accuracy [K]`. Sequences have no
      `confidence`, `ece` and `class_accuracy`.
    """

    def probe(state: TrainState, data: DeviceData):
        def apply(x):
            return model.apply(state.params, state.stats, x)[:2]

        def measured(x):
            logits, hidden = apply(x)
            logits = restricted(logits, data.probe.allowed)
            return logits, [pooled(h, tokens) for h in hidden]

        x, y_P = data.probe.x, data.probe.y
        logits_PxC, hidden = in_parts(measured, x, examples_at_once(apply, x))
        maps = model.affine(state.params)
        own = [h.ndim != 3 or tokens != "legacy" for h in jax.eval_shape(apply, x)[1]]
        known = [
            maps.get(n) if kept else None for n, kept in zip(model.layer_names, own, strict=True)
        ]
        layers = [as_matrix(h, rows) for h in hidden]
        weights = [w for w in jax.tree.leaves(state.params) if w.ndim > 1]
        found = {
            **dimensions(layers, centred, known),
            "loss": loss(logits_PxC, y_P).mean(),
            "accuracy": score_by_example(logits_PxC, y_P).mean(),
            "weight_norm": jnp.sqrt(jnp.stack([jnp.vdot(w, w) for w in weights])),
        }
        if task and len(task.skills) > 1:
            each = scores(logits_PxC, y_P)
            found["skill_accuracy"] = skill_scores(task, x, y_P, each)
        return found | (_of_classes(logits_PxC, y_P, classes) if y_P.ndim == 1 else {})

    return probe


def _of_classes(logits_PxC, y_P, classes):
    correct_P = scores(logits_PxC, y_P)
    member_PxC = (y_P[:, None] == jnp.arange(classes)[None]).astype(jnp.float32)
    return {
        **calibration(logits_PxC, correct_P),
        "class_accuracy": correct_P @ member_PxC / member_PxC.sum(0),
    }


def with_extra(probe, name: str, model, loss, classes: int):
    """Add the measurements of a user-defined function to a probe.

    Args:
      probe: function `(state, data) -> dict`.
      name: `package.module:function` of a function `(model, loss, classes) -> probe`; the empty
        string for no further measurements.
      model: network, a `types.Model`.
      loss: per-example loss.
      classes: number of classes C.

    Returns:
      `probe(state, data) -> dict`. While it is traced, it raises a ConfigError if the function
      fails, returns anything other than named arrays, or uses a name that is already recorded.

    Raises:
      ConfigError: if the function fails or does not return a function.
    """
    if not name:
        return probe
    make = lookup(name, {}, "probe.extra")
    refused = f"probe.extra={name!r}"
    try:
        extra = make(model, loss, classes)
    except Exception as error:  # user-defined code may raise any exception
        raise ConfigError(f"{refused}: {type(error).__name__}: {error}") from error
    if not callable(extra):
        raise ConfigError(f"{refused} must return a function of (state, data), not {extra!r}")

    def both(state: TrainState, data: DeviceData):
        found = probe(state, data)
        try:
            more = extra(state, data)
        except Exception as error:
            said = " ".join(str(error).split())
            raise ConfigError(f"{refused}: {type(error).__name__}: {said}") from error
        if not isinstance(more, dict) or not all(isinstance(key, str) and key for key in more):
            raise ConfigError(f"{refused} measures {type(more).__name__}, not a dict name -> array")
        for key, value in more.items():
            if key in found:
                raise ConfigError(f"{refused}: {key!r} is recorded already; choose another name")
            if not isinstance(value, (jax.Array, np.ndarray, np.generic, int, float)):
                raise ConfigError(f"{refused}: {key!r} is {type(value).__name__}, not an array")
            kind = getattr(value, "dtype", np.float32)
            if not any(jnp.issubdtype(kind, real) for real in (jnp.floating, jnp.integer, bool)):
                raise ConfigError(f"{refused}: {key!r} holds {kind}, not real numbers")
        return found | {key: jnp.asarray(value) for key, value in more.items()}

    return both


def make_evaluation(model, loss):
    """Make a function that computes loss and accuracy over a whole split, part by part.

    Args:
      model: network, a `types.Model`.
      loss: per-example loss.

    Returns:
      `evaluate(state, data, x_test, y_test) -> {"loss", "accuracy"}`, where x_test are raw inputs.
    """

    def evaluate(state: TrainState, data: DeviceData, x_test, y_test):
        def apply(x):
            return model.apply(state.params, state.stats, normalise(x, data.mean, data.std))[:2]

        def score(examples):
            x, y = examples
            logits, _ = apply(x)
            return loss(logits, y), score_by_example(logits, y)

        at_once = examples_at_once(apply, x_test)
        losses, hits = in_parts(score, (x_test, y_test), at_once)
        return {"loss": losses.mean(), "accuracy": hits.mean()}

    return evaluate
