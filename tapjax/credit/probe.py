"""Measurements of the quality of a credit, layer by layer.

They all use one backward pass, which serves only to measure.
"""

import jax
import jax.numpy as jnp

from tapjax.credit.directions import losses_from_each
from tapjax.credit.forward import observe, true_credit
from tapjax.credit.local_rule import block_gradients
from tapjax.types import BlockNetwork, Credit, DeviceData, TrainState

TINY = 1e-12  # smallest denominator of a ratio or a cosine
FITTED = 1e-6  # norm of the true gradient below which an example counts as fitted
NUDGE = 0.01  # root mean square of the step against a credit


def make_credit_probe(network: BlockNetwork, credit: Credit, cfg):
    """Build the measurement of the credits on the probe examples.

    Args:
      network: BlockNetwork that is trained.
      credit: estimator of the credits.
      cfg: `config.rule`: `exact_last` and `shift`.

    Returns:
      `probe(state, data) -> dict` of arrays [L+1]. Except for `param_cosine` they have one value
      per hidden state h_0, ..., h_L; a is the credit and g the true gradient.

      * `gamma`: mean over examples of the cosine between a and g.
      * `dir_gamma`: the same for the gradient with respect to h_L copied to every layer, in the
        same network.
      * `rho`: correlation of <a, v> and <g, v> over examples and directions v, see `correlations`.
      * `mean_ratio`: |mean of a| over examples, divided by the root mean square of |a|.
      * `true_mean_ratio`: the same for g.
      * `nudge`: mean change of the loss after a step of root mean square 0.01 against each
        example's credit.
      * `fitted`: share of examples whose true gradient has a norm below 1e-6.
      * `hidden_rms`: root mean square of the hidden state.
      * `gradient_rms`: root mean square of g.
      * `param_cosine`: cosine between the parameter gradients computed from a and from g, for the
        embedding, block 0, ..., block L-1. It is not-a-number for the embedding if there is none.
    """

    def probe(state: TrainState, data: DeviceData):
        key = jax.random.fold_in(state.key, 0)
        batch = data.probe
        seen = observe(network, state.params, batch, key)
        credits, _, _ = credit.assign(state.rule, seen, key)
        credits = credits.at[-1].set(seen.last) if cfg.exact_last else credits
        true = true_credit(seen)
        copied = jnp.broadcast_to(seen.last, seen.h.shape)
        return {
            "gamma": cosines(credits, true).mean(1),
            "dir_gamma": cosines(copied, true).mean(1),
            "rho": correlations(credits, true),
            "mean_ratio": _mean_ratio(credits),
            "true_mean_ratio": _mean_ratio(true),
            "nudge": _nudge(seen, credits),
            "fitted": (_norm(true) < FITTED).mean(1, dtype=jnp.float32),
            "hidden_rms": jnp.sqrt(_square_mean(seen.h)),
            "gradient_rms": jnp.sqrt(_square_mean(true)),
            "param_cosine": _param_cosine(
                network, state.params, batch, seen, credits, true, key, cfg
            ),
        }

    return probe


def cosines(a, b):
    """Compute the cosine of two credits per layer and example.

    Args:
      a: credits [L, B, ...].
      b: credits of the same shape.

    Returns:
      [L, B]; close to 0 where the product of the norms is below `TINY`.
    """
    a, b = (x.reshape(*x.shape[:2], -1) for x in (a, b))
    return (a * b).sum(-1) / jnp.maximum(_norm(a) * _norm(b), TINY)


def _norm(a):
    return jnp.sqrt(jnp.square(a.reshape(*a.shape[:2], -1)).sum(-1))


def _square_mean(a):
    return jnp.square(a).mean(tuple(range(1, a.ndim)))


def correlations(a, b):
    """Compute the correlation of <a, v> and <b, v> over examples and isotropic directions v.

    This is its limit for many directions, the sum over examples of <a, b> divided by the root of
    the sums of |a|^2 and of |b|^2. A sample of four directions has an error of about 0.04.

    Args:
      a: credits [L, B, ...].
      b: credits of the same shape.

    Returns:
      [L], in [-1, 1]; 0 where the credits of a layer are all zero.
    """
    a, b = (x.reshape(len(x), -1) for x in (a, b))
    a, b = (x / jnp.maximum(jnp.abs(x).max(1, keepdims=True), TINY) for x in (a, b))
    norms = jnp.sqrt(jnp.square(a).sum(1) * jnp.square(b).sum(1))
    return (a * b).sum(1) / jnp.where(norms > 0, norms, 1.0)


def _mean_ratio(a):
    mean = _norm(a.mean(1)[:, None])[:, 0]
    return mean / jnp.maximum(jnp.sqrt(jnp.square(_norm(a)).mean(1)), TINY)


def _nudge(seen, credits):
    axes = tuple(range(2, credits.ndim))
    rms = jnp.sqrt(jnp.square(credits).mean(axes, keepdims=True))
    moved = seen.h - NUDGE * credits / jnp.maximum(rms, TINY)
    return (losses_from_each(seen, moved[:, None])[:, 0] - seen.loss[None]).mean(1)


def _param_cosine(network, params, batch, seen, credits, true, key, cfg):
    by_credit = block_gradients(network, params, batch, seen, credits, key, cfg.shift)
    by_truth = block_gradients(network, params, batch, seen, true, key)
    values = []
    for name in ("embed", *(f"block_{i}" for i in range(network.depth))):
        if name not in params:
            values.append(jnp.float32(jnp.nan))
            continue
        a, b = (
            jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree[name])])
            for tree in (by_credit, by_truth)
        )
        values.append(jnp.vdot(a, b) / jnp.maximum(jnp.linalg.norm(a) * jnp.linalg.norm(b), TINY))
    return jnp.stack(values)
