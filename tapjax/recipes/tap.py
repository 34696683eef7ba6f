"""The tap family: training by any rule, with the dimensionality of every layer measured."""

import inspect

import optax

from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.contract.architectures import parse_architecture, structure
from tapjax.data.datasets import Arrays
from tapjax.data.sampling import make_sampler
from tapjax.data.sequences import make_task_sampler
from tapjax.measure.probes import make_evaluation, make_probe, with_extra
from tapjax.measure.recording import remembering
from tapjax.models.zoo import build, check_module, from_module, own_style
from tapjax.step.losses import LOSSES
from tapjax.step.optimizers import make_optimizer, make_schedule
from tapjax.step.rules import RULES
from tapjax.step.step import init_state, make_proposal, make_step
from tapjax.step.transitions import make_transitions
from tapjax.types import Model, Recipe


def recipe(cfg, arrays: Arrays, recorder=None) -> Recipe:
    """Put together everything that the training loop needs for one run.

    Args:
      cfg: a valid config.
      arrays: the data set.
      recorder: function `(cfg, model, loss, classes) -> observe`, where `observe` is that of
        `step.make_step`; None to record no further scalars.

    Returns:
      The Recipe.
    """
    model, features = network(cfg.model, arrays)
    loss = schema.lookup(cfg.loss, LOSSES, "loss")
    rule = schema.lookup(cfg.rule.name, RULES, "rule.name")(model, loss)
    tx = make_optimizer(cfg.optimizer, make_schedule(cfg.optimizer, cfg.steps, cfg.former_steps))
    observe = None
    if recorder:
        tx = optax.chain(tx, remembering())
        observe = recorder(cfg, model, loss, arrays.classes)
    _check_loss(cfg.loss, arrays)
    if arrays.task:
        sample = make_task_sampler(arrays.task, cfg.data.batch_size)
    else:
        sample = make_sampler(cfg.data.batch_size, cfg.data.shuffle, cfg.data.augment)
    propose = make_proposal(rule, sample)
    return Recipe(
        model=model,
        structure=features,
        init=lambda key: init_state(key, model, rule, tx),
        step=make_step(propose, tx, observe=observe),
        gradient=lambda state, data: propose(state, data).grads,
        probe=_probe(cfg.probe, model, loss, arrays),
        evaluate=make_evaluation(model, loss),
        transitions=make_transitions(cfg, model),
        loss=lambda outputs, batch: loss(outputs, batch.y),
    )


def _check_loss(name, arrays):
    """Raise an error if a loss of tapjax does not suit the targets of sequences."""
    real = arrays.y.dtype.kind == "f"
    if arrays.y.ndim > 1 and name in LOSSES and name != ("regression", "cross_entropy")[not real]:
        wanted = "regression" if real else "cross_entropy"
        raise ConfigError(f"loss={name!r}: the targets of {arrays.name!r} need loss={wanted!r}")


def network(cfg, arrays) -> tuple[Model, dict]:
    """Build the network that a config names.

    Args:
      cfg: `config.model`.
      arrays: the data set.

    Returns:
      (Model, its structural features). The features are empty for a user-defined network.

    Raises:
      ConfigError: a user-defined function does not take `(shape, classes)`, or returns no network
        that can be measured.
    """
    if not schema.is_import_path(cfg.name):
        arch = parse_architecture(cfg.name)
        if arrays.y.ndim > 1 and arch.family != "decoder":
            raise ConfigError(
                f"model.name={cfg.name!r}: {arrays.name!r} has a target at every position, which "
                "needs a decoder: decoder:depth=2,width=64,heads=4"
            )
        every = arrays.y.ndim > 1
        model = build(arch, arrays.shape, arrays.classes, style_of(cfg, arch), every)
        return model, structure(arch, arrays.shape, arrays.classes)
    make = schema.lookup(cfg.name, {}, "model.name")
    try:
        inspect.signature(make).bind(arrays.shape, arrays.classes)
    except TypeError as error:
        raise ConfigError(f"model.name={cfg.name!r} must take (shape, classes): {error}") from error
    made = make(arrays.shape, arrays.classes)
    if isinstance(made, Model):
        return made, {}
    check_module(made, cfg.name, arrays.shape, (*arrays.y.shape[1:], arrays.classes))
    return from_module(made, arrays.shape), {}


def style_of(cfg, arch):
    """Return the style of a network: the default of the architecture, changed as the config says.

    Args:
      cfg: `config.model`.
      arch: Architecture of the network.

    Returns:
      The Style.
    """
    asked = {"affine": cfg.affine, "norm_after": cfg.norm_after, "initializer": cfg.init}
    asked |= {name: cfg[name] for name in ("activation", "norm") if cfg[name] != "own"}
    return own_style(arch, **asked, **({"dropout": cfg.dropout} if cfg.dropout >= 0 else {}))


def _probe(cfg, model, loss, arrays):
    kind = (cfg.tokens, cfg.rows, cfg.centred, arrays.task)
    standard = make_probe(model, loss, arrays.classes, *kind)
    return with_extra(standard, cfg.extra, model, loss, arrays.classes)
