"""The scalar credit bridge, which predicts the loss from a hidden state.

The credit is the gradient of the prediction.
"""

import jax
import jax.numpy as jnp

from tapjax.credit.estimator import initialiser, inputs, learn, read
from tapjax.models.perceptron import Perceptron
from tapjax.types import Credit


def scalar_bridge(network, cfg, tx) -> Credit:
    """Build the credit a_l = dV(h_l, t_l, s) / dh_l, where the network V is fitted to the loss.

    The target of V at every layer is the loss of the example. The gradient of the loss is known at
    the last layer only, and V is fitted to it there as well. Without this terminal gradient
    matching V may ignore h if the code s already determines the loss.

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: `config.credit`: `value` and `terminal` are the weights of the two parts of the fit.
      tx: optimizer of the estimator.

    Returns:
      The Credit.
    """
    net = Perceptron(cfg.width, 1)

    def slope(params, seen, given):
        def total(h):
            told = given._replace(h=read(h, cfg.layer_norm))
            values = net.apply({"params": params}, told.joined())[..., 0]
            values_LxB = values.reshape(*h.shape[:2], -1).mean(-1)  # over the positions of an image
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
