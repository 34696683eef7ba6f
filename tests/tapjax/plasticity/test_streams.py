"""Streams of tasks: the same from the same key, other from task to task, and what each promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.config import schema
from tapjax.data.datasets import Arrays
from tapjax.data.sampling import device_data
from tapjax.plasticity.streams import STREAMS
from tapjax.step.losses import restricted
from tapjax.types import Batch

KEY, CLASSES, EACH = jax.random.key(0), 6, 8


def setup(kind, **tasks):
    """A stream over images whose first pixel is their index, with its data."""
    cfg = schema.defaults("plasticity")
    cfg.steps, cfg.data.batch_size = 400, 4
    cfg.tasks.update(kind=kind, steps=40, **tasks)
    n = CLASSES * EACH
    x = np.zeros((n, 2, 3, 1), np.float32)
    x[:, 0, 0, 0] = np.arange(n)
    x[:, 1] = np.random.default_rng(0).standard_normal((n, 3, 1))
    y = np.tile(np.arange(CLASSES), EACH).astype(np.int32)
    arrays = Arrays("test", x, y, x, y, CLASSES, np.zeros(1, np.float32), np.ones(1, np.float32))
    return STREAMS[kind](cfg, arrays), device_data(arrays, n)[0]


def batches(stream, data, task, steps):
    data = data._replace(task=task)
    sample = jax.jit(jax.vmap(lambda step: stream.sample(KEY, step, data)))
    return jax.device_get(sample(jnp.arange(steps)))


@pytest.mark.parametrize("kind", STREAMS)
def test_a_task_is_known_by_its_number(kind):
    stream, data = setup(kind, **({"slow": 2} if kind == "bits" else {}))
    tasks = [jax.jit(lambda k: stream.begin(KEY, k))(k) for k in (1, 1, 2)]
    same = [
        jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), tasks[0], other))
        for other in tasks[1:]
    ]
    assert same == [True, kind == "single"]
    assert batches(stream, data, tasks[0], 2).x.shape == (2, 4, 2, 3, 1)


def test_permuted_images_hold_the_same_pixels():
    stream, data = setup("permuted")
    batch = Batch(data.x[:5], data.y[:5])
    shown = [np.asarray(stream.show(stream.begin(KEY, k), batch).x) for k in (0, 1)]
    for images in shown:
        for before, after in zip(np.asarray(batch.x), images, strict=True):
            np.testing.assert_array_equal(np.sort(after.ravel()), np.sort(before.ravel()))
    assert (shown[0] != shown[1]).any()


def test_random_labels_stay_for_a_task():
    stream, data = setup("labels")
    first, second = (batches(stream, data, stream.begin(KEY, k), 24) for k in (0, 1))

    def of(batch):
        return dict(zip(batch.x[..., 0, 0, 0].ravel(), batch.y.ravel(), strict=True))

    again = batches(stream, data, stream.begin(KEY, 0), 24)
    assert of(first) == of(again) != of(second)
    assert len(of(first)) == CLASSES * EACH and len(set(of(first).values())) > 2


@pytest.mark.parametrize("masked", [True, False])
def test_every_class_has_its_task(masked):
    stream, data = setup("classes", classes=2, masked=masked)
    tasks = [np.asarray(stream.begin(KEY, k)) for k in range(3)]
    assert sorted(np.concatenate(tasks)) == list(range(CLASSES))
    for task in tasks:
        batch = batches(stream, data, jnp.asarray(task), 2 * EACH // 4)
        assert set(batch.y.ravel()) == set(task)
        assert len(set(batch.x[..., 0, 0, 0].ravel())) == 2 * EACH  # an epoch shows each once
        np.testing.assert_array_equal(batch.x[..., 0, 0, 0] % CLASSES, batch.y)
        assert (batch.allowed is not None) == masked
        if masked:
            assert set(np.flatnonzero(batch.allowed[0])) == set(task)
        np.testing.assert_array_equal(
            stream.belongs(jnp.asarray(task), jnp.arange(CLASSES)),
            np.isin(np.arange(CLASSES), task),
        )


def test_classes_that_are_not_allowed_cannot_win_nor_take_a_share():
    logits = jnp.array([[5.0, 1.0, 2.0]])
    found = restricted(logits, jnp.array([False, True, True]))
    assert int(found.argmax()) == 2
    np.testing.assert_allclose(jax.nn.softmax(found)[0, 1:], jax.nn.softmax(logits[0, 1:]))
    assert restricted(logits, None) is logits


def test_all_slow_bits_may_be_drawn_anew():
    stream, _ = setup("bits", slow=12, flips="all")
    slow = np.array([stream.begin(KEY, k)["bits"] for k in range(8)])
    changed = np.abs(np.diff(slow.astype(int), axis=0)).sum(1)
    assert (changed > 1).all() and 4 < changed.mean() < 8
    same = [stream.begin(KEY, k)["weights"] for k in (0, 7)]
    np.testing.assert_array_equal(*same)


def test_one_slow_bit_flips_at_every_task():
    stream, data = setup("bits", slow=3)
    tasks = [stream.begin(KEY, k) for k in range(8)]
    slow = np.array([task["bits"] for task in tasks])
    assert (np.abs(np.diff(slow.astype(int), axis=0)).sum(1) == 1).all()
    batch = batches(stream, data, tasks[3], 200)
    x = batch.x.reshape(-1, 6)
    np.testing.assert_array_equal(x[:, :3], np.broadcast_to(slow[3], (800, 3)))
    assert (x[:, -1] == 1).all() and 0.4 < x[:, 3:5].mean() < 0.6
    weights, signs = np.asarray(tasks[0]["weights"]), np.asarray(tasks[0]["signs"])
    threshold = 0.7 * 6 - (weights[:-1] < 0).sum(0) - 0.5 * weights[-1]
    expected = (x @ weights > threshold) @ signs[:-1] + signs[-1]
    np.testing.assert_allclose(batch.y.ravel(), expected)


@pytest.mark.parametrize(
    ("labels", "batch", "message"),
    [
        (1 + np.arange(60) % 10, 4, r"no training example of 1 of the classes 0 to 10 \(0\)"),
        (np.arange(60) % 3 * 2, 4, r"no training example of 2 of the classes 0 to 4 \(1, 3\)"),
        (
            np.arange(60) % 10,
            13,
            "data.batch_size=13 exceeds the 12 examples of a task.* 6 training",
        ),
        (np.arange(60) % 10, 12, None),
    ],
)
def test_tasks_of_classes_need_examples(labels, batch, message):
    cfg = schema.defaults("plasticity")
    cfg.tasks.update(kind="classes", classes=2, steps=40)
    cfg.data.batch_size = batch
    x, y = np.zeros((60, 2, 3, 1), np.float32), labels.astype(np.int32)
    unit = np.zeros(1, np.float32), np.ones(1, np.float32)
    arrays = Arrays("test", x, y, x, y, int(y.max()) + 1, *unit)
    if message is None:
        STREAMS["classes"](cfg, arrays)
        return
    with pytest.raises(schema.ConfigError, match=message) as caught:
        STREAMS["classes"](cfg, arrays)
    assert "\n" not in str(caught.value)
