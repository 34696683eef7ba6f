"""The plasticity family: training on a sequence of tasks, and measurements of the units."""

from functools import partial

import jax
import numpy as np
import optax

from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import parse_architecture, structure
from tapjax.data.datasets import Arrays, stratified_indices
from tapjax.measure.probes import make_probe, with_extra
from tapjax.measure.unit_probe import make_unit_probe
from tapjax.models.wiring import wiring
from tapjax.models.zoo import build
from tapjax.plasticity.clone_runs import (
    Arm,
    make_clone_probe,
    make_cloning,
    make_expansion,
    tracking_rates,
    with_arms,
)
from tapjax.plasticity.cloning import check_groups, wider
from tapjax.plasticity.continual import (
    make_prepare,
    make_renewals,
    make_task_evaluation,
    task_count,
)
from tapjax.plasticity.streams import STREAMS
from tapjax.plasticity.unit_reset import renewed_stats, renewing
from tapjax.recipes.tap import network, style_of
from tapjax.step.losses import LOSSES, restricted
from tapjax.step.optimizers import make_optimizer, make_schedule
from tapjax.step.rules import RULES
from tapjax.step.step import global_norm, init_state, make_proposal, make_step, online_norm
from tapjax.step.transitions import make_transitions
from tapjax.types import Recipe


def recipe(cfg, arrays: Arrays) -> Recipe:
    """Put together everything that the training loop needs for one run.

    Args:
      cfg: a valid config.
      arrays: the data set.

    Returns:
      The Recipe.

    Raises:
      ConfigError: the tasks need more classes, or more examples of a class, than the data set has.
    """
    loss = schema.lookup(cfg.loss, LOSSES, "loss")
    schedule = make_schedule(cfg.optimizer, cfg.steps, cfg.former_steps)
    models, features = _networks(cfg, arrays)
    model = models[-1]
    rule, tx, renew_stats = _learning(cfg, models, loss, schedule)
    stream = STREAMS[cfg.tasks.kind](cfg, arrays)
    begin, changes = make_renewals(cfg, model, tx)
    arms = _arms(cfg, models[:-1], loss, schedule)
    if arms:
        rule = with_arms(rule, model, arms, cfg.clone.factor)
        at = [cfg.clone.step * (i + 1) for i in range(cfg.clone.times)]
        begin, changes = make_cloning(model, tx, arms, cfg.clone.factor, at, arrays.shape)
    propose, online = make_proposal(rule, stream.sample), cfg.data.batch_size == 1
    return Recipe(
        model=model,
        structure=features,
        init=lambda key: begin(init_state(key, model, rule, tx)),
        step=make_step(
            propose, tx, online_norm if online else global_norm, renew_stats=renew_stats
        ),
        gradient=lambda state, data: propose(state, data).grads,
        probe=_probe(cfg, model, loss, arrays.classes, arms),
        evaluate=make_task_evaluation(cfg, stream, model, loss),
        transitions=make_transitions(cfg, model) + changes,
        loss=lambda outputs, batch: loss(restricted(outputs, batch.allowed), batch.y),
        prepare=make_prepare(cfg, stream, _members(cfg, arrays)),
        expanded=make_expansion(model, cfg.clone.factor) if arms else lambda state: (),
    )


def _networks(cfg, arrays):
    """Return the networks, narrowest first, and the features of the widest one.

    Without cloning this is one network. With cloning it is the base, its clone, the clone of the
    clone, and so on.
    """
    model, features = network(cfg.model, arrays)
    factor, models = cfg.clone.factor, [model]
    if factor == 1:
        return models, features
    arch = parse_architecture(cfg.model.name)
    style, size = style_of(cfg.model, arch), (arrays.shape, arrays.classes)
    for i in range(cfg.clone.times):
        check_groups(wider(arch, factor**i), style, factor)
        models.append(build(wider(arch, factor ** (i + 1)), *size, style))
    return models, structure(wider(arch, factor**cfg.clone.times), *size)


def _learning(cfg, models, loss, schedule):
    """Return the rule, the optimizer and the function that resets running statistics.

    With `cfg.renewal` the optimizer is wrapped so that it resets units, and the function resets the
    running statistics of these units; otherwise the function is None. With `cfg.clone.track` the
    updates are scaled so that clones follow their base.
    """
    make_rule = schema.lookup(cfg.rule.name, RULES, "rule.name")
    renewal = cfg.renewal.name != "none"
    tx = make_optimizer(cfg.optimizer, schedule, per_element=renewal)
    like = [jax.eval_shape(model.init, jax.random.key(0)) for model in models]
    if cfg.clone.factor > 1 and cfg.clone.track:
        rates = tracking_rates(like[0][0], like[-1][0], cfg.clone.factor**cfg.clone.times)
        scaled = optax.stateless(lambda u, params: jax.tree.map(lambda a, r: r * a, u, rates))
        tx = optax.chain(tx, scaled)
    if not renewal:
        return make_rule(models[-1], loss), tx, None
    arch = wider(parse_architecture(cfg.model.name), cfg.clone.factor**cfg.clone.times)
    table = wiring(arch, *like[-1], cfg.model.activation)
    tx = renewing(tx, table, cfg.renewal, cfg.model.init)
    return make_rule(models[-1], loss, watched=True), tx, partial(renewed_stats, table)


def _arms(cfg, models, loss, schedule):
    """Return the narrower networks, with the same rule and the same optimizer without noise."""
    quiet = cfg.optimizer.copy_and_resolve_references()
    with quiet.ignore_type():  # in a compiled step they are traced
        quiet.update(noise=0.0, perturb=0.0)
    make_rule = schema.lookup(cfg.rule.name, RULES, "rule.name")
    return [
        Arm(
            f"x{cfg.clone.factor**i}",
            model,
            make_rule(model, loss),
            make_optimizer(quiet, schedule),
        )
        for i, model in enumerate(models)
    ]


def _members(cfg, arrays):
    """Return the number of probe examples of each task."""
    y = arrays.y_test[stratified_indices(arrays.y_test, min(cfg.probe.size, len(arrays.y_test)))]
    each = int(np.bincount(y, minlength=arrays.classes).min()) if arrays.y.ndim else 0
    if cfg.tasks.kind != "classes":
        if cfg.probe.one_class and not each:
            raise ConfigError(f"probe.one_class: a class has none of the {len(y)} probe examples")
        return each if cfg.probe.one_class else len(y)
    wanted = task_count(cfg) * cfg.tasks.classes
    if wanted > arrays.classes:
        raise ConfigError(
            f"tasks.classes={cfg.tasks.classes}: {task_count(cfg)} tasks need {wanted} classes, "
            f"{arrays.name} has {arrays.classes}"
        )
    if not each:
        raise ConfigError(
            f"tasks.kind='classes': a class has none of the {len(y)} probe examples, out of "
            f"{len(arrays.y_test)} in the test split of {arrays.name}: raise probe.size or "
            "data.test_size, or give each class test examples"
        )
    return each if cfg.probe.one_class else cfg.tasks.classes * each


def _probe(cfg, model, loss, classes, arms):
    kind, rows = cfg.probe, cfg.probe.rows
    probes = [
        make_probe(model, loss, classes, kind.tokens, rows, kind.centred),
        make_unit_probe(model, loss, rows, kind.gradients),
    ]
    if arms:
        probes.append(make_clone_probe(model, loss, arms, cfg.clone.factor, rows))

    def probe(state, data):
        found = {}
        for measure in probes:
            found |= measure(state, data)
        return found

    return with_extra(probe, kind.extra, model, loss, classes)
