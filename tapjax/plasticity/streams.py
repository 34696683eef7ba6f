"""Streams of tasks: sequences of tasks in which the step alone determines the training examples.

A task is a small tree of arrays. It is drawn from the key of a seed and the number of the task.
It is drawn once per block of steps and is passed along with the data. A stream therefore has no
state, and the examples of any step can be recomputed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config.schema import ConfigError
from tapjax.data.sampling import make_order, make_sampler, normalise
from tapjax.types import Batch, DeviceData

TARGET_UNITS, THRESHOLD = 100, 0.7  # target network of `bits`


class Stream(NamedTuple):
    """Functions that define a sequence of tasks.

    `begin(key, k) -> task` draws task k. `sample(key, step, data) -> Batch` draws a batch of the
    task in `data.task`. `show(task, batch) -> Batch` turns examples of the whole data set into
    examples of the task. It may change their inputs, their targets and the classes that are
    `allowed`. `belongs(task, y) -> bool [N]` marks the examples that occur in the task.
    `taught(task, data) -> (x, y)` returns raw training examples with the task's own targets, on
    which the task is scored; it is None if the task is scored on the test split.
    """

    begin: Callable
    sample: Callable
    show: Callable
    belongs: Callable
    taught: Callable | None = None


def _all_belong(task, y):
    del task
    return jnp.ones(y.shape, bool)


def single(cfg, arrays) -> Stream:
    """Make a stream in which every task is the unchanged data set."""
    del arrays
    sample = make_sampler(cfg.data.batch_size, cfg.data.shuffle, cfg.data.augment)
    return Stream(lambda key, k: (), sample, lambda task, batch: batch, _all_belong)


def permuted(cfg, arrays) -> Stream:
    """Make a stream in which every task permutes the pixels of all images.

    The permutation is different for each task (Goodfellow et al. 2014,
    https://arxiv.org/abs/1312.6211).
    """
    plain, size = single(cfg, arrays), int(np.prod(arrays.shape))

    def begin(key, k):
        return jax.random.permutation(jax.random.fold_in(key, k), size)

    def show(task, batch):
        flat = batch.x.reshape(len(batch.x), -1)
        return batch._replace(x=flat[:, task].reshape(batch.x.shape))

    def sample(key, step, data):
        return show(data.task, plain.sample(key, step, data))

    return Stream(begin, sample, show, _all_belong)


def labels(cfg, arrays) -> Stream:
    """Make a stream in which every task gives each training example a random class to memorise.

    Test examples have no such class. A task is therefore scored on the training examples.
    """
    order, n = make_order(cfg.data.batch_size, cfg.data.shuffle), len(arrays.y)

    def begin(key, k):
        return jax.random.randint(jax.random.fold_in(key, k), (n,), 0, arrays.classes)

    def sample(key, step, data: DeviceData):
        index = order(key, step, n)
        return Batch(normalise(data.x[index], data.mean, data.std), data.task[index])

    return Stream(
        begin, sample, lambda task, batch: batch, _all_belong, lambda task, data: (data.x, task)
    )


def classes(cfg, arrays) -> Stream:
    """Make a stream in which every task has `tasks.classes` classes that no other task has.

    The order of the classes is drawn for each seed. Each class contributes as many examples as the
    smallest class has. With `tasks.masked`, the loss and the predictions are restricted to the
    task's own classes; otherwise they are over all classes.

    Args:
      cfg: valid config.
      arrays: data set.

    Returns:
      A Stream.

    Raises:
      ConfigError: if a class has no examples, or a batch is larger than a task.
    """
    count, order = cfg.tasks.classes, make_order(cfg.data.batch_size, cfg.data.shuffle)
    members = [np.flatnonzero(arrays.y == c) for c in range(arrays.classes)]
    _check_members(cfg, arrays, members)
    each = min(len(index) for index in members)
    members_CxM = np.stack([index[:each] for index in members]).astype(np.int32)

    def begin(key, k):
        all_classes = jax.random.permutation(key, arrays.classes)
        return jax.lax.dynamic_slice(all_classes, (k * count,), (count,))

    def allowed(task):
        return jnp.zeros(arrays.classes, bool).at[task].set(True) if cfg.tasks.masked else None

    def show(task, batch):
        return batch._replace(allowed=allowed(task))

    def sample(key, step, data: DeviceData):
        place = order(key, step, count * each)
        index = jnp.asarray(members_CxM)[data.task[place // each], place % each]
        x = normalise(data.x[index], data.mean, data.std)
        return show(data.task, Batch(x, data.y[index]))

    def belongs(task, y_N):
        return (y_N[:, None] == task[None]).any(1)

    return Stream(begin, sample, show, belongs)


def _check_members(cfg, arrays, members):
    none = [c for c, index in enumerate(members) if not len(index)]
    if none:
        few = ", ".join(map(str, none[:5])) + (", ..." if len(none) > 5 else "")
        raise ConfigError(
            f"tasks.kind='classes': {arrays.name} has no training example of {len(none)} of the "
            f"classes 0 to {arrays.classes - 1} ({few}): number labels 0, 1, 2, ... without gaps, "
            "as numpy.unique(y, return_inverse=True)[1] does"
        )
    each = min(len(index) for index in members)
    own = cfg.tasks.classes * each
    if cfg.data.batch_size > own:
        raise ConfigError(
            f"data.batch_size={cfg.data.batch_size} exceeds the {own} examples of a task: "
            f"tasks.classes={cfg.tasks.classes}, {each} training examples of each class"
        )


def bits(cfg, arrays) -> Stream:
    """Make the stream of slowly changing regression tasks of Dohare et al. 2024.

    The paper is https://doi.org/10.1038/s41586-024-07711-7. Inputs are bits and a constant 1. The
    first `tasks.slow` bits stay constant during a task; the others are drawn at every step. At
    every new task one of the slow bits flips. With `tasks.flips="all"`, all of them are drawn
    again, as in the runs behind the published figure.

    The target is the output of a fixed random network of 100 threshold units whose weights and
    signs are +-1. A unit is on if its weighted input exceeds .7 n - s. Here n is the number of
    inputs, and s is the number of its negative weights (without that of the constant) plus half the
    weight of the constant.

    Args:
      cfg: valid config.
      arrays: data set, of which only the shape of one input is used.

    Returns:
      A Stream.
    """
    inputs, slow = int(np.prod(arrays.shape)), cfg.tasks.slow
    tasks = cfg.steps // cfg.tasks.steps

    def begin(key, k):
        start_key, flip_key, net_key, sign_key = jax.random.split(key, 4)
        if cfg.tasks.flips == "all":
            start_key = jax.random.fold_in(start_key, k)
        start = jax.random.bernoulli(start_key, shape=(slow,))
        flipped_T = jax.random.randint(flip_key, (tasks,), 0, slow)
        flips = (flipped_T[:, None] == jnp.arange(slow)[None]) & (jnp.arange(tasks) < k)[:, None]
        return {
            "bits": start if cfg.tasks.flips == "all" else start ^ (flips.sum(0) % 2 == 1),
            "weights": jax.random.rademacher(net_key, (inputs, TARGET_UNITS), jnp.float32),
            "signs": jax.random.rademacher(sign_key, (TARGET_UNITS + 1,), jnp.float32),
        }

    def target(task, x_BxD):
        weights = task["weights"]
        negative = (weights[:-1] < 0).sum(0) + 0.5 * weights[-1]
        fires = x_BxD @ weights > (THRESHOLD * inputs - negative)[None]
        return fires.astype(jnp.float32) @ task["signs"][:-1] + task["signs"][-1]

    def show(task, batch):
        flat = batch.x.reshape(len(batch.x), inputs)
        kept = jnp.broadcast_to(task["bits"].astype(jnp.float32)[None], (len(flat), slow))
        drawn = (flat[:, slow:-1] > 0).astype(jnp.float32)
        x = jnp.concatenate([kept, drawn, jnp.ones((len(flat), 1))], 1)
        return Batch(x.reshape(batch.x.shape), target(task, x))

    def sample(key, step, data: DeviceData):
        shape = (cfg.data.batch_size, *arrays.shape)
        x = jax.random.bernoulli(jax.random.fold_in(key, step), shape=shape).astype(jnp.float32)
        return show(data.task, Batch(x, jnp.zeros(len(x))))

    return Stream(begin, sample, show, _all_belong)


# Name -> function of a valid config and the data set that makes a Stream.
STREAMS = {
    "single": single,
    "permuted": permuted,
    "labels": labels,
    "classes": classes,
    "bits": bits,
}
