"""The plasticity family: task after task, and what becomes of the units of the network."""

import jax
import numpy as np

from analysis.architectures import parse_architecture
from tapjax import config
from tapjax.config import ConfigError
from tapjax.continual import make_prepare, make_renewals, make_task_evaluation, task_count
from tapjax.data import Arrays, stratified_indices
from tapjax.experiments.tap import network
from tapjax.losses import LOSSES
from tapjax.models.wiring import wiring
from tapjax.optimizers import make_optimizer, make_schedule
from tapjax.probes import make_probe
from tapjax.renewal import renewing
from tapjax.rules import RULES
from tapjax.step import init_state, make_proposal, make_step
from tapjax.streams import STREAMS
from tapjax.transitions import make_transitions
from tapjax.types import Recipe
from tapjax.unit_probe import make_unit_probe


def recipe(cfg, arrays: Arrays) -> Recipe:
    """Everything that the loop needs for one run.

    Args:
      cfg: a valid config.
      arrays: the data set.

    Returns:
      A Recipe.

    Raises:
      ConfigError: more classes are asked for than there are.
    """
    model, features = network(cfg.model, arrays)
    loss = config.lookup(cfg.loss, LOSSES, "loss")
    schedule = make_schedule(cfg.optimizer, cfg.steps)
    rule, tx = _learning(cfg, model, loss, arrays, make_optimizer(cfg.optimizer, schedule))
    stream = STREAMS[cfg.tasks.kind](cfg, arrays)
    begin, renewals = make_renewals(cfg, model, tx)
    propose = make_proposal(rule, stream.sample)
    return Recipe(
        model=model,
        structure=features,
        init=lambda key: begin(init_state(key, model, rule, tx)),
        step=make_step(propose, tx, schedule),
        gradient=lambda state, data: propose(state, data).grads,
        probe=_probe(cfg.probe, model, loss, arrays.classes),
        evaluate=make_task_evaluation(cfg, stream, model, loss),
        transitions=make_transitions(cfg, model) + renewals,
        prepare=make_prepare(cfg, stream, _members(cfg, arrays)),
    )


def _learning(cfg, model, loss, arrays, tx):
    """The rule, and the optimizer with what renews units around it."""
    make_rule = config.lookup(cfg.rule.name, RULES, "rule.name")
    if cfg.renewal.name == "none":
        return make_rule(model, loss), tx
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    table = wiring(parse_architecture(cfg.model.name), arrays.shape, params)
    return make_rule(model, loss, watched=True), renewing(tx, table, cfg.renewal)


def _members(cfg, arrays):
    """Probe examples that a task has."""
    y = arrays.y_test[stratified_indices(arrays.y_test, min(cfg.probe.size, len(arrays.y_test)))]
    if cfg.tasks.kind != "classes":
        return len(y)
    wanted = task_count(cfg) * cfg.tasks.classes
    if wanted > arrays.classes:
        raise ConfigError(
            f"tasks.classes={cfg.tasks.classes}: {task_count(cfg)} tasks need {wanted} classes, "
            f"{arrays.name} has {arrays.classes}"
        )
    return cfg.tasks.classes * int(np.bincount(y, minlength=arrays.classes).min())


def _probe(cfg, model, loss, classes):
    standard = make_probe(model, loss, classes, cfg.tokens, cfg.rows, cfg.centred)
    of_units = make_unit_probe(model, loss, cfg.rows, cfg.gradients)
    return lambda state, data: standard(state, data) | of_units(state, data)
