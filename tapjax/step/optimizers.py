"""Optimizers by name, with a learning rate that is recorded as it was applied."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.step.mitigations import Start, noisy_gradient, perturbed, spectral, towards_start
from tapjax.types import Tree

# What PyTorch's RMSprop has; optax's has .9 and eps inside the root.
RMS_DECAY, EPSILON = 0.99, 1e-8
# The momentum of each optimizer that can have one, where the config does not say otherwise.
OWN_MOMENTUM = {"momentum": 0.9, "rmsprop": 0.0}
PERTURB = 1  # stream of random numbers


def _rmsprop(cfg, adam):
    del adam
    scaled = optax.scale_by_rms(RMS_DECAY, EPSILON, eps_in_sqrt=False)
    momentum = _momentum(cfg)
    return optax.chain(scaled, optax.trace(momentum)) if momentum else scaled


def _adamw(cfg, adam):
    return optax.chain(adam(cfg.b1, cfg.b2), optax.add_decayed_weights(cfg.weight_decay))


# Name -> function of `config.optimizer` and how Adam scales; the learning rate comes after.
OPTIMIZERS = {
    "adam": lambda cfg, adam: adam(cfg.b1, cfg.b2),
    "adamw": _adamw,
    "sgd": lambda cfg, adam: optax.identity(),
    "momentum": lambda cfg, adam: optax.trace(_momentum(cfg)),
    "rmsprop": _rmsprop,
}

SCHEDULES = {
    "constant": lambda cfg, steps: optax.constant_schedule(cfg.lr),
    "cosine": lambda cfg, steps: optax.cosine_decay_schedule(cfg.lr, steps),
    "linear": lambda cfg, steps: optax.linear_schedule(cfg.lr, 0.0, steps),
}


def _momentum(cfg):
    return OWN_MOMENTUM[cfg.name] if cfg.momentum == -1 else cfg.momentum


def make_schedule(cfg, steps: int, former: Sequence[int] = ()):
    """The learning rate at each step.

    Args:
      cfg: `config.optimizer` with `lr`, `schedule` and `warmup_steps`.
      steps: length of the whole run.
      former: lengths that it had before it was extended, ascending.

    Returns:
      A function step -> learning rate.
    """
    return extended(lambda length: _schedule(cfg, length), steps, former)


def extended(make, steps: int, former: Sequence[int]):
    """A schedule that was made for fewer steps at first, and is followed up to these.

    Args:
      make: length of a run -> schedule.
      steps: length of the whole run.
      former: lengths that it had before it was extended, ascending.

    Returns:
      A function step -> learning rate.
    """
    if not former:
        return make(steps)
    before, last, now = extended(make, former[-1], former[:-1]), former[-1], make(steps)
    return lambda step: jnp.where(step < last, before(step), now(step))


def _schedule(cfg, steps):
    decay = SCHEDULES[cfg.schedule](cfg, steps - cfg.warmup_steps)
    if not cfg.warmup_steps:
        return decay
    warmup = optax.linear_schedule(0.0, cfg.lr, cfg.warmup_steps)
    return optax.join_schedules([warmup, decay], [cfg.warmup_steps])


class Rate(NamedTuple):
    """Updates made since the optimizer began, and the learning rate of the last one."""

    updates_made: jax.Array
    lr: jax.Array


def scheduled(lr) -> optax.GradientTransformation:
    """Multiply updates by -lr(n), n being the updates made, and remember that rate.

    Args:
      lr: schedule, or a number.

    Returns:
      A transformation; bit for bit `optax.scale_by_learning_rate`.
    """
    schedule = lr if callable(lr) else optax.constant_schedule(lr)

    def init(params):
        del params
        return Rate(jnp.int32(0), jnp.float32(0))

    def update(updates, state, params=None):
        del params
        rate = schedule(state.updates_made)
        updates = jax.tree.map(lambda u: jnp.array(-1 * rate, dtype=u.dtype) * u, updates)
        return updates, Rate(state.updates_made + 1, jnp.asarray(rate, jnp.float32))

    return optax.GradientTransformation(init, update)


class CountedAdam(NamedTuple):
    """Adam's moments; updates made, and those that each element had `missed` when it last began
    anew, 0 for one that never did."""

    count: jax.Array
    missed: Tree
    mu: Tree
    nu: Tree


def scale_by_counted_adam(b1: float, b2: float) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015) with a bias correction for each element's own number of updates.

    An element whose moments are set to 0 while the correction goes on with the optimizer's count
    takes steps up to 6 times too large. Elements that never began anew are scaled by the same
    arithmetic as in `optax.scale_by_adam`.

    Args:
      b1: decay of the first moment.
      b2: decay of the second.

    Returns:
      A transformation.
    """

    def init(params):
        zeros = partial(jax.tree.map, jnp.zeros_like)
        missed = jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.int32), params)
        return CountedAdam(jnp.int32(0), missed, zeros(params), zeros(params))

    def corrected(moment, decay, count, missed):
        log_decay = math.log(decay) if decay else -math.inf
        own = -jnp.expm1((count - missed) * log_decay)
        return moment / jnp.where(missed == 0, 1 - decay**count, own)

    def update(updates, state, params=None):
        del params
        count = state.count + 1
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)

        def scale(m, v, missed):
            m, v = corrected(m, b1, count, missed), corrected(v, b2, count, missed)
            return m / (jnp.sqrt(v) + EPSILON)

        updates = jax.tree.map(scale, mu, nu, state.missed)
        return updates, CountedAdam(count, state.missed, mu, nu)

    return optax.GradientTransformation(init, update)


