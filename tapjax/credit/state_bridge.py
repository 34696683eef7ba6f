"""The state bridge, which predicts the last hidden state from each earlier one.

The credit is the gradient of the loss at the prediction.
"""

import jax
import jax.numpy as jnp

from tapjax.credit.estimator import initialiser, inputs, learn, read
from tapjax.models.perceptron import Perceptron
from tapjax.types import Credit


def state_bridge(network, cfg, tx) -> Credit:
    """Build the credit a_l = d loss(G(h_l, t_l, s)) / dh_l, where the network G is fitted to h_L.

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: `config.credit`. With `field=residual` the network predicts the difference h_L - h_l.
      tx: optimizer of the estimator.

    Returns:
      The Credit.
    """
    net = Perceptron(cfg.width, network.shape[-1], quiet=cfg.field == "residual")

    def predict(params, h, given):
        told = given._replace(h=read(h, cfg.layer_norm))
        guess = net.apply({"params": params}, told.joined())
        return h + guess if cfg.field == "residual" else guess

    def assign(state, seen, key):
        given = inputs(seen, state.fixed, cfg.code, cfg.layer_norm)

        def objective(params, key):
            del key
            missed = jnp.square(predict(params, seen.h, given) - seen.h[-1][None]).sum(-1)
            return (missed / (jnp.square(seen.h[-1]).sum(-1) + 1e-6)[None]).mean()

        def cost(h):
            return jax.vmap(seen.terminal)(predict(state.slow, h, given)).sum()

        credits = jax.grad(cost)(seen.h)
        new, scalars = learn(state, objective, tx, cfg, key)
        return credits, new, scalars

    return Credit(initialiser(net, network, cfg, tx), assign)
