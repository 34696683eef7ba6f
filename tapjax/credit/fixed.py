"""Credits without learning: backpropagation, direct feedback alignment, and a copied gradient.

The module also has `warmup`, which combines two estimators.
"""

import math

import jax
import jax.numpy as jnp

from tapjax.credit.forward import true_credit
from tapjax.types import Credit


def backprop(network, cfg, tx) -> Credit:
    """Return the oracle: the true gradient, which all other credits are compared with.

    Args:
      network: not used.
      cfg: not used.
      tx: not used.

    Returns:
      The Credit.
    """
    del network, cfg, tx
    return Credit(lambda key: (), lambda credit, seen, key: (true_credit(seen), credit, {}))


def direct_feedback(network, cfg, tx) -> Credit:
    """Return direct feedback alignment: a fixed random matrix per layer maps the error to credits.

    The credit is a_l = e B_l, where e is the error at the output and the entries of B_l are drawn
    from N(0, 1) (Nokland 2016, https://arxiv.org/abs/1609.01596).

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: not used.
      tx: not used.

    Returns:
      The Credit; its state holds the matrices [L+1, C, D].
    """
    del cfg, tx
    size = math.prod(network.shape)

    def init(key):
        return jax.random.normal(key, (network.depth + 1, network.outputs, size))

    def assign(credit, seen, key):
        del key
        return _projected(seen.error, credit, seen), credit, {}

    return Credit(init, assign)


def _projected(values_BxC, matrices_LxCxD, seen):
    """Multiply one vector per example with one matrix per layer."""
    return jnp.einsum("bc,lcd->lbd", values_BxC, matrices_LxCxD).reshape(seen.h.shape)


def direct_target(network, cfg, tx) -> Credit:
    """Return direct random target projection: a fixed random matrix per layer maps the label.

    The credit is a_l = -y B_l, where y is the one-hot label and the entries of B_l are drawn from
    N(0, 1), so that blocks need not wait for the output (Frenkel et al. 2021,
    https://arxiv.org/abs/1909.01311, equation 4).

    Args:
      network: BlockNetwork whose hidden states get credits.
      cfg: not used.
      tx: not used.

    Returns:
      The Credit; its state holds the matrices [L+1, C, D].
    """

    def assign(credit, seen, key):
        del key
        return _projected(-seen.label, credit, seen), credit, {}

    return Credit(direct_feedback(network, cfg, tx).init, assign)


def projection(network, cfg, tx) -> Credit:
    """Return a control: the gradient with respect to the last hidden state, copied to every layer.

    For a linear head this gradient is W_out^T e, with the error e at the output.

    Args:
      network: not used.
      cfg: not used.
      tx: not used.

    Returns:
      The Credit.
    """
    del network, cfg, tx

    def assign(credit, seen, key):
        del key
        return jnp.broadcast_to(seen.last, seen.h.shape), credit, {}

    return Credit(lambda key: (), assign)


def warmup(first: Credit, second: Credit, steps: int) -> Credit:
    """Use the credits of one estimator for the first steps, while another one already learns.

    Args:
      first: estimator whose credits are used in the first steps.
      second: estimator whose credits are used afterwards; it learns from the first step on.
      steps: number of steps for which the first estimator is used.

    Returns:
      A Credit; its scalars are those of the second estimator.
    """

    def init(key):
        first_key, second_key = jax.random.split(key)
        return jnp.int32(0), first.init(first_key), second.init(second_key)

    def assign(credit, seen, key):
        step, one, other = credit
        early, one, _ = first.assign(one, seen, key)
        late, other, scalars = second.assign(other, seen, key)
        return jnp.where(step < steps, early, late), (step + 1, one, other), scalars

    def follow(credit, grads):
        step, one, other = credit
        return step, one, second.follow(other, grads)

    return Credit(init, assign, follow if second.follow else None)
