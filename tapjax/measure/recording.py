"""What every step leaves behind, so that training can be analysed as a series: norms and directions
of weights, gradients and updates, a sketch of every weight matrix, what fixed examples see.

All of it is small; whatever else is wanted of a step is had by replaying it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tapjax.data.sampling import make_order, mix
from tapjax.step.step import BATCH
from tapjax.types import DeviceData, TrainState, Tree

SALT = np.uint32(0x9E3779B9)  # of the sketch's signs
NEARLY_ZERO = 0.1  # of the root mean square of a matrix


class LastUpdate(NamedTuple):
    """The update made by the step before; zero at the first."""

    last_update: Tree


def remembering() -> optax.GradientTransformation:
    """Keep each update until the next: the last link of an optimizer's chain."""

    def init(params):
        return LastUpdate(jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        del state, params
        return updates, LastUpdate(updates)

    return optax.GradientTransformation(init, update)


def matrices(tree) -> list[jax.Array]:
    """Weight matrices and kernels, in the order of `probes.weight_names`."""
    return [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim > 1]


def sketch(matrix, size: int):
    """A linear image of a matrix that keeps distances: sums of entries with random signs.

    A count sketch (Charikar et al. 2002) whose buckets are diagonals of the matrix in rows of
    `size`, so that hardly a row or column falls into one: E |sketch|^2 = |matrix|^2, with a
    relative standard deviation of at most about sqrt(2 / size) if the matrix's energy is spread.

    Args:
      matrix: any shape.
      size: of the sketch.

    Returns:
      [size] float32.
    """
    flat = matrix.reshape(-1)
    position = jnp.arange(flat.size, dtype=jnp.uint32)
    sign = jnp.where(mix(position + SALT) & 1, 1.0, -1.0)
    rows = -(-flat.size // size)
    square = jnp.pad(flat * sign, (0, rows * size - flat.size)).reshape(rows, size)
    # One more column: cut into rows of `size` again, every row moves on by one bucket.
    shifted = jnp.pad(square, ((0, 0), (0, 1))).reshape(-1)
    rows_again = -(-shifted.size // size)
    return jnp.pad(shifted, (0, rows_again * size - shifted.size)).reshape(-1, size).sum(0)


def sampled(matrix, count: int):
    """Entries at fixed random places, with repetition if there are fewer.

    Args:
      matrix: any shape.
      count: how many.

    Returns:
      [count].
    """
    place = np.random.default_rng(0).permutation(matrix.size)
    return matrix.reshape(-1)[np.sort(np.resize(place, count))]


def unit_means(hidden) -> jax.Array:
    """The mean of every unit of all layers over examples and, of a channel, its positions.

    Args:
      hidden: activations of each layer [P, ..., D].

    Returns:
      [U], layer after layer.
    """
    flat = [h.reshape(-1, h.shape[-1]) for h in hidden]
    return jnp.concatenate([jnp.full(len(h), 1 / len(h)) @ h for h in flat])


def make_recorder(cfg, model, loss, classes: int):
    """What a step leaves behind beside its loss.

    Args:
      cfg: a config; `record` says how much.
      model: a `types.Model`.
      loss: per-example loss.
      classes: number of classes C.

    Returns:
      `observe(state, data, grads, updates, new) -> dict` of the state before an update, the update
      and the state after it: `weight_norm`, `weight_density`, `weight_grad_norm`, `update_norm`,
      `update_cosine` (with the update before) and, of an optimizer that has them, `moment1_norm`
      and `moment2_norm`, all [W] by weight matrix; `sketch` [W, size] and `weights` [W, count];
      `batch_hash`, equal for equal sets of examples; of the first `record.examples` probe
      examples `probe_loss`, `probe_class_loss` [C] (not-a-number for a class without any) and
      `unit_mean` [U].
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
    """Norms of weights, gradients, updates and moments, and the turn from update to update."""
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
