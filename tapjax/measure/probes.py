"""Measurements of a network on a fixed probe batch: pure and jit-safe.

Every dimensionality of a layer comes from one values-only spectrum (see singular_values.py).
"""

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config.families.common import DIMENSIONS
from tapjax.config.schema import ConfigError, lookup
from tapjax.data.sampling import normalise
from tapjax.measure.singular_values import spectra
from tapjax.step.batched import examples_at_once, in_parts
from tapjax.step.losses import restricted
from tapjax.types import DeviceData, TrainState

ENERGY = 0.9
BINS = 10


def spectral_metrics(s_R):
    """Dimensionalities of one spectrum; all zero for the zero matrix.

    With singular values s: stable rank sum(s^2)/s_1^2; participation ratio
    (sum s)^2/sum(s^2); effective rank, the fewest leading values that hold 90 % of sum(s^2);
    nuclear norm ratio sum(s)/s_1; participation ratio of the covariance,
    (sum s^2)^2/sum(s^4). Stable rank = nuclear norm ratio^2 / participation ratio.

    Args:
      s_R: singular values, largest first.

    Returns:
      One scalar for each of `DIMENSIONS`.
    """
    top = s_R[0]
    s = s_R / jnp.where(top == 0, 1.0, top)  # so that neither squares nor sums over- or underflow
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
    """Activations of each example with space, and where wanted tokens, averaged away.

    Args:
      h: activations [P, D], [P, H, W, C] (averaged over space) or [P, Q, D] (tokens).
      tokens: what becomes of tokens: `rows` keeps them, `mean` averages over them, [P, D];
        `legacy` averages over features instead, [P, Q], as the system of the recorded runs did.

    Returns:
      [P, D], or [P, Q, D] where tokens are kept.
    """
    if h.ndim == 4:
        return h.mean((1, 2))
    if h.ndim == 3 and tokens != "rows":
        return h.mean(1 if tokens == "mean" else 2)
    return h


def as_matrix(h, rows: int):
    """The matrix of a layer whose rows are samples and whose columns are features.

    Args:
      h: from `pooled`.
      rows: with tokens as rows, [P * Q, D], at most so many: a fixed random choice among all.

    Returns:
      A matrix.
    """
    if h.ndim == 2:
        return h
    flat = h.reshape(-1, h.shape[-1])
    chosen = np.random.default_rng(0).permutation(len(flat))[:rows]
    return flat[np.sort(chosen)] if rows < len(flat) else flat


def layer_dimensions(a_NxD, centred: bool):
    """Dimensionalities of one layer; not-a-number where its activations are not finite.

    Args:
      a_NxD: activations as a matrix.
      centred: also measure the matrix with its column means removed, under `centred_...`.

    Returns:
      Metric name -> scalar.
    """
    finite = jnp.all(jnp.isfinite(a_NxD))
    values = spectra(jnp.where(finite, a_NxD, 0.0), centred)
    measured = {}
    for prefix, s_R in zip(("", "centred_"), values, strict=False):
        measured |= {prefix + name: value for name, value in spectral_metrics(s_R).items()}
    return {name: jnp.where(finite, value, jnp.nan) for name, value in measured.items()}


def weight_names(params) -> list[str]:
    """Names of the weight matrices and kernels, in the order of `weight_norm`.

    Args:
      params: parameter tree.

    Returns:
      Slash-separated paths.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(p, simple=True, separator="/") for p, w in leaves if w.ndim > 1]


def calibration(logits_PxC, correct_P):
    """How sure a classifier is, and how far that is from how often it is right.

    Args:
      logits_PxC: of each example and class.
      correct_P: 1 where the most probable class is the right one, else 0.

    Returns:
      `confidence`, the mean largest probability, and `ece`, the expected calibration error over
      ten equal bins of it, the last one closed (Guo et al. 2017, eq. 3).
    """
    confidence_P = jax.nn.softmax(logits_PxC).max(-1)
    bin_P = jnp.clip((confidence_P * BINS).astype(jnp.int32), 0, BINS - 1)
    gap_B = jnp.zeros(BINS).at[bin_P].add(correct_P - confidence_P)
    return {"confidence": confidence_P.mean(), "ece": jnp.abs(gap_B).sum() / len(correct_P)}


def make_probe(model, loss, classes: int, tokens="rows", rows=2048, centred=True):
    """The standard measurement of a training network.

    Args:
      model: a `types.Model`.
      loss: per-example loss.
      classes: number of classes C.
      tokens: see `pooled`.
      rows: see `as_matrix`.
      centred: see `layer_dimensions`.

    Returns:
      `probe(state, data) -> dict`: every dimensionality `[L]` (head last), `loss`, `accuracy`,
      `confidence` and `ece` (see `calibration`), `class_accuracy [C]` (not-a-number for a class
      without probe examples) and `weight_norm [W]`, the Frobenius norms of the matrices that
      `weight_names` lists.
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
        layers = [layer_dimensions(as_matrix(h, rows), centred) for h in hidden]
        correct_P = (logits_PxC.argmax(-1) == y_P).astype(jnp.float32)
        member_PxC = (y_P[:, None] == jnp.arange(classes)[None]).astype(jnp.float32)
        weights = [w for w in jax.tree.leaves(state.params) if w.ndim > 1]
        return {
            **jax.tree.map(lambda *values: jnp.stack(values), *layers),
            "loss": loss(logits_PxC, y_P).mean(),
            "accuracy": correct_P.mean(),
            **calibration(logits_PxC, correct_P),
            "class_accuracy": correct_P @ member_PxC / member_PxC.sum(0),
            "weight_norm": jnp.sqrt(jnp.stack([jnp.vdot(w, w) for w in weights])),
        }

    return probe


def with_extra(probe, name: str, model, loss, classes: int):
    """A probe that also measures what a user's own function does.

    Args:
      probe: `(state, data) -> dict`.
      name: `package.module:function` of `(model, loss, classes) -> probe`, or nothing.
      model: a `types.Model`.
      loss: per-example loss.
      classes: number of classes C.

    Returns:
      `probe(state, data) -> dict`. While it is traced it raises a ConfigError where the function
      fails, returns other things than named arrays, or takes a name that is recorded already.
    """
    if not name:
        return probe
    make = lookup(name, {}, "probe.extra")
    refused = f"probe.extra={name!r}"
    try:
        extra = make(model, loss, classes)
    except Exception as error:  # the user's own code may raise anything
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
    """Loss and accuracy over a whole split, part by part.

    Args:
      model: a `types.Model`.
      loss: per-example loss.

    Returns:
      `evaluate(state, data, x_test, y_test) -> {"loss", "accuracy"}` of raw inputs.
    """

    def evaluate(state: TrainState, data: DeviceData, x_test, y_test):
        def apply(x):
            return model.apply(state.params, state.stats, normalise(x, data.mean, data.std))[:2]

        def score(examples):
            x, y = examples
            logits, _ = apply(x)
            return loss(logits, y), (logits.argmax(-1) == y).astype(jnp.float32)

        at_once = examples_at_once(apply, x_test)
        losses, hits = in_parts(score, (x_test, y_test), at_once)
        return {"loss": losses.mean(), "accuracy": hits.mean()}

    return evaluate
