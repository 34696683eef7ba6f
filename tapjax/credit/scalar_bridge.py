"""Scalar credit bridge: predict the loss from a hidden state, and differentiate the prediction."""

import jax
import jax.numpy as jnp

from tapjax.credit.estimator import initialiser, inputs, learn, read
from tapjax.models.perceptron import Perceptron
from tapjax.types import Credit


def scalar_bridge(network, cfg, tx) -> Credit:
    """a_l = the gradient by h_l of V(h_l, t_l, s), where V is fitted to the loss.

    The loss of an example is known at every layer, its gradient at the last: V is also fitted to
    that (terminal gradient matching, without which V may ignore h where s tells the loss).

    Args:
      network: network.
      cfg: `config.credit`: `value` and `terminal` weigh the two parts.
      tx: the estimator's optimizer.

    Returns:
      A Credit.
    """
    net = Perceptron(cfg.width, 1)

    def slope(params, seen, given):
        def total(h):
            told = given._replace(h=read(h, cfg.layer_norm))
            values = net.apply({"params": params}, told.joined())[..., 0]
            values_LxB = values.reshape(*h.shape[:2], -1).mean(-1)  # over the places of an image
            return values_LxB.sum(), values_LxB

        return jax.grad(total, has_aux=True)(seen.h)

    def assign(state, seen, key):
        given = inputs(seen, state.fixed, cfg.code, cfg.layer_norm)

        def objective(params, key):
            del key
            credits, values = slope(params, seen, given)
            wrong = jnp.square(values - seen.loss[None]).mean()
            terminal = jnp.square(credits[-1] - seen.last).sum(-1).mean()
            return cfg.value * wrong + cfg.terminal * terminal

        credits, _ = slope(state.slow, seen, given)
        new, scalars = learn(state, objective, tx, cfg, key)
        return credits, new, scalars

    return Credit(initialiser(net, network, cfg, tx), assign)
