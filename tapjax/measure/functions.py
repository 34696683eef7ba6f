"""Measurements of arrays of any training loop, as pure functions.

They may be called in a jitted step, under `scan` and `vmap`, and inside a function that is
differentiated: their inputs count as constants. Nothing is sent to the host. Spectra are computed
in float64 on the CPU (see singular_values.py) and in float32 elsewhere; results are float32.
"""

from collections import OrderedDict
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from tapjax.measure import probes
from tapjax.measure.singular_values import spectra
from tapjax.measure.unit_metrics import (
    dead_fraction,
    dormant_fraction,
    dup_fraction,
    non_gaussianity,
    ranks,
)

ROWS = 2048  # maximum number of rows where tokens are kept


def dimensions(activations, centred: bool = True):
    """Measure the dimensionalities of the activations of a layer, or of several layers.

    The cost is that of the eigenvalues of one or two symmetric matrices with min(N, D) rows per
    layer; no forward pass is needed. Layers of equal shape share a program.

    Args:
      activations: [N, D], tokens [N, Q, D] whose rows are all tokens (at most 2,048 of them), or
        images [N, H, W, C], which are averaged over space; or a dict of them by layer.
      centred: whether to measure the activations without their column means, too.

    Returns:
      Dict with the five dimensionalities of `probes.spectral_metrics` and, with `centred_` before
      their names, those of the centred activations; for several layers, a dict of such dicts by
      layer, in an order that `jit` keeps. Values are from 0 to min(N, D), and not-a-number if an
      activation is not finite.

    Raises:
      ValueError: activations have another number of axes.

    Examples:
      >>> round(float(dimensions(jnp.eye(4))["participation_ratio"]), 3)
      4.0
      >>> found = dimensions({"fc1": jnp.eye(4), "fc2": jnp.ones((4, 2))})
      >>> round(float(found["fc2"]["stable_rank"]), 3)
      1.0
    """
    measured = probes.dimensions(list(_matrices(activations).values()), centred)
    by_layer = OrderedDict(
        (name, {metric: values_L[i] for metric, values_L in measured.items()})
        for i, name in enumerate(_matrices(activations))
    )
    return by_layer if isinstance(activations, Mapping) else by_layer[""]


def units(activations):
    """Measure the units of a layer, or of several layers, after their nonlinearity.

    The cost is that of `dimensions` and of one product of [D, N] and [N, D] per layer.

    Args:
      activations: as in `dimensions`.

    Returns:
      Dict of scalars, or a dict of them by layer: the shares `dead_fraction`, `dup_fraction` and
      `dormant_fraction`; `ks` and `excess_kurtosis`, the distance from normal distributions; and
      the ranks of `unit_metrics.ranks`. Each is not-a-number if an activation is not finite.

    Raises:
      ValueError: activations have another number of axes.

    Examples:
      >>> found = units(jnp.array([[0.0, 1.0], [0.0, 2.0], [0.0, -1.0]]))
      >>> float(found["dead_fraction"]), round(float(found["eff_rank"]), 3)
      (0.5, 1.0)
    """

    def measured(a_NxD):
        finite = jnp.isfinite(a_NxD).all()
        a = jnp.where(finite, a_NxD, 0.0)
        found = {
            "dead_fraction": dead_fraction(a),
            "dup_fraction": dup_fraction(a),
            "dormant_fraction": dormant_fraction(a),
            **non_gaussianity(a),
            **ranks(*spectra(a, centred=True)),
        }
        return {name: jnp.where(finite, value, jnp.nan) for name, value in found.items()}

    found = {name: measured(a) for name, a in _matrices(activations).items()}
    return found if isinstance(activations, Mapping) else found[""]


def gradients(grads):
    """Measure the norms of a gradient. The cost is one pass over it.

    Args:
      grads: tree of the gradients of the parameters.

    Returns:
      Dict with `grad_norm`, the norm of the whole gradient, and `grad_norm/PATH`, that of each
      array with two axes or more.

    Examples:
      >>> found = gradients({"fc1": {"kernel": 3 * jnp.ones((1, 1)), "bias": jnp.array([4.0])}})
      >>> {name: float(value) for name, value in found.items()}
      {'grad_norm': 5.0, 'grad_norm/fc1/kernel': 3.0}
    """
    return _norms(grads, "grad_norm")


def weights(params):
    """Measure the norms of weights. The cost is one pass over them.

    Args:
      params: tree of parameters.

    Returns:
      Dict with `weight_norm`, the norm of all parameters, and `weight_norm/PATH`, that of each
      array with two axes or more.

    Examples:
      >>> found = weights({"fc1": {"kernel": 2 * jnp.eye(1), "bias": jnp.zeros(1)}})
      >>> {name: float(value) for name, value in found.items()}
      {'weight_norm': 2.0, 'weight_norm/fc1/kernel': 2.0}
    """
    return _norms(params, "weight_norm")


def calibration(logits_NxC, labels_N):
    """Measure the accuracy, the confidence and the calibration of a classifier.

    Args:
      logits_NxC: logits of each example and class.
      labels_N: index of the right class of each example.

    Returns:
      Dict with `accuracy`, and `confidence` and `ece` as in `probes.calibration`, each in [0, 1].

    Examples:
      >>> found = calibration(jnp.array([[9.0, -9.0], [9.0, -9.0]]), jnp.array([0, 1]))
      >>> {name: round(float(value), 3) for name, value in found.items()}
      {'accuracy': 0.5, 'confidence': 1.0, 'ece': 0.5}
    """
    logits_NxC = jax.lax.stop_gradient(jnp.asarray(logits_NxC, jnp.float32))
    right_N = (logits_NxC.argmax(-1) == labels_N).astype(jnp.float32)
    return {"accuracy": right_N.mean(), **probes.calibration(logits_NxC, right_N)}


def _matrices(activations):
    """Return the activations of each layer as a constant matrix of float32, by layer."""
    named = activations if isinstance(activations, Mapping) else {"": activations}
    found = {}
    for name, a in named.items():
        a = jnp.asarray(a)
        if a.ndim not in (2, 3, 4):
            where = f"activations{f' of {name!r}' if name else ''} have the shape {a.shape}"
            raise ValueError(f"{where}, not [N, D], [N, Q, D] or [N, H, W, C]")
        a = jax.lax.stop_gradient(a.astype(jnp.float32))
        found[name] = probes.as_matrix(probes.pooled(a, "rows"), ROWS)
    return found


def _norms(tree, name):
    leaves = jax.tree_util.tree_leaves_with_path(jax.lax.stop_gradient(tree))
    squares = [jnp.square(leaf.astype(jnp.float32)).sum() for _, leaf in leaves]
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return {name: jnp.sqrt(sum(squares, jnp.float32(0)))} | {
        f"{name}/{path}": jnp.sqrt(square)
        for path, square, (_, leaf) in zip(paths, squares, leaves, strict=True)
        if leaf.ndim > 1
    }
