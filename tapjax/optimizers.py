"""Optimizers by name; the learning rate is a schedule so that it can be recorded each step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.mitigations import noisy_gradient, perturbed, spectral, towards_start

OPTIMIZERS = {
    "adam": lambda lr, cfg: optax.adam(lr, b1=cfg.b1, b2=cfg.b2),
    "adamw": lambda lr, cfg: optax.adamw(lr, b1=cfg.b1, b2=cfg.b2, weight_decay=cfg.weight_decay),
    "sgd": lambda lr, cfg: optax.sgd(lr),
    "momentum": lambda lr, cfg: optax.sgd(lr, momentum=cfg.momentum),
    "rmsprop": lambda lr, cfg: optax.rmsprop(lr, decay=0.99, momentum=cfg.momentum),
}

SCHEDULES = {
    "constant": lambda cfg, steps: optax.constant_schedule(cfg.lr),
    "cosine": lambda cfg, steps: optax.cosine_decay_schedule(cfg.lr, steps),
    "linear": lambda cfg, steps: optax.linear_schedule(cfg.lr, 0.0, steps),
}


def make_schedule(cfg, steps: int):
    """The learning rate at each step.

    Args:
      cfg: `config.optimizer` with `lr`, `schedule` and `warmup_steps`.
      steps: length of the whole run.

    Returns:
      A function step -> learning rate.
    """
    decay = SCHEDULES[cfg.schedule](cfg, steps - cfg.warmup_steps)
    if not cfg.warmup_steps:
        return decay
    warmup = optax.linear_schedule(0.0, cfg.lr, cfg.warmup_steps)
    return optax.join_schedules([warmup, decay], [cfg.warmup_steps])


class Driven(NamedTuple):
    """By what the last update was multiplied, and the state of the map that decides it."""

    drive: jax.Array
    count: jax.Array
    place: jax.Array


HENON_A, HENON_B, HENON_EXTENT = 1.4, 0.3, 1.285


def driven(depth: float) -> optax.GradientTransformationExtraArgs:
    """Multiply every update by 1 + depth x, x being chaotic, the same as such a learning rate.

    x is the first coordinate of a Henon map (1976), scaled to [-1, 1], one iteration a step, from
    a start of each seed's own: a cause that nothing in the network can act on.
    """

    def init(params):
        del params
        return Driven(jnp.ones(()), jnp.int32(0), jnp.zeros(2))

    def update(updates, state, params=None, *, key, **_):
        del params
        start = jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1)
        x, y = jnp.where(state.count == 0, start, state.place)
        drive = 1 + depth * x / HENON_EXTENT
        place = jnp.stack([1 - HENON_A * x**2 + y, HENON_B * x])
        return jax.tree.map(lambda u: drive * u, updates), Driven(drive, state.count + 1, place)

    return optax.GradientTransformationExtraArgs(init, update)


def make_optimizer(cfg, lr) -> optax.GradientTransformation:
    """The optax transformation that a config names.

    Args:
      cfg: `config.optimizer`; `weight_decay` is decoupled for adamw and added to the gradient
        (L2) for the others; `clip` bounds the global gradient norm, 0 for no bound; `drive` see
        `driven`; the rest is what mitigations.py has, 0 for none.
      lr: schedule from `make_schedule`.

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
    parts.append(OPTIMIZERS[cfg.name](lr, cfg))
    if cfg.drive:
        parts.append(driven(cfg.drive))
    if cfg.perturb:
        parts.append(perturbed(cfg.perturb))
    return optax.chain(*parts)
