"""The credit family: networks in blocks that are trained by estimated credits.

The credit of a hidden state is an estimate of the gradient of the loss with respect to it.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import parse_architecture, structure
from tapjax.credit import make_credit
from tapjax.credit.local_rule import local
from tapjax.credit.probe import make_credit_probe
from tapjax.data.datasets import Arrays
from tapjax.data.sampling import make_sampler, normalise
from tapjax.measure.probes import make_evaluation, make_probe, with_extra
from tapjax.models.residual import (
    linear_dynamics,
    residual_conv,
    residual_mlp,
    residual_transformer,
)
from tapjax.step.batched import examples_at_once, in_parts
from tapjax.step.losses import cross_entropy
from tapjax.step.optimizers import applied_rate, extended, is_on, make_optimizer, make_schedule
from tapjax.step.step import RULE, init_state, make_proposal, make_step
from tapjax.step.transitions import make_transitions
from tapjax.types import Batch, BlockNetwork, Model, Recipe


def recipe(cfg, arrays: Arrays) -> Recipe:
    """Put together everything that the training loop needs for one run.

    Args:
      cfg: a valid config.
      arrays: the data set.

    Returns:
      The Recipe.
    """
    model, network, features = _network(cfg, arrays)
    schedule = _until_frozen(cfg)
    credit = make_credit(
        network, cfg.credit, _optimizer_of_credit(cfg, schedule), cfg.rule.warmup_steps
    )
    rule = local(network, credit, cfg.rule)
    tx = _optimizer(cfg, schedule, network)
    sample = make_sampler(cfg.data.batch_size, cfg.data.shuffle, cfg.data.augment)
    propose = make_proposal(rule, sample)
    extra = (cfg.probe.extra, model, cross_entropy, arrays.classes)
    return Recipe(
        model=model,
        structure=features,
        init=lambda key: init_state(key, model, rule, tx),
        step=make_step(propose, tx, rate=_rate_of_head),
        gradient=lambda state, data: propose(state, data).grads,
        probe=with_extra(_probe(cfg, model, network, credit, arrays.classes), *extra),
        evaluate=_evaluation(cfg, model, network),
        transitions=make_transitions(cfg, model) + _freezing(cfg, rule),
        loss=network.loss,
    )


def _network(cfg, arrays) -> tuple[Model, BlockNetwork, dict]:
    arch = parse_architecture(cfg.model.name)
    depth, width = len(arch.widths), arch.widths[0]
    features = structure(arch, arrays.shape, arrays.classes)
    if arch.family == "dynamics":
        if arrays.shape != (2, width, 1):
            raise ConfigError(
                f"model.name={cfg.model.name!r} needs starts and targets of {width} values, as "
                f"data.name='lq:width={width}' has, not {arrays.name!r} of shape {arrays.shape}"
            )
        return *linear_dynamics(cfg.blocks, depth, width), features
    if arch.family == "residual_conv":
        return *residual_conv(cfg.blocks, depth, width, arrays.shape, arrays.classes), features
    if arch.family == "residual_transformer":
        sizes = (depth, width, arch.heads, arrays.shape, arrays.classes)
        return *residual_transformer(cfg.blocks, *sizes), features
    height, breadth, channels = arrays.shape
    inputs = height * breadth * channels
    return *residual_mlp(cfg.blocks, depth, width, inputs, arrays.classes), features


def _optimizer_of_credit(cfg, schedule):
    """Return the optimizer of the estimator; Kolen-Pollack feedback has that of the blocks."""
    if cfg.credit.name == "kolen_pollack":
        return _optimizer_of_blocks(cfg, schedule)
    return optax.adam(_schedule_of_credit(cfg))


def _schedule_of_credit(cfg):
    decays = {
        "constant": lambda lr, steps: lr,
        "cosine": optax.cosine_decay_schedule,
        "linear": lambda lr, steps: optax.linear_schedule(lr, 0.0, steps),
    }
    updates, *former = (
        (steps - cfg.rule.freeze_step) * cfg.credit.steps
        for steps in (cfg.steps, *cfg.former_steps)
    )
    decay = functools.partial(decays[cfg.credit.schedule], cfg.credit.lr)
    return extended(decay, updates, former)


def _until_frozen(cfg):
    """Return the schedule of the network's learning rate; it is 0 from `rule.freeze_step` on."""
    if not cfg.rule.freeze_step:
        return make_schedule(cfg.optimizer, cfg.steps, cfg.former_steps)
    schedule = make_schedule(cfg.optimizer, cfg.rule.freeze_step)
    return optax.join_schedules([schedule, lambda step: 0.0], [cfg.rule.freeze_step])


