"""Difference target propagation: targets go back through learned inverses of the blocks."""

import jax
import jax.numpy as jnp

from tapjax.credit.estimator import learn, start
from tapjax.models.perceptron import Perceptron
from tapjax.models.residual_blocks import surroundings
from tapjax.types import Credit

STEP = 0.1  # distance of the last target from h_L, as a share of the size of h_L
NOISE = 0.1  # standard deviation of the noise at which inverses are learned, as a share of h


def target_propagation(network, cfg, tx) -> Credit:
    """Return difference target propagation: the credit is the distance from a layer's target.

    The target of h_L is h_L - s g_L, a step against the known gradient. That of h_l is
    t_l = h_l + g(t_{l+1}) - g(h_{l+1}), where g is the learned inverse of block l. The credit is
    (h_l - t_l) / s. Each inverse learns to restore the block's input, with noise added to it, from
    the block's output (Lee et al. 2015, https://arxiv.org/abs/1412.7525, equations 15 and 16; for
    its relation to Gauss-Newton steps, see Meulemans et al. 2020,
    https://arxiv.org/abs/2006.14331).

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: `config.credit`: `width` of the inverses, and `steps` and `ema`, see `estimator.learn`.
      tx: optimizer of the inverses.

    Returns:
      The Credit; its state is an Estimator.
    """
    net = Perceptron(cfg.width, network.shape[-1])
    gather, _ = surroundings(network.shape)

    def init(key):
        example = gather(jnp.zeros((1, *network.shape)))
        keys = jax.random.split(key, network.depth)
        return start(jax.vmap(lambda k: net.init(k, example)["params"])(keys), (), tx)

    def inverse(params, h, scale):
        restored = net.apply({"params": params}, gather(h / scale))
        return network.skip * h + scale * restored

    def assign(state, seen, key):
        scale_L = _size(seen.h[1:], 1)  # of all examples, so that the size of a target is seen

        def objective(params, key):
            h = seen.h[:-1]
            noisy = h + NOISE * _size(h, 2) * jax.random.normal(key, h.shape)
            reached = jnp.stack([seen.block(i, noisy[i]) for i in range(network.depth)])
            missed = (jax.vmap(inverse)(params, reached, scale_L) - noisy) / _size(h, 2)
            return jnp.square(missed).mean()

        step = STEP * _size(seen.h[-1], 1) / _size(seen.last, 1)
        targets = [seen.h[-1] - step * seen.last]
        for i in reversed(range(network.depth)):
            own = jax.tree.map(lambda leaf, i=i: leaf[i], state.slow)
            moved = inverse(own, targets[-1], scale_L[i]) - inverse(own, seen.h[i + 1], scale_L[i])
            targets.append(seen.h[i] + moved)
        new, scalars = learn(state, objective, tx, cfg, key)
        credits = (seen.h - jnp.stack(targets[::-1])) / step[None]
        return credits.at[-1].set(seen.last), new, scalars

    return Credit(init, assign)


def _size(h, leading: int):
    """Return the root mean square over all but the `leading` axes, at least 1e-12."""
    squares = jnp.square(h).mean(tuple(range(leading, h.ndim)), keepdims=True)
    return jnp.maximum(jnp.sqrt(squares), 1e-12)
