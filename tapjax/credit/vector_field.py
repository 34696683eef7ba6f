"""Vector credit field: the credit itself as the output of a network, fitted to how the loss answers
to random directions."""

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


def vector_field(network, cfg, tx) -> Credit:
    """a_l = field(h_l, t_l, s), fitted to <a_l, v> = dL/dv for random v.

    With E[v v^T] = I the expected loss is |a - g|^2: a regression on the true gradient of which
    only forward passes are seen.

    Args:
      network: network.
      cfg: `config.credit`: `field` (of `fields.FIELDS`), `directions` M, `targets` (`tail`,
        `joint` or `block`, see directions.py), `mode`, `distribution`, `shared` (one direction for
        all layers), `terminal` (weight of the known gradient by h_L), `shuffle` (a control: the
        targets of other examples).
      tx: the estimator's optimizer.

    Returns:
      A Credit.
    """
    field = FIELDS[cfg.field](network, cfg)

    def init(key):
        net_key, fixed_key = jax.random.split(key)
        params = field.init(net_key)
        return start(params, init_fixed(fixed_key, network), tx)

    def assign(state, seen, key):
        given = inputs(seen, state.fixed, cfg.code, cfg.layer_norm)

        def objective(params, key):
            if cfg.targets == "response":
                return _response_error(cfg, field, params, seen, given, key)
            credits = field.apply(params, seen, given)
            missed = _misses(cfg, seen, credits, key)
            terminal = jnp.square(credits[-1] - seen.last).sum(-1).mean()
            total = jnp.square(missed).mean() + cfg.terminal * terminal
            return total / jnp.square(unit(cfg, seen))

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
    """How far the field's idea of the blocks is from how they answer to random directions."""
    draw_key, shuffle_key = jax.random.split(key)
    v_LxMxB = _draw(cfg, seen, draw_key)
    answers = block_responses(seen, v_LxMxB)
    if cfg.shuffle:
        answers = jnp.take(answers, jax.random.permutation(shuffle_key, answers.shape[2]), axis=2)
    return jnp.square(field.respond(params, seen, given, v_LxMxB) - answers).mean()


def _misses(cfg, seen, credits, key):
    """What is predicted of random directions less what the forward passes say."""
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
