"""Sequences of tasks: data of the current task, evaluation of tasks, and resets between tasks."""

import jax
import jax.numpy as jnp
import numpy as np

from tapjax.config.schema import ConfigError
from tapjax.data.sampling import normalise
from tapjax.plasticity.streams import Stream
from tapjax.step.batched import examples_at_once, in_parts
from tapjax.step.losses import restricted
from tapjax.step.optimizers import with_anchor
from tapjax.step.step import RESET, STREAM
from tapjax.types import Batch, DeviceData, TrainState


def task_count(cfg) -> int:
    """Return the number of tasks of a run."""
    return cfg.steps // cfg.tasks.steps if cfg.tasks.steps else 1


def make_prepare(cfg, stream: Stream, members: int):
    """Make a function that prepares the data of the current task, including its probe examples.

    Args:
      cfg: valid config.
      stream: stream of tasks.
      members: number of probe examples of every task. They are test examples, or training examples
        if the task is scored on these (`Stream.taught`). With `probe.one_class` all of them are of
        one class.

    Returns:
      `prepare(state, data) -> data`.
    """

    def prepare(state: TrainState, data: DeviceData):
        k = jnp.minimum(state.step // (cfg.tasks.steps or cfg.steps), task_count(cfg) - 1)
        task = stream.begin(jax.random.fold_in(state.key, STREAM), k)
        if stream.taught:
            x, y = stream.taught(task, data)
            index = np.random.default_rng(0).permutation(len(y))
            y = y[index]
        else:
            y = data.probe.y
        mine_N = stream.belongs(task, y)
        if cfg.probe.one_class:
            mine_N &= y == y[jnp.argmax(mine_N)]
        mine = jnp.argsort(~mine_N, stable=True)[:members]
        if stream.taught:
            shown = normalise(x[jnp.asarray(index)[mine]], data.mean, data.std)
        else:
            shown = data.probe.x[mine]
        return data._replace(task=task, probe=stream.show(task, Batch(shown, y[mine])))

    return prepare


def make_task_evaluation(cfg, stream: Stream, model, loss):
    """Make a function that scores a network on the tasks.

    It uses the test split in the form in which the tasks show it, or the examples that the tasks
    trained on (`Stream.taught`).

    Args:
      cfg: valid config.
      stream: stream of tasks.
      model: network, a `types.Model`.
      loss: per-example loss.

    Returns:
      `evaluate(state, data, x_test, y_test) -> dict` with `loss` and `accuracy` on the last trained
      task. With `tasks.matrix` it also has `task_loss` and `task_accuracy`, both [tasks], on all
      tasks, including future ones. For regression there are only losses.
    """

    def of_task(state, data, x_test, y_test, k):
        task = stream.begin(jax.random.fold_in(state.key, STREAM), k)
        if stream.taught:
            x_test, y_test = stream.taught(task, data)

        def score(examples):
            x, y = examples
            batch = stream.show(task, Batch(normalise(x, data.mean, data.std), y))
            logits, _, _ = model.apply(state.params, state.stats, batch.x)
            logits = restricted(logits, batch.allowed)
            hits = (logits.argmax(-1) == batch.y).astype(jnp.float32)
            belongs = stream.belongs(task, y).astype(jnp.float32)
            return loss(logits, batch.y) * belongs, hits * belongs, belongs

        def apply(x):
            return model.apply(state.params, state.stats, normalise(x, data.mean, data.std))[:2]

        parts = in_parts(score, (x_test, y_test), examples_at_once(apply, x_test))
        losses, hits, belongs = (part.sum() for part in parts)
        scores = {"loss": losses / belongs}
        return scores if cfg.loss == "regression" else scores | {"accuracy": hits / belongs}

    def evaluate(state: TrainState, data: DeviceData, x_test, y_test):
        now = jnp.maximum(state.step - 1, 0) // (cfg.tasks.steps or cfg.steps)
        scores = of_task(state, data, x_test, y_test, now)
        if not cfg.tasks.matrix:
            return scores
        every = jax.lax.map(
            lambda k: of_task(state, data, x_test, y_test, k), jnp.arange(task_count(cfg))
        )
        return scores | {f"task_{name}": values for name, values in every.items()}

    return evaluate


def make_renewals(cfg, model, tx):
    """Make the resets at the beginning of a task.

    Depending on the config, they set the head to zero, reinitialise the optimizer or reinitialise
    the network. When only the head is set to zero, the optimizer keeps the head's moments. L2
    regularisation towards the initial weights pulls the head to zero from then on.

    Args:
      cfg: valid config.
      model: network, a `types.Model`.
      tx: optimizer of the network.

    Returns:
      (function of a seed's state before the first task, transitions before all other tasks).

    Raises:
      ConfigError: if the head is to be set to zero and the network has no parameters of its name.
    """
    tasks, head = cfg.tasks, model.layer_names[-1]
    if tasks.head == "zero" and head not in jax.eval_shape(model.init, jax.random.key(0))[0]:
        raise ConfigError(f"tasks.head='zero': the network has no parameters named {head!r}")

    def with_head(state: TrainState):
        if tasks.head != "zero":
            return state
        zeros = jax.tree.map(jnp.zeros_like, state.params[head])
        opt = with_anchor(state.opt, head, zeros)
        return state._replace(params=state.params | {head: zeros}, opt=opt)

    def renew(state: TrainState):
        if tasks.reset:
            key = jax.random.fold_in(jax.random.fold_in(state.key, RESET), state.step)
            params, stats = model.init(key)
            state = state._replace(params=params, stats=stats)
        if tasks.reset or tasks.reset_optimizer:
            state = state._replace(opt=tx.init(state.params))
        return with_head(state)

    if not (tasks.head == "zero" or tasks.reset or tasks.reset_optimizer):
        return lambda state: state, ()
    change = jax.jit(jax.vmap(renew))
    return with_head, tuple((k * tasks.steps, change) for k in range(1, task_count(cfg)))
