"""Measurements of the units of a network on the probe examples.

They also measure how many different directions the gradients of single examples have.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.measure.unit_metrics import gram_rank, unit_metrics
from tapjax.step.batched import examples_at_once, in_parts
from tapjax.step.losses import restricted
from tapjax.types import DeviceData, Model, TrainState

SUFFIX = "_units"


def unit_layers(model: Model, shape) -> list[str]:
    """Return the names of the layers whose units are measured, in the order of the probe's arrays.

    Args:
      model: network.
      shape: shape of one input.

    Returns:
      List of names; empty for a network whose activations are not visible (no `Model.watch`).
    """
    if model.watch is None:
        return []

    def trace(key):
        params, stats = model.init(key)
        return model.watch(params, stats, jnp.zeros((1, *shape)))[1]

    return [name for name, _ in named_activations(jax.eval_shape(trace, jax.random.key(0)))]


def named_activations(tree, heads: bool = False) -> list[tuple[str, jax.Array]]:
    """List the layers of a tree of activations of `Model.watch`, in the order of `unit_layers`.

    Args:
      tree: tree with one leaf per layer.
      heads: whether to list the outputs of attention heads [B, Q, H, D], too.

    Returns:
      Pairs (name of the layer, leaf). The heads of a layer have its name with `_heads` after it.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = [(jax.tree_util.keystr(p, simple=True, separator="_"), a) for p, a in leaves]
    named = [(name.removesuffix(SUFFIX), a) for name, a in named if heads or name.endswith(SUFFIX)]
    return sorted(named, key=lambda item: _natural(item[0]))


def _natural(name):
    return [int(part) if part.isdigit() else part for part in name.split("_")]


def some_places(h, count: int, seed: int):
    """Return samples of a layer: the examples, or a few positions or tokens of each example.

    Args:
      h: activations [P, D], [P, Q, D] or [P, H, W, D].
      count: maximum number of positions or tokens per example.
      seed: seed of the random choice, which is the same for all examples.

    Returns:
      Array [P, q, D] with q positions per example.
    """
    flat = h.reshape(len(h), -1, h.shape[-1])
    chosen = np.random.default_rng(seed).permutation(flat.shape[1])[:count]
    return flat[:, np.sort(chosen)]


def make_unit_probe(model: Model, loss, rows: int, gradients: int):
    """Make a measurement of the units of every layer and of the gradients of single examples.

    Args:
      model: network with `Model.watch`.
      loss: per-example loss.
      rows: approximate maximum number of samples of a layer with positions or tokens.
      gradients: number of examples whose gradients are compared; 0 for none.

    Returns:
      `probe(state, data) -> dict`. It has each of `unit_metrics` with one value per layer, in
      the order of `unit_layers`. With `gradients` it also has two effective ranks over examples:
      `gradient_rank` of the gradients of the loss with respect to all parameters, and `ntk_rank` of
      the tangent kernel of the logit of the right class (of the only output in regression).
    """

    def probe(state: TrainState, data: DeviceData):
        samples = unit_samples(model, loss, state.params, state.stats, data.probe, rows)
        measured = [unit_metrics(*pair) for pair in samples]
        found = jax.tree.map(lambda *values: jnp.stack(values), *measured)
        return found | (_tangents(model, loss, state, data.probe, gradients) if gradients else {})

    return probe


def unit_samples(model: Model, loss, params, stats, batch, rows: int):
    """Compute the activations of every watched layer and the gradients with respect to them.

    The gradient of each example is that of its own loss.

    Args:
      model: network.
      loss: per-example loss.
      params: parameters of the network.
      stats: other variables of the network.
      batch: examples, a Batch.
      rows: approximate maximum number of samples per layer, see `make_unit_probe`.

    Returns:
      List of pairs (activations [N, D], gradients [N, D]), in the order of `unit_layers`.
    """
    places = max(rows // len(batch.y), 1)

    def watch(x, shifts=None):
        return model.watch(params, stats, x, shifts)[:2]

    def seen(examples):
        x, y = examples
        activations = watch(x)[1]

        def total(shifts):
            return loss(restricted(watch(x, shifts)[0], batch.allowed), y).sum()

        slopes = jax.grad(total)(jax.tree.map(jnp.zeros_like, activations))
        layers = zip(named_activations(activations), named_activations(slopes), strict=True)
        return [
            (some_places(a, places, i), some_places(g, places, i))
            for i, ((_, a), (_, g)) in enumerate(layers)
        ]

    parts = in_parts(seen, (batch.x, batch.y), examples_at_once(watch, batch.x))
    return [tuple(a.reshape(-1, a.shape[-1]) for a in pair) for pair in parts]


def _tangents(model, loss, state, batch, count):
    chosen = np.linspace(0, len(batch.y) - 1, min(count, len(batch.y))).astype(int)

    def logits(params, x):
        return restricted(model.apply(params, state.stats, x[None])[0], batch.allowed)

    def own_loss(params, x, y):
        return loss(logits(params, x), y[None])[0]

    def right_logit(params, x, y):
        out = logits(params, x)[0]
        return out[y] if jnp.issubdtype(y.dtype, jnp.integer) else out[0]

    def slopes(value):
        one = lambda xy: jax.grad(value)(state.params, *xy)  # noqa: E731
        return jax.lax.map(one, (batch.x[chosen], batch.y[chosen]))

    return {
        "gradient_rank": gram_rank(slopes(own_loss)),
        "ntk_rank": gram_rank(slopes(right_logit), power=2),
    }