class Driven(NamedTuple):
    """By what the last update was multiplied, and the state of the map that decides it: whether
    it has `begun` and where it is."""

    drive: jax.Array
    begun: jax.Array
    place: jax.Array


HENON_A, HENON_B, HENON_EXTENT = 1.4, 0.3, 1.285


def driven(depth: float) -> optax.GradientTransformationExtraArgs:
    """Multiply every update by 1 + depth x, x being chaotic, the same as such a learning rate.

    x is the first coordinate of a Henon map (1976), scaled to [-1, 1], one iteration a step, from
    a start of each seed's own: a cause that nothing in the network can act on.
    """

    def init(params):
        del params
        return Driven(jnp.ones(()), jnp.bool(False), jnp.zeros(2))

    def update(updates, state, params=None, *, key, **_):
        del params
        x, y = jnp.where(state.begun, state.place, _start_of_drive(key))
        drive = 1 + depth * x / HENON_EXTENT
        place = jnp.stack([1 - HENON_A * x**2 + y, HENON_B * x])
        return jax.tree.map(lambda u: drive * u, updates), Driven(drive, jnp.bool(True), place)

    return optax.GradientTransformationExtraArgs(init, update)


def _start_of_drive(key):
    return jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1)


def _part(opt: Tree, kind: type):
    """The one part of an optimizer's state that is of a type; None if it has no such part."""
    parts = jax.tree.leaves(opt, is_leaf=lambda part: isinstance(part, kind))
    found = [part for part in parts if isinstance(part, kind)]
    if len(found) > 1:
        raise ValueError(f"{len(found)} parts of the optimizer's state are of type {kind.__name__}")
    return found[0] if found else None


def _with_part(opt: Tree, new: NamedTuple) -> Tree:
    """An optimizer's state whose part of the type of `new` is `new`."""
    kind = type(new)
    is_kind = lambda part: isinstance(part, kind)  # noqa: E731
    return jax.tree.map(lambda part: new if is_kind(part) else part, opt, is_leaf=is_kind)


def applied_rate(opt: Tree) -> jax.Array:
    """The learning rate of the last update, read from the state that the update was made with.

    Args:
      opt: state of an optimizer from `make_optimizer`, whatever is around it, after an update.

    Returns:
      Scalar float32; 0 of an optimizer that has none, such as `optax.set_to_zero`.
    """
    rate, drive = _part(opt, Rate), _part(opt, Driven)
    lr = jnp.float32(0) if rate is None else rate.lr
    return lr if drive is None else lr * drive.drive


def at_the_rate_of(opt: Tree, other: Tree) -> Tree:
    """A new optimizer's state that goes on with the schedule and the drive of another one.

    Args:
      opt: state to change.
      other: state of an optimizer with the same schedule and drive.

    Returns:
      opt.
    """
    for kind in (Rate, Driven):
        part = _part(other, kind)
        if part is not None:
            opt = _with_part(opt, part)
    return opt


def with_anchor(opt: Tree, layer: str, weights: Tree) -> Tree:
    """Set the weights of a layer that `towards_start` pulls to.

    Args:
      opt: state of an optimizer.
      layer: name of the layer in the parameters.
      weights: parameters that the layer begins anew with.

    Returns:
      opt; unchanged if the optimizer does not pull.
    """
    start = _part(opt, Start)
    return opt if start is None else _with_part(opt, Start(start.weights | {layer: weights}))


def with_drive_of(opt: Tree, key) -> Tree:
    """A state before the first update whose drive, if it has one, starts as `key` says.

    Args:
      opt: state of an optimizer.
      key: as `driven` would get it at the first update.

    Returns:
      opt.
    """
    drive = _part(opt, Driven)
    if drive is None:
        return opt
    return _with_part(opt, drive._replace(begun=jnp.bool(True), place=_start_of_drive(key)))


def make_optimizer(cfg, lr, per_element: bool = False) -> optax.GradientTransformation:
    """The optax transformation that a config names.

    Args:
      cfg: `config.optimizer`; `weight_decay` is decoupled for adamw and added to the gradient
        (L2) for the others; `clip` bounds the global gradient norm, 0 for no bound; `drive` see
        `driven`; the rest is what mitigations.py has, 0 for none.
      lr: schedule from `make_schedule`, or a number.
      per_element: correct Adam's moments by each element's own count, as `renewal.renewing` needs.

    Returns:
      An optax transformation.
    """
    parts = []
    if cfg.noise:
        parts.append(noisy_gradient(cfg.noise, cfg.noise_decay))
    if cfg.clip:
        parts.append(optax.clip_by_global_norm(cfg.clip))
    if cfg.weight_decay and cfg.name != "adamw":
        parts.append(optax.add_decayed_weights(cfg.weight_decay))
    if cfg.l2_init:
        parts.append(towards_start(cfg.l2_init))
    if cfg.spectral:
        parts.append(spectral(cfg.spectral))
    adam = scale_by_counted_adam if per_element else optax.scale_by_adam
    parts += [OPTIMIZERS[cfg.name](cfg, adam), scheduled(lr)]
    if cfg.drive:
        parts.append(driven(cfg.drive))
    if cfg.perturb:
        last = perturbed(cfg.perturb)
        # Beside noise it must not draw the same numbers; alone it keeps those of earlier runs.
        parts.append(_in_stream(last, PERTURB) if cfg.noise else last)
    return optax.chain(*parts)


def _in_stream(tx, stream: int):
    """A transformation that draws from a stream of random numbers of its own."""

    def update(updates, state, params=None, *, key, **extra):
        return tx.update(updates, state, params, key=jax.random.fold_in(key, stream), **extra)

    return optax.GradientTransformationExtraArgs(tx.init, update)
