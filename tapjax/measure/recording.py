"""Measurements that are recorded at every step, so that training can be analysed as a time series.

They are norms and directions of weights, gradients and updates, a sketch of every weight matrix,
and the response to fixed examples. All of them are small. Anything else about a step is recovered
by replaying it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tapjax.data.sampling import make_order, mix
from tapjax.step.step import BATCH
from tapjax.types import DeviceData, TrainState, Tree

SALT = np.uint32(0x9E3779B9)  # for the random signs of the sketch
NEARLY_ZERO = 0.1  # relative to the root mean square of a matrix


class LastUpdate(NamedTuple):
    """Update made by the previous step; zero at the first step."""

    last_update: Tree


def remembering() -> optax.GradientTransformation:
    """Make a transformation that keeps each update until the next one.

    Returns:
      An optax transformation, which must be the last of a chain.
    """

    def init(params):
        return LastUpdate(jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        del state, params
        return updates, LastUpdate(updates)

    return optax.GradientTransformation(init, update)


def matrices(tree) -> list[jax.Array]:
    """Return the weight matrices and kernels, in the order of `probes.weight_names`."""
    return [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim > 1]


def sketch(matrix, size: int):
    """Compute a linear image of a matrix that approximately keeps distances.

    Each value of the sketch is the sum of the entries in one bucket, with random signs. This is a
    count sketch (Charikar et al. 2002). The flattened matrix is arranged in rows of `size`, and the
    buckets are the diagonals of this arrangement. Therefore few entries of one row or column of the
    matrix share a bucket. E |sketch|^2 = |matrix|^2. Its relative standard deviation is at most
    about sqrt(2 / size) if the energy of the matrix is spread over many entries.

    Args:
      matrix: array of any shape.
      size: number of values of the sketch.

    Returns:
      Array [size], float32.
    """
    flat = matrix.reshape(-1)
    position = jnp.arange(flat.size, dtype=jnp.uint32)
    sign = jnp.where(mix(position + SALT) & 1, 1.0, -1.0)
    rows = -(-flat.size // size)
    square = jnp.pad(flat * sign, (0, rows * size - flat.size)).reshape(rows, size)
    # A column of zeros is added, and the result is cut into rows of `size` again. This shifts each
    # row by one bucket relative to the row before.
    shifted = jnp.pad(square, ((0, 0), (0, 1))).reshape(-1)
    rows_again = -(-shifted.size // size)
    return jnp.pad(shifted, (0, rows_again * size - shifted.size)).reshape(-1, size).sum(0)


def sampled(matrix, count: int):
    """Return the entries of a matrix at fixed random positions.

    Positions are repeated if the matrix has fewer entries.

    Args:
      matrix: array of any shape.
      count: number of entries to return.

    Returns:
      Array [count].
    """
    place = np.random.default_rng(0).permutation(matrix.size)
    return matrix.reshape(-1)[np.sort(np.resize(place, count))]


def unit_means(hidden) -> jax.Array:
    """Compute the mean activation of every unit of all layers.

    The mean is over examples and, for channels and tokens, also over positions.

    Args:
      hidden: list of activations of each layer [P, ..., D].

    Returns:
      Array [U], layer after layer, where U is the number of units of all layers.
    """
    flat = [h.reshape(-1, h.shape[-1]) for h in hidden]
    return jnp.concatenate([jnp.full(len(h), 1 / len(h)) @ h for h in flat])


def make_recorder(cfg, model, loss, classes: int):
    """Make the function that measures a step in addition to its loss.

    Args:
      cfg: config; `record` determines how much is recorded.
      model: network, a `types.Model`.
      loss: per-example loss.
      classes: number of classes C.

    Returns:
      `observe(state, data, grads, updates, new) -> dict`. It measures the state before an update,
      the update, and the state after it. With one value per weight matrix, [W], it has
      `weight_norm`, `weight_density` (the share of entries whose absolute value exceeds .1 of the
      root mean square of the matrix), `weight_grad_norm`, `update_norm`, `update_cosine` (with the
      previous update) and, for optimizers with moments, `moment1_norm` and `moment2_norm`. It also
      has `sketch` [W, size], `weights` [W, count] and `batch_hash`, which is equal for equal sets
      of examples. For the first `record.examples` probe examples it has `probe_loss`,
      `probe_class_loss` [C] (not-a-number for a class without examples) and `unit_mean` [U].
    """
    order = make_order(cfg.data.batch_size, cfg.data.shuffle)

    def observe(state: TrainState, data: DeviceData, grads, updates, new: TrainState):
        key = jax.random.fold_in(state.key, BATCH)
        index_B = order(key, state.step, len(data.y))
        return {
            "batch_hash": mix(index_B.astype(jnp.uint32) + SALT).sum(dtype=jnp.uint32),
            **_movement(state, grads, updates, new),
            **_contents(cfg.record, state.params),
            **_seen(cfg.record.examples, model, loss, classes, state, data),
        }

    return observe


def _norms(tree):
    return jnp.sqrt(jnp.stack([jnp.vdot(leaf, leaf) for leaf in matrices(tree)]))


def _movement(state, grads, updates, new):
    """Measure norms of weights, gradients, updates and moments, and the cosine of updates."""
    last = optax.tree_utils.tree_get(state.opt, "last_update")
    along = [jnp.vdot(u, v) for u, v in zip(matrices(updates), matrices(last), strict=True)]
    lengths = _norms(updates) * _norms(last)
    cosine = jnp.stack(along) / jnp.where(lengths > 0, lengths, 1.0)
    moments = {
        f"moment{i}_norm": _norms(moment)
        for i, name in ((1, "mu"), (2, "nu"))
        if (moment := optax.tree_utils.tree_get(new.opt, name)) is not None
    }
    return {
        "weight_norm": _norms(state.params),
        "weight_grad_norm": _norms(grads),
        "update_norm": _norms(updates),
        "update_cosine": cosine,
        **moments,
    }


def _contents(cfg, params):
    weights = matrices(params)
    limits = NEARLY_ZERO * _norms(params) / np.sqrt([w.size for w in weights])
    far = [(jnp.abs(w) > x).astype(jnp.float32) for w, x in zip(weights, limits, strict=True)]
    found = {"weight_density": jnp.stack([jnp.vdot(f, f) / f.size for f in far])}
    if cfg.sketch:
        found["sketch"] = jnp.stack([sketch(w, cfg.sketch) for w in weights])
    if cfg.weights:
        found["weights"] = jnp.stack([sampled(w, cfg.weights) for w in weights])
    return found


def _seen(count, model, loss, classes, state, data):
    if not count:
        return {}
    x_P, y_P = data.probe.x[:count], data.probe.y[:count]
    logits_PxC, hidden, _ = model.apply(state.params, state.stats, x_P)
    loss_P = loss(logits_PxC, y_P)
    member_PxC = (y_P[:, None] == jnp.arange(classes)[None]).astype(jnp.float32)
    return {
        "probe_loss": loss_P.mean(),
        "probe_class_loss": loss_P @ member_PxC / member_PxC.sum(0),
        "unit_mean": unit_means(hidden),
    }
