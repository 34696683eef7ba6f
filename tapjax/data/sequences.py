"""Tasks whose training examples are drawn anew at every step, inside the compiled program.

Their test examples, and the training examples that measures see, are drawn once with fixed keys.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.contract.tasks import DRAWN, settings
from tapjax.types import Batch

TEST, FIXED = 2048, 4096  # numbers of test examples and of fixed training examples
SEED = 0  # of the fixed examples


class Task(NamedTuple):
    """Task whose examples are drawn by a function.

    `classes` is the number of outputs per position. `draw(key, n) -> (x [n, ...], y)` draws n
    examples; y is [n], or [n, Q] with one target per position. A target is not graded if it is
    negative (classes) or not-a-number (real values). `skills` are the names of the capabilities
    that are scored apart, and `skill(x, y)` is the index of the one that each target belongs to, in
    the shape of y, or -1. `draw_test` draws the test examples if these are distributed otherwise.
    """

    classes: int
    draw: Callable
    skills: tuple[str, ...]
    skill: Callable
    draw_test: Callable | None = None


def repeated_tokens(key, n: int, vocab: int, length: int, ordered: bool = True):
    """Draw sequences of different random tokens that are repeated until the end.

    Args:
      key: random key.
      n: number of sequences.
      vocab: number of tokens, at least length / 2.
      length: length of each sequence.
      ordered: whether the tokens are repeated in their order; otherwise each of the later tokens is
        one of them at random.

    Returns:
      (tokens [n, length], period [n]). The period, from length / 4 to length / 2, differs from
      sequence to sequence, so that attention to a fixed distance does not find the repetition.
    """
    order_key, period_key = jax.random.split(key)
    order_nxV = jax.random.uniform(order_key, (n, vocab)).argsort(1)
    period_nx1 = jax.random.randint(period_key, (n,), max(length // 4, 1), length // 2 + 1)[:, None]
    at = jnp.arange(length)[None]
    place_nxT = at % period_nx1
    if not ordered:
        any_key = jax.random.fold_in(period_key, 1)
        any_nxT = jax.random.randint(any_key, (n, length), 0, period_nx1)
        place_nxT = jnp.where(at < period_nx1, at, any_nxT)
    return jnp.take_along_axis(order_nxV, place_nxT, 1), period_nx1[:, 0]


def induction(vocab: int, length: int, partial: bool = False) -> Task:
    """Make the task of repeated random sequences.

    Each sequence consists of different random tokens, which are repeated after a random period, and
    every next token is predicted. Before the repetition, tokens can be predicted little better than
    by chance. Afterwards they can, by looking up what followed the token before, which induction
    heads do (Olsson et al. 2022, https://arxiv.org/abs/2209.11895).

    Args:
      vocab: number of tokens, at least length / 2.
      length: number of positions, at least 4.
      partial: whether each token of training after the first period is one of the period at random,
        so that it can be learned which tokens are repeated, but not which comes next.

    Returns:
      The Task, whose skills are `first`, the positions of tokens that have not occurred before, and
      `repeated`, those of tokens that have.
    """
    if length < 4 or vocab < length / 2:
        raise ValueError("length is at least 4, and vocab at least length / 2")

    def drawing(ordered):
        def draw(key, n):
            tokens, _ = repeated_tokens(key, n, vocab, length + 1, ordered)
            return tokens[:, :-1], tokens[:, 1:]

        return draw

    def skill(x_BxQ, y_BxQ):
        same_BxQxQ = x_BxQ[:, :, None] == x_BxQ[:, None, :]
        return jnp.tril(same_BxQxQ, -1).any(2).astype(jnp.int32)

    return Task(
        vocab,
        drawing(not partial),
        ("first", "repeated"),
        skill,
        drawing(True) if partial else None,
    )


def parity(bits: int, relevant: int, partial: bool = False) -> Task:
    """Make the task of sparse parity: the sign of the product of a few of many random signs.

    Networks learn it suddenly, after progress that the loss does not show (Barak et al. 2022,
    https://arxiv.org/abs/2207.08799).

    Args:
      bits: number of inputs, each 1 or -1.
      relevant: number of inputs that matter, the first ones.
      partial: whether the targets of training are the majority of the relevant inputs, or the first
        of them in a tie, so that it can be learned which inputs matter, but not their parity. The
        majority says nothing about the parity of an even number of inputs.

    Returns:
      The Task with x as float32 [N, bits, 1, 1] and the classes 0 and 1. Its skill is `parity`.
    """
    if not 1 <= relevant <= bits:
        raise ValueError("relevant is between 1 and bits")
    if partial and (relevant < 4 or relevant % 2):
        raise ValueError("partial=1 needs an even number of relevant bits, 4 or more")

    def drawing(combine):
        def draw(key, n):
            x = jax.random.rademacher(key, (n, bits, 1, 1), jnp.float32)
            return x, (combine(x[:, :relevant, 0, 0]) < 0).astype(jnp.int32)

        return draw

    def product(signs_nxR):
        return signs_nxR.prod(1)

    def majority(signs_nxR):
        return signs_nxR.sum(1) + 0.5 * signs_nxR[:, 0]

    return Task(
        2, drawing(majority if partial else product), ("parity",),
        lambda x, y: jnp.zeros_like(y), drawing(product) if partial else None,
    )  # fmt: skip


def in_context_regression(dim: int, examples: int) -> Task:
    """Make the task of linear regression in context.

    Each sequence has a random linear function of its own, y = w . x with w ~ N(0, I / dim), and
    alternates between inputs x ~ N(0, I) and values y. The value is predicted at each input (Garg
    et al. 2022, https://arxiv.org/abs/2208.01066).

    Args:
      dim: number of inputs of the function.
      examples: number of pairs in a sequence, at least 2.

    Returns:
      The Task with x as float32 [N, 2 examples, dim + 1], where the last column holds the values.
      y is not-a-number at positions of values. Its skills are `early`, the first quarter of the
      pairs, and `late`, the last one.
    """
    if dim < 1 or examples < 2:
        raise ValueError("dim is at least 1, and examples at least 2")
    quarter = max(examples // 4, 1)

    def draw(key, n):
        w_key, x_key = jax.random.split(key)
        w = jax.random.normal(w_key, (n, dim)) / dim**0.5
        x = jax.random.normal(x_key, (n, examples, dim))
        value = jnp.einsum("nkd,nd->nk", x, w)
        rows_x = jnp.pad(x, ((0, 0), (0, 0), (0, 1)))
        rows_y = jnp.pad(value[..., None], ((0, 0), (0, 0), (dim, 0)))
        rows = jnp.stack([rows_x, rows_y], 2).reshape(n, 2 * examples, dim + 1)
        graded = jnp.stack([value, jnp.full_like(value, jnp.nan)], 2)
        return rows, graded.reshape(n, 2 * examples)

    pair = np.arange(2 * examples) // 2
    index = np.where(pair < quarter, 0, np.where(pair >= examples - quarter, 1, -1))
    return Task(1, draw, ("early", "late"), lambda x, y: jnp.broadcast_to(index, y.shape))


def mixture(tasks: int, bits: int, relevant: int, zipf: float) -> Task:
    """Make a mixture of sparse parities, whose frequencies follow a power law.

    The input names the task by one of `tasks` control signs, and each task has relevant bits of its
    own (Michaud et al. 2023, https://arxiv.org/abs/2303.13506).

    Args:
      tasks: number of tasks.
      bits: number of bits besides the control signs, each 1 or -1.
      relevant: number of bits that matter for a task.
      zipf: exponent; task k is drawn with a probability proportional to (k + 1)^-zipf.

    Returns:
      The Task with x as float32 [N, tasks + bits, 1, 1] and the classes 0 and 1. Every task is a
      skill; the test examples have all of them equally often.
    """
    if tasks < 2 or not 1 <= relevant <= bits or zipf < 0:
        raise ValueError("tasks is at least 2, relevant between 1 and bits, zipf at least 0")
    rng = np.random.default_rng(SEED)
    chosen_TxR = np.stack([rng.choice(bits, relevant, replace=False) for _ in range(tasks)])
    log_share = -zipf * np.log(np.arange(1, tasks + 1))

    def examples(key, which):
        signs = jax.random.rademacher(key, (len(which), bits), jnp.float32)
        relevant_bits = jnp.take_along_axis(signs, jnp.asarray(chosen_TxR)[which], 1)
        control = jnp.where(which[:, None] == jnp.arange(tasks)[None], 1.0, 0.0)
        x = jnp.concatenate([control, signs], 1)[:, :, None, None]
        return x, (relevant_bits.prod(1) < 0).astype(jnp.int32)

    def draw(key, n):
        task_key, key = jax.random.split(key)
        which = jax.random.categorical(task_key, jnp.asarray(log_share, jnp.float32), shape=(n,))
        return examples(key, which)

    names = tuple(f"task_{k}" for k in range(tasks))
    return Task(
        2, draw, names, lambda x, y: x[:, :tasks, 0, 0].argmax(1),
        lambda key, n: examples(key, jnp.arange(n) % tasks),
    )  # fmt: skip


# Name -> function that makes the task; `synthetic.DRAWN` has the settings and their defaults.
MAKERS = {
    "induction": induction,
    "parity": parity,
    "icl": in_context_regression,
    "mixture": mixture,
}


def make_drawn(name: str) -> Task:
    """Make a task by its name.

    Args:
      name: key of `MAKERS`, optionally with settings after a colon.

    Returns:
      The Task. With `shuffled=1`, every target in training belongs to another example.

    Raises:
      ValueError: if settings are unknown or impossible.
    """
    kind = name.partition(":")[0]
    found = settings(name, DRAWN[kind])
    for control in ("shuffled", "partial"):
        if found.get(control, 0) not in (0, 1):
            raise ValueError(f"{control} is 0 or 1")
    shuffled = found.pop("shuffled")
    task = MAKERS[kind](**found)
    if not shuffled:
        return task

    def others(draw):
        def drawn(key, n):
            x, y = draw(key, n)
            return x, jnp.roll(y, 1, 0)

        return drawn

    # The test examples keep their targets, so that a control is scored on those of its runs.
    return task._replace(draw=others(task.draw), draw_test=task.draw_test or task.draw)


def fixed_examples(task: Task) -> tuple[np.ndarray, ...]:
    """Draw the examples of a task that stay the same.

    Args:
      task: the task.

    Returns:
      (x, y, x_test, y_test): 4,096 training examples and 2,048 test examples.
    """
    test = task.draw_test or task.draw

    @jax.jit
    def both():
        keys = jax.random.split(jax.random.key(SEED))
        return *task.draw(keys[0], FIXED), *test(keys[1], TEST)

    return tuple(np.asarray(a) for a in both())


def make_task_sampler(task: Task, batch_size: int):
    """Make a function that draws the batch of a step.

    Args:
      task: the task.
      batch_size: number of examples per step.

    Returns:
      `sample(key, step, data) -> Batch`, whose inputs are float32.
    """

    def sample(key, step, data) -> Batch:
        del data
        x, y = task.draw(jax.random.fold_in(key, step), batch_size)
        return Batch(x.astype(jnp.float32), y)

    return sample
