"""Streams of tasks: what a network is shown, task after task, by the step alone.

A task is a small tree, drawn from a seed's key and the task's number. It is drawn once a block of
steps and travels with the data, so that a stream has no state: any step of it can be had again.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config.schema import ConfigError
from tapjax.data.sampling import make_order, make_sampler, normalise
from tapjax.types import Batch, DeviceData

TARGET_UNITS, THRESHOLD = 100, 0.7  # of the target network of `bits`


class Stream(NamedTuple):
    """A sequence of tasks.

    `begin(key, k) -> task`; `sample(key, step, data) -> Batch` of the task in `data.task`;
    `show(task, batch) -> Batch` makes examples of the whole data set into the task's: other inputs,
    other targets, which classes are `allowed`; `belongs(task, y) -> bool [N]`: which of them the
    task has at all. `taught(task, data) -> (x, y)` are raw training examples with the task's own
    targets, by which it is scored; None where the test split scores it.
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
    """The data set as it is, in every task."""
    del arrays
    sample = make_sampler(cfg.data.batch_size, cfg.data.shuffle, cfg.data.augment)
    return Stream(lambda key, k: (), sample, lambda task, batch: batch, _all_belong)


def permuted(cfg, arrays) -> Stream:
    """Every task has the pixels of all images in an order of its own (Goodfellow et al. 2014)."""
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
    """Every task gives each training example a class at random, to be learned by heart.

    No test example has such a class: a task is scored on the training examples.
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
    """Every task has `tasks.classes` classes that no other has, in an order drawn for each seed.

    Each class gives as many examples as the smallest one has. With `tasks.masked` loss and decision
    are among the task's own classes, otherwise among all.

    Raises:
      ConfigError: a class without examples, or a batch larger than a task.
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
    """Slowly changing regression (Dohare et al. 2024): one of the slow bits flips at every task, or
    with `tasks.flips="all"`, as in the runs behind the published figure, all are drawn anew.

    Inputs are bits and a constant 1: the first `tasks.slow` of them stay for a task, the others are
    drawn at every step. The target is a fixed random network of 100 threshold units with weights
    and signs +-1; a unit is on above .7 times the number of inputs less its negative weights (half
    the weight of the constant is added to these).
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


STREAMS = {
    "single": single,
    "permuted": permuted,
    "labels": labels,
    "classes": classes,
    "bits": bits,
}
