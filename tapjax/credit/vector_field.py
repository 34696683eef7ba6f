"""The vector credit field: a network whose output is the credit.

It is fitted to directional derivatives of the loss along random directions.
"""

import jax
import jax.numpy as jnp

from tapjax.credit.directions import (
    block_responses,
    block_targets,
    directions,
    joint_targets,
    tail_targets,
)
from tapjax.credit.estimator import init_fixed, inputs, learn, start
from tapjax.credit.fields import FIELDS, unit
from tapjax.types import Credit

# Error of float32 derivatives of a loss along a direction. Errors of the field are not measured in
# smaller units, because examples whose gradients are smaller would teach it noise.
RESOLUTION = {"jvp": 1e-7, "central": 3e-5, "onesided": 1e-3}


def vector_field(network, cfg, tx) -> Credit:
    """Build the credit a_l = field(h_l, t_l, s), fitted to <a_l, v> = dL/dv for random v.

    Because E[v v^T] = I, the expected loss of the fit is |a - g|^2. The fit is therefore a
    regression on the true gradient g, although it needs forward passes only.

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: `config.credit`. `field`: key of `fields.FIELDS`. `directions`: number M of directions
        per step. `targets`: `tail`, `joint` or `block` (see directions.py), or `response` to fit
        the field's own model of each block (`Field.respond`). `mode`: see
        `directions.tail_targets`. `distribution`: see `directions.directions`. `shared`: whether
        all layers get the same direction. `terminal`: weight of the known gradient with respect to
        h_L in the fit. `shuffle`: a control that uses the targets of other examples.
      tx: optimizer of the estimator.

    Returns:
      The Credit.
    """
    field = FIELDS[cfg.field](network, cfg)

    def init(key):
        net_key, fixed_key = jax.random.split(key)
        params = field.init(net_key)
        return start(params, init_fixed(fixed_key, network), tx)

    def assign(state, seen, key):
        given = inputs(seen, state.fixed, cfg.code, cfg.layer_norm, cfg.unit == "example")
        least = jnp.maximum(unit(cfg.unit, seen), RESOLUTION[cfg.mode])

        def objective(params, key):
            if cfg.targets == "response":
                return _response_error(cfg, field, params, seen, given, key)
            credits = field.apply(params, seen, given)
            missed = _misses(cfg, seen, credits, key)
            missed = missed / least.reshape(*[1] * (missed.ndim - 1), -1)
            terminal = jnp.square((credits[-1] - seen.last) / least).sum(-1).mean()
            return jnp.square(missed).mean() + cfg.terminal * terminal

        credits = field.apply(state.slow, seen, given)
        new, scalars = learn(state, objective, tx, cfg, key)
        return credits, new, scalars

    return Credit(init, assign)


def _draw(cfg, seen, key):
    layers, batch, *rest = seen.h[:-1].shape
    drawn = 1 if cfg.shared else layers
    v = directions(key, (drawn, cfg.directions, batch, *rest), cfg.distribution)
    return jnp.broadcast_to(v, (layers, cfg.directions, batch, *rest))


def _response_error(cfg, field, params, seen, given, key):
    """Return the mean squared error of the field's predicted block responses."""
    draw_key, shuffle_key = jax.random.split(key)
    v_LxMxB = _draw(cfg, seen, draw_key)
    answers = block_responses(seen, v_LxMxB)
    if cfg.shuffle:
        answers = jnp.take(answers, jax.random.permutation(shuffle_key, answers.shape[2]), axis=2)
    return jnp.square(field.respond(params, seen, given, v_LxMxB) - answers).mean()


def _misses(cfg, seen, credits, key):
    """Return the predicted minus the computed directional derivatives of the loss."""
    draw_key, shuffle_key = jax.random.split(key)
    v_LxMxB = _draw(cfg, seen, draw_key)
    batch = v_LxMxB.shape[2]
    predicted = (v_LxMxB * credits[:-1, None]).reshape(*v_LxMxB.shape[:3], -1).sum(-1)
    if cfg.targets == "joint":
        predicted, answers = predicted.sum(0), joint_targets(seen, v_LxMxB)
    elif cfg.targets == "block":
        known = jax.lax.stop_gradient(credits.at[-1].set(seen.last))
        answers = block_targets(seen, known, v_LxMxB)
    else:
        answers = tail_targets(seen, v_LxMxB, cfg.mode)
    if cfg.shuffle:
        answers = jnp.take(answers, jax.random.permutation(shuffle_key, batch), axis=-1)
    return predicted - answers
