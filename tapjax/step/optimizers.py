"""Optimizers by name, with learning rates that are recorded as they were applied."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.step.mitigations import Start, noisy_gradient, perturbed, spectral, towards_start
from tapjax.types import Tree

# Values of PyTorch's RMSprop. That of optax has a decay of .9 and eps inside the square root.
RMS_DECAY, EPSILON = 0.99, 1e-8
# Default momentum of each optimizer that can have one; used where the config says -1.
OWN_MOMENTUM = {"momentum": 0.9, "rmsprop": 0.0}
PERTURB = 1  # stream of random numbers


def _rmsprop(cfg, adam):
    del adam
    scaled = optax.scale_by_rms(RMS_DECAY, EPSILON, eps_in_sqrt=False)
    momentum = _momentum(cfg)
    return optax.chain(scaled, optax.trace(momentum)) if momentum else scaled


def _adamw(cfg, adam):
    return optax.chain(adam(cfg.b1, cfg.b2), optax.add_decayed_weights(cfg.weight_decay))


# Name -> function of `config.optimizer` and a function (b1, b2) -> Adam's scaling of updates.
# The learning rate is applied afterwards.
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
    """Make the schedule of the learning rate.

    Args:
      cfg: `config.optimizer` with `lr`, `schedule` and `warmup_steps`.
      steps: number of steps of the whole run.
      former: numbers of steps that the run had before it was extended, in ascending order.

    Returns:
      A function from the step to the learning rate.
    """
    return extended(lambda length: _schedule(cfg, length), steps, former)


def extended(make, steps: int, former: Sequence[int]):
    """Make a schedule for a run that was extended.

    Up to each former length of the run, the schedule is the one that was made for this length.

    Args:
      make: function from the length of a run to a schedule, which may be a constant number.
      steps: number of steps of the whole run.
      former: numbers of steps that the run had before it was extended, in ascending order.

    Returns:
      A function from the step to the learning rate.
    """
    if not former:
        return make(steps)
    before, last, now = extended(make, former[-1], former[:-1]), former[-1], make(steps)
    if not callable(now):  # a constant rate
        return now
    return lambda step: jnp.where(step < last, before(step), now(step))


def _schedule(cfg, steps):
    decay = SCHEDULES[cfg.schedule](cfg, steps - cfg.warmup_steps)
    if not cfg.warmup_steps:
        return decay
    warmup = optax.linear_schedule(0.0, cfg.lr, cfg.warmup_steps)
    return optax.join_schedules([warmup, decay], [cfg.warmup_steps])


class Rate(NamedTuple):
    """Number of updates since the optimizer was initialised, and learning rate of the last one."""

    updates_made: jax.Array
    lr: jax.Array


def scheduled(lr) -> optax.GradientTransformation:
    """Multiply updates by the negative learning rate and store this rate.

    The rate is lr(n), where n is the number of updates made.

    Args:
      lr: schedule, or a number.

    Returns:
      An optax transformation, bit for bit equal to `optax.scale_by_learning_rate`.
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
    """Moments of Adam, with the number of updates for each element.

    `count` is the number of updates made by the optimizer. `missed` holds, for each element, the
    number of updates before its last reset; it is 0 for an element that was never reset.
    `mu` and `nu` are the first and second moments.
    """

    count: jax.Array
    missed: Tree
    mu: Tree
    nu: Tree


