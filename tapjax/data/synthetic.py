"""Synthetic tasks by name, such as `modular:p=59,train=50`, which need no download."""

from pathlib import Path

import numpy as np

from tapjax.contract.tasks import is_drawn, settings

MOST_NUMBERS = 10**9  # maximum number of values in a task
LEAST_P = 31  # for a smaller p, a transformer would cut the operands into more than two tokens
TEST = 2048  # number of test examples of tasks with random examples
TEST_SHARE = 0.1  # share of a text, its end, that is the test split


def is_task(name: str) -> bool:
    """Decide whether the name of a data set is that of a synthetic task."""
    return name.partition(":")[0] in TASKS or is_drawn(name)


def make_task(name: str) -> tuple[np.ndarray, ...]:
    """Make the examples of a task.

    Args:
      name: key of `TASKS`, optionally with settings after a colon.

    Returns:
      (x, y, x_test, y_test).

    Raises:
      ValueError: if settings are unknown or impossible.
    """
    make, defaults = TASKS[name.partition(":")[0]]
    try:
        return make(**settings(name, defaults))
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from None


def modular_addition(p: int, train: int, shuffled: int = 0) -> tuple[np.ndarray, ...]:
    """Make the task of addition modulo a prime: all pairs (a, b) with the class a + b mod p.

    The task is from Power et al. 2022 (https://arxiv.org/abs/2201.02177). The operands are two
    one-hot rows. A transformer reads them as two tokens, an MLP as one vector. A fixed random share
    of all pairs is the training split, and the rest is the test split. A network can memorise the
    first long before it generalises to the second ("grokking").

    Args:
      p: the prime, at least 31.
      train: percentage of pairs in the training split, from 1 to 99.
      shuffled: 1 gives every pair the class of another one, so that only memorising is possible.

    Returns:
      (x, y, x_test, y_test) with x as uint8 [N, 2, p, 1].

    Raises:
      ValueError: if the settings are impossible.
    """
    _check_size(2 * p**3)
    if p < LEAST_P or any(p % d == 0 for d in range(2, int(p**0.5) + 1)):
        raise ValueError(f"p={p} must be a prime of at least {LEAST_P}")
    if shuffled not in (0, 1):
        raise ValueError("shuffled is 0 or 1")
    if not 1 <= train <= 99:
        raise ValueError(f"train={train} must be a percentage between 1 and 99")
    pairs = np.stack(np.divmod(np.random.default_rng(0).permutation(p * p), p), 1)
    x = np.eye(p, dtype=np.uint8)[pairs][..., None]
    y = (pairs.sum(1) % p).astype(np.int32)
    if shuffled:
        y = np.random.default_rng(1).permutation(y)
    cut = p * p * train // 100
    return x[:cut], y[:cut], x[cut:], y[cut:]


def teacher(
    alpha: float, depth: int, width: int, classes: int, train: int
) -> tuple[np.ndarray, ...]:
    """Make a task whose classes a random residual network (the teacher) assigns to normal inputs.

    The teacher starts from h = x ~ N(0, I). Each layer l computes h += phi(h W_l) with
    W_l ~ N(0, 1 / width) and phi(z) = (1 - alpha) z + alpha tanh(z). The class is the index of the
    largest entry of LN(h) W. The values of alpha give a series of increasingly nonlinear tasks.

    Args:
      alpha: share of tanh, from 0 (phi is linear) to 1 (phi is tanh).
      depth: number of blocks of the teacher.
      width: width of the teacher and number of inputs.
      classes: number of classes C, at least 2.
      train: number of training examples.

    Returns:
      (x, y, x_test, y_test) with x as float32 [N, 1, width, 1].

    Raises:
      ValueError: if the settings are impossible.
    """
    if not 0 <= alpha <= 1 or min(depth, width, train) < 1 or classes < 2:
        raise ValueError("alpha lies in [0, 1], sizes are at least 1, classes at least 2")
    _check_size(max(width, train + TEST) * max(width, classes))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((train + TEST, width))
    h = x
    for _ in range(depth):
        z = h @ rng.standard_normal((width, width)) * width**-0.5
        h = h + (1 - alpha) * z + alpha * np.tanh(z)
    normal = (h - h.mean(1, keepdims=True)) / h.std(1, keepdims=True)
    y = (normal @ rng.standard_normal((width, classes))).argmax(1).astype(np.int32)
    x = x.astype(np.float32)[:, None, :, None]
    return x[:train], y[:train], x[train:], y[train:]


