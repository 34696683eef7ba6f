"""Credits that are measured by perturbing activities, without anything learned."""

import jax
import jax.numpy as jnp

from tapjax.credit.directions import directions, joint_targets, tail_targets
from tapjax.types import Credit


def forward_gradient(network, cfg, tx) -> Credit:
    """Return the forward gradient of activities: a_l = mean over v of (dL/dv) v.

    The directions v are random, and the derivatives are computed in forward mode. The mean over
    directions is the gradient; one direction in D dimensions has a cosine of about D^(-1/2) with it
    (Baydin et al. 2022, https://arxiv.org/abs/2202.08587, for weights; Ren et al. 2023,
    https://arxiv.org/abs/2210.03310, for activities).

    Args:
      network: not used.
      cfg: `config.credit`. `targets`: `joint` perturbs all layers at once, in one forward pass per
        direction, `tail` each layer separately. `directions`: number of directions. `mode` and
        `distribution`: see directions.py.
      tx: not used.

    Returns:
      The Credit.
    """
    del network, tx

    def assign(state, seen, key):
        layers, batch, *rest = seen.h[:-1].shape
        v_LxMxB = directions(key, (layers, cfg.directions, batch, *rest), cfg.distribution)
        if cfg.targets == "joint":
            along_LxMxB = joint_targets(seen, v_LxMxB)[None]
        else:
            along_LxMxB = tail_targets(seen, v_LxMxB, cfg.mode)
        along = along_LxMxB.reshape(*along_LxMxB.shape, *[1] * len(rest))
        credits = (along * v_LxMxB).mean(1)
        return jnp.concatenate([credits, seen.last[None]]), state, {}

    return Credit(lambda key: (), assign)


# Standard deviation of the entries of F, times (inputs / 2)^(1/2), as in the code of the authors.
ERROR_SCALE = 0.05


def pepita(network, cfg, tx) -> Credit:
    """Return PEPITA: the change of the activities when the error is added to the input.

    The credit is a_l = h_l - h'_l, where h' are the hidden states of a second forward pass with the
    input x + e F, for the error e at the output and a fixed random matrix F (Dellaferrera and
    Kreiman 2022, https://arxiv.org/abs/2201.11665, algorithm 1). In the paper, weights learn from
    the activities of the second pass, without the derivative of the activation function. Here they
    learn by the derivative of the block in the first pass, as with every other credit.

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: not used.
      tx: not used.

    Returns:
      The Credit; its state is the matrix F [C, inputs].
    """
    del cfg, tx
    shape = (network.outputs, network.inputs)

    def init(key):
        return ERROR_SCALE * (2 / network.inputs) ** 0.5 * jax.random.normal(key, shape)

    def assign(state, seen, key):
        del key
        h = seen.embed(seen.x + (seen.error @ state).reshape(seen.x.shape))
        credits = [seen.h[0] - h]
        for i in range(network.depth - 1):
            h = seen.block(i, h)
            credits.append(seen.h[i + 1] - h)
        return jnp.stack([*credits, seen.last]), state, {}

    return Credit(init, assign)