def _optimizer(cfg, schedule, network):
    """Return the optimizer of the network.

    The head learns at `optimizer.lr`. The blocks and the embedding learn at `rule.block_lr`, either
    all at once or in turn.
    """
    if cfg.model.name.startswith("dynamics"):
        return optax.set_to_zero()
    inner = ("embed", *(f"block_{i}" for i in range(network.depth)))
    parts = {"head": make_optimizer(cfg.optimizer, schedule)}
    for turn, name in enumerate(inner):
        tx = _optimizer_of_blocks(cfg, schedule)
        parts[name] = _in_turn(tx, turn, len(inner), cfg.rule.alternate)
    return optax.partition(parts, lambda params: {name: name for name in params})


def _optimizer_of_blocks(cfg, schedule):
    """Return the optimizer of one block or the embedding, which learns at `rule.block_lr`."""
    ratio = cfg.rule.block_lr / cfg.optimizer.lr if is_on(cfg.rule.block_lr) else 1.0
    tx = make_optimizer(cfg.optimizer, lambda step: ratio * schedule(step))
    if not is_on(cfg.rule.decay):
        return tx
    decay = optax.add_decayed_weights(-cfg.rule.decay)
    if cfg.rule.freeze_step:
        decay = optax.conditionally_transform(decay, lambda step: step < cfg.rule.freeze_step)
    return optax.chain(tx, decay)


def _rate_of_head(opt):
    """Return the learning rate of the head; 0 for linear dynamics, where nothing is trained."""
    return applied_rate(getattr(opt, "inner_states", {}).get("head", opt))


def _in_turn(tx, turn, turns, steps):
    """Wrap the optimizer of a part so that it pauses, with its state kept, outside its turns."""
    if not steps:
        return tx
    return optax.conditionally_mask(tx, lambda step: step // steps % turns == turn)


def _freezing(cfg, rule):
    """Return the transition that reinitialises the estimator when the network is frozen."""
    if not cfg.rule.freeze_step:
        return ()

    def fresh(state):
        key = jax.random.fold_in(state.key, RULE)
        return state._replace(rule=rule.init(key, state.params))

    return ((cfg.rule.freeze_step, jax.vmap(fresh)),)


def _probe(cfg, model, network, credit, classes):
    of_credit = make_credit_probe(network, credit, cfg.rule)
    if cfg.model.name.startswith("dynamics"):
        return of_credit
    standard = make_probe(model, cross_entropy, classes, centred=cfg.probe.centred)
    return lambda state, data: standard(state, data) | of_credit(state, data)


def _evaluation(cfg, model, network):
    if not cfg.model.name.startswith("dynamics"):
        return make_evaluation(model, cross_entropy)

    def evaluate(state, data, x_test, y_test):
        def cost(x):
            batch = Batch(normalise(x, data.mean, data.std), jnp.zeros(len(x), jnp.int32))
            output, _, _ = model.apply(state.params, state.stats, batch.x)
            return network.loss(output, batch)

        del y_test
        at_once = examples_at_once(lambda x: x, x_test)
        return {"loss": in_parts(cost, x_test, at_once).mean()}

    return evaluate