def linear_quadratic(width: int, train: int) -> tuple[np.ndarray, ...]:
    """Draw starts and targets of a control problem, which are independent normal vectors.

    Args:
      width: length of each vector.
      train: number of training examples.

    Returns:
      (x, y, x_test, y_test) with x as float32 [N, 2, width, 1]. The second axis holds start and
      target. All y are 0.

    Raises:
      ValueError: if the settings are impossible.
    """
    if min(width, train) < 1:
        raise ValueError("sizes are at least 1")
    _check_size(2 * (train + TEST) * width)
    x = np.random.default_rng(0).standard_normal((train + TEST, 2, width, 1)).astype(np.float32)
    y = np.zeros(len(x), np.int32)
    return x[:train], y[:train], x[train:], y[train:]


def _check_size(numbers):
    if numbers > MOST_NUMBERS:
        raise ValueError(f"{numbers:.1e} numbers are too many: at most {MOST_NUMBERS:.0e}")


def random_bits(inputs: int) -> tuple[np.ndarray, ...]:
    """Draw random bits, whose targets are set by the stream of tasks (`tasks.kind=bits`).

    Args:
      inputs: number of bits per example, at least 2. The stream sets the last one to 1.

    Returns:
      (x, y, x_test, y_test) with x as float32 [N, 1, inputs, 1]. All y are 0.

    Raises:
      ValueError: if there are fewer than two bits.
    """
    if inputs < 2:
        raise ValueError("inputs are at least 2")
    x = np.random.default_rng(0).integers(0, 2, (2 * TEST, 1, inputs, 1)).astype(np.float32)
    y = np.zeros(TEST, np.int32)
    return x[:TEST], y, x[TEST:], y


def text_windows(path: str, length: int) -> tuple[np.ndarray, ...]:
    """Cut a text into windows of bytes, where every next byte is to be predicted.

    Args:
      path: path of a file.
      length: number of bytes of a window, at least 2.

    Returns:
      (x, y, x_test, y_test), each uint8 or int32 [N, length]. The test split is the last tenth of
      the text.

    Raises:
      ValueError: if the file cannot be read or is too short.
    """
    if not path:
        raise ValueError("name the file, as in text:path=book.txt,length=128")
    if length < 2:
        raise ValueError("length is at least 2")
    try:
        data = np.frombuffer(Path(path).expanduser().read_bytes(), np.uint8)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    count = (len(data) - 1) // length
    held = max(round(TEST_SHARE * count), 1)
    if count < 2:
        raise ValueError(f"{path} has {len(data)} bytes, and needs {2 * length + 1} or more")
    x = data[: count * length].reshape(count, length)
    y = data[1 : count * length + 1].reshape(count, length).astype(np.int32)
    return x[:-held], y[:-held], x[-held:], y[-held:]


# Name -> (function that makes the task, its settings with their defaults).
TASKS = {
    "modular": (modular_addition, {"p": 59, "train": 50, "shuffled": 0}),
    "teacher": (
        teacher,
        {"alpha": 1.0, "depth": 4, "width": 128, "classes": 10, "train": 10240},
    ),
    "bits": (random_bits, {"inputs": 21}),
    "lq": (linear_quadratic, {"width": 8, "train": 65536}),
    "text": (text_windows, {"path": "", "length": 128}),
}
