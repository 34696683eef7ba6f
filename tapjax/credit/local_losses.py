"""Credits from a loss of each layer, which has a head of its own.

The head of a layer is a matrix from the hidden state, averaged over positions for images, to the
outputs. It is trained by the loss of its own outputs.
"""

import jax
import jax.numpy as jnp

from tapjax.credit.directions import directions
from tapjax.credit.estimator import Estimator, learn, start
from tapjax.types import Credit


def local_loss(network, cfg, tx) -> Credit:
    """Return local greedy losses: the credit is the gradient of the layer's own loss.

    No layer waits for the layers above it (Nokland and Eidnes 2019,
    https://arxiv.org/abs/1901.06656; Belilovsky et al. 2019, https://arxiv.org/abs/1812.11446).

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: `config.credit`: `steps` and `ema` of the heads, see `estimator.learn`.
      tx: optimizer of the heads.

    Returns:
      The Credit; its state is an Estimator.
    """
    return _greedy(network, cfg, tx, _slopes)


def local_forward_gradient(network, cfg, tx) -> Credit:
    """Return local greedy losses whose gradients are forward gradients of activities.

    The credit is the mean over random directions v of the derivative of the layer's own loss along
    v, times v, so that not even a head is used backwards (LG-FG-A of Ren et al. 2023,
    https://arxiv.org/abs/2210.03310, with one loss per layer). The heads learn as in `local_loss`.

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: `config.credit`: additionally `directions` and `distribution`.
      tx: optimizer of the heads.

    Returns:
      The Credit; its state is an Estimator.
    """

    def perturbed(losses, h, key):
        v = directions(key, (cfg.directions, *h.shape), cfg.distribution)
        _, along = jax.linearize(losses, h)
        along_MxLxB = jax.vmap(along)(v)
        return (along_MxLxB.reshape(*along_MxLxB.shape, *[1] * (h.ndim - 2)) * v).mean(0)

    return _greedy(network, cfg, tx, perturbed)


def _slopes(losses, h, key):
    del key
    return jax.grad(lambda h: losses(h).sum())(h)


def _greedy(network, cfg, tx, slopes):
    """Make a credit from layers' own losses; `slopes(losses, h, key)` estimates their gradients."""
    width = network.shape[-1]

    def init(key):
        kernel = jax.random.normal(key, (network.depth + 1, width, network.outputs)) * width**-0.5
        bias = jnp.zeros((network.depth + 1, 1, network.outputs))
        return start({"kernel": kernel, "bias": bias}, (), tx)

    def assign(state: Estimator, seen, key):
        def losses(params, h):
            pooled_LxBxD = h.mean(tuple(range(2, h.ndim - 1)))
            outputs_LxBxC = pooled_LxBxD @ params["kernel"] + params["bias"]
            return jax.vmap(seen.cost)(outputs_LxBxC)

        def objective(params, key):
            del key
            return losses(params, seen.h).sum(0).mean()

        credits = slopes(lambda h: losses(state.slow, h), seen.h, key)
        new, scalars = learn(state, objective, tx, cfg, key)
        return credits.at[-1].set(seen.last), new, scalars

    return Credit(init, assign)