def scale_by_counted_adam(b1: float, b2: float) -> optax.GradientTransformation:
    """Scale updates by Adam, with bias correction by each element's own number of updates.

    If the moments of an element are set to 0 while its bias correction keeps the optimizer's count,
    the next steps of this element are up to 6 times too large. Elements that were never reset are
    scaled by the same arithmetic as in `optax.scale_by_adam`. Adam is described in Kingma and Ba
    2015 (https://arxiv.org/abs/1412.6980).

    Args:
      b1: decay rate of the first moment, in [0, 1).
      b2: decay rate of the second moment, in [0, 1).

    Returns:
      An optax transformation.
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
    """Factor of the last update, and state of the chaotic map that determines it.

    `drive` is the factor, `begun` tells whether the map has started, and `place` is its point [2].
    """

    drive: jax.Array
    begun: jax.Array
    place: jax.Array


HENON_A, HENON_B, HENON_EXTENT = 1.4, 0.3, 1.285


def driven(depth: float) -> optax.GradientTransformationExtraArgs:
    """Multiply every update by 1 + depth x, where x is a chaotic series.

    This is equivalent to multiplying the learning rate by the same factor. x is the first
    coordinate of a Henon map (Henon 1976, https://doi.org/10.1007/BF01608556), scaled to [-1, 1].
    The map makes one iteration per step, from a different starting point for each seed. It serves
    as a known cause on which nothing in the network has an effect.

    Args:
      depth: strength of the drive, in [0, 1).

    Returns:
      An optax transformation whose update needs a random `key`, which determines the starting
      point.
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
    """Return the part of an optimizer's state that has the given type; None if there is none."""
    parts = jax.tree.leaves(opt, is_leaf=lambda part: isinstance(part, kind))
    found = [part for part in parts if isinstance(part, kind)]
    if len(found) > 1:
        raise ValueError(f"{len(found)} parts of the optimizer's state are of type {kind.__name__}")
    return found[0] if found else None


def _with_part(opt: Tree, new: NamedTuple) -> Tree:
    """Replace the part of an optimizer's state that has the same type as `new`."""
    kind = type(new)
    is_kind = lambda part: isinstance(part, kind)  # noqa: E731
    return jax.tree.map(lambda part: new if is_kind(part) else part, opt, is_leaf=is_kind)


def applied_rate(opt: Tree) -> jax.Array:
    """Return the learning rate that the last update was made with.

    Args:
      opt: state after an update, of an optimizer from `make_optimizer` or of one that contains it.

    Returns:
      Scalar float32; 0 for an optimizer without a learning rate, such as `optax.set_to_zero`.
    """
    rate, drive = _part(opt, Rate), _part(opt, Driven)
    lr = jnp.float32(0) if rate is None else rate.lr
    return lr if drive is None else lr * drive.drive


def at_the_rate_of(opt: Tree, other: Tree) -> Tree:
    """Make a new optimizer's state continue the schedule and the drive of another optimizer.

    Args:
      opt: state to change.
      other: state of an optimizer with the same schedule and drive.

    Returns:
      The changed state.
    """
    for kind in (Rate, Driven):
        part = _part(other, kind)
        if part is not None:
            opt = _with_part(opt, part)
    return opt


def with_anchor(opt: Tree, layer: str, weights: Tree) -> Tree:
    """Set the weights of a layer to which `towards_start` pulls.

    Args:
      opt: state of an optimizer.
      layer: name of the layer in the parameters.
      weights: parameters that the layer is reset to.

    Returns:
      The changed state; the same state if the optimizer does not use `towards_start`.
    """
    start = _part(opt, Start)
    return opt if start is None else _with_part(opt, Start(start.weights | {layer: weights}))


def with_drive_of(opt: Tree, key) -> Tree:
    """Start the drive of an optimizer with a given key, before the first update.

    Args:
      opt: state of an optimizer before its first update.
      key: random key, as `driven` would get it at the first update.

    Returns:
      The changed state; the same state if the optimizer has no drive.
    """
    drive = _part(opt, Driven)
    if drive is None:
        return opt
    return _with_part(opt, drive._replace(begun=jnp.bool(True), place=_start_of_drive(key)))


def is_on(strength) -> bool:
    """Return whether a strength is not 0; strengths that are arguments of a program are not."""
    return isinstance(strength, jax.core.Tracer) or bool(strength)


def make_optimizer(cfg, lr, per_element: bool = False) -> optax.GradientTransformation:
    """Make the optax transformation that a config names.

    Args:
      cfg: `config.optimizer`. `weight_decay` is decoupled for adamw and is added to the gradient
        (L2) for the others. `clip` is the largest global norm of the gradient; 0 means no limit.
        For `drive` see `driven`. `noise`, `l2_init`, `spectral` and `perturb` are the strengths of
        the transformations in mitigations.py; 0 leaves a transformation out.
      lr: schedule from `make_schedule`, or a number.
      per_element: whether to correct Adam's moments by each element's own number of updates, as
        `unit_reset.renewing` needs.

    Returns:
      An optax transformation.
    """
    parts = []
    if is_on(cfg.noise):
        parts.append(noisy_gradient(cfg.noise, cfg.noise_decay))
    if is_on(cfg.clip):
        parts.append(optax.clip_by_global_norm(cfg.clip))
    if is_on(cfg.weight_decay) and cfg.name != "adamw":
        parts.append(optax.add_decayed_weights(cfg.weight_decay))
    if is_on(cfg.l2_init):
        parts.append(towards_start(cfg.l2_init))
    if is_on(cfg.spectral):
        parts.append(spectral(cfg.spectral))
    adam = scale_by_counted_adam if per_element else optax.scale_by_adam
    parts += [OPTIMIZERS[cfg.name](cfg, adam), scheduled(lr)]
    if is_on(cfg.drive):
        parts.append(driven(cfg.drive))
    if is_on(cfg.perturb):
        last = perturbed(cfg.perturb)
        # With `noise`, the perturbation must draw other numbers than the noise. Without `noise`, it
        # draws the same numbers as in earlier runs.
        parts.append(_in_stream(last, PERTURB) if is_on(cfg.noise) else last)
    return optax.chain(*parts)


def _in_stream(tx, stream: int):
    """Give a transformation its own stream of random numbers."""

    def update(updates, state, params=None, *, key, **extra):
        return tx.update(updates, state, params, key=jax.random.fold_in(key, stream), **extra)

    return optax.GradientTransformationExtraArgs(tx.init, update)
