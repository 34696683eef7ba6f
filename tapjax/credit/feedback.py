"""Credits that go back through the blocks by other matrices than the network's own.

The credit of h_l is the product of the transposed Jacobian of block l with the credit of h_{l+1},
as in backpropagation, but the matrices on the way back are those of a second set of parameters, the
feedback. The estimators differ in where the feedback comes from. All start from the known gradient
with respect to h_L.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.types import Credit


class Follower(NamedTuple):
    """State of the Kolen-Pollack rule: the feedback and the state of its optimizer."""

    feedback: Any
    opt: Any


def through(seen, feedback):
    """Compute the credits that go back through all blocks by the given matrices.

    Args:
      seen: view of the forward pass, from `forward.observe`.
      feedback: tree with the parameters of the blocks, `block_0` to `block_{L-1}`.

    Returns:
      [L+1, B, ...].
    """
    credits = [seen.last]
    for i in reversed(range(len(seen.h) - 1)):
        credits.append(seen.adjoint(i, feedback, credits[-1]))
    return jnp.stack(credits[::-1])


def _blocks(network, tree):
    return {f"block_{i}": tree[f"block_{i}"] for i in range(network.depth)}


def feedback_alignment(network, cfg, tx) -> Credit:
    """Return feedback alignment: fixed random matrices on the way back.

    They are drawn like the initial weights (Lillicrap et al. 2016,
    https://doi.org/10.1038/ncomms13276).

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: not used.
      tx: not used.

    Returns:
      The Credit; its state is the feedback.
    """
    del cfg, tx

    def init(key):
        return _blocks(network, network.init(key))

    return Credit(init, lambda state, seen, key: (through(seen, state), state, {}))


def kolen_pollack(network, cfg, tx) -> Credit:
    """Return the Kolen-Pollack rule: the feedback gets the same updates as the weights.

    Weights and feedback decay at the same rate, so that their difference vanishes (Kolen and
    Pollack 1994; Akrout et al. 2019, https://arxiv.org/abs/1904.05391, section 4.1). Without weight
    decay the difference stays as it is at the beginning.

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: not used.
      tx: the optimizer of the blocks, including its weight decay.

    Returns:
      The Credit; its state is a Follower.
    """
    del cfg

    def init(key):
        feedback = _blocks(network, network.init(key))
        return Follower(feedback, tx.init(feedback))

    def follow(state, grads):
        updates, opt = tx.update(_blocks(network, grads), state.opt, state.feedback)
        return Follower(optax.apply_updates(state.feedback, updates), opt)

    return Credit(init, lambda state, seen, key: (through(seen, state.feedback), state, {}), follow)


def weight_mirror(network, cfg, tx) -> Credit:
    """Return the weight mirror: the feedback is learned from responses of the layers to noise.

    Every matrix W gets noise x at its input. Its feedback B moves towards x^T (x W), whose mean is
    W: B <- B + r (x^T (x W) / n - B), with n rows of noise and the rate r (Akrout et al. 2019,
    https://arxiv.org/abs/1904.05391, equation 7 and weight decay).

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: `config.credit`: `lr` is the rate r, `directions` the number n of rows per step.
      tx: not used.

    Returns:
      The Credit; its state is the feedback.
    """
    del tx

    def init(key):
        return _blocks(network, network.init(key))

    def assign(state, seen, key):
        weights, tree = jax.tree.flatten(_blocks(network, seen.params))
        keys = jax.random.split(key, len(weights))
        moved = [
            b + cfg.lr * (_mirrored(w, k, cfg.directions) - b) if w.ndim == 2 else b
            for w, b, k in zip(weights, jax.tree.leaves(state), keys, strict=True)
        ]
        return through(seen, state), jax.tree.unflatten(tree, moved), {}

    return Credit(init, assign)


def _mirrored(w, key, rows):
    x = jax.random.normal(key, (rows, w.shape[0]))
    return x.T @ (x @ w) / rows


def sign_symmetry(network, cfg, tx) -> Credit:
    """Return sign symmetry: the feedback has the signs of the weights and one magnitude per matrix.

    The magnitude is the root mean square of the weights (Liao et al. 2016,
    https://arxiv.org/abs/1510.05067; Xiao et al. 2018, https://arxiv.org/abs/1811.03567; Moskovitz
    et al. 2018, https://arxiv.org/abs/1812.06488). The signs are copied from the weights, so that a
    part of the weights is transported.

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: not used.
      tx: not used.

    Returns:
      The Credit; its state is empty.
    """
    del cfg, tx

    def assign(state, seen, key):
        del key
        signs = jax.tree.map(
            lambda w: jnp.sign(w) * jnp.sqrt(jnp.square(w).mean()), _blocks(network, seen.params)
        )
        return through(seen, signs), state, {}

    return Credit(lambda key: (), assign)
