"""Credits without learning: the oracle, random feedback, and the output's own gradient."""

import jax
import jax.numpy as jnp

from tapjax.credit.forward import true_credit
from tapjax.types import Credit


def backprop(network, cfg, tx) -> Credit:
    """The true gradient: what all others are measured against."""
    del network, cfg, tx
    return Credit(lambda key: (), lambda credit, seen, key: (true_credit(seen), credit, {}))


def direct_feedback(network, cfg, tx) -> Credit:
    """Direct feedback alignment: the output's error through a fixed random matrix for each layer.

    a_l = e B_l with B_l ~ N(0, 1) (Nokland 2016).
    """
    del cfg, tx
    size = int(jnp.prod(jnp.array(network.shape)))

    def init(key):
        return jax.random.normal(key, (network.depth + 1, network.outputs, size))

    def assign(credit, seen, key):
        del key
        a = jnp.einsum("bc,lcd->lbd", seen.error, credit)
        return a.reshape(seen.h.shape), credit, {}

    return Credit(init, assign)


def projection(network, cfg, tx) -> Credit:
    """The control: the gradient by the last hidden state, W_out^T e, copied to every layer."""
    del network, cfg, tx

    def assign(credit, seen, key):
        del key
        return jnp.broadcast_to(seen.last, seen.h.shape), credit, {}

    return Credit(lambda key: (), assign)


def warmup(first: Credit, second: Credit, steps: int) -> Credit:
    """The credits of one estimator for some steps, while the other one already learns.

    Args:
      first: for the first steps.
      second: from then on.
      steps: how many.

    Returns:
      A Credit.
    """

    def init(key):
        first_key, second_key = jax.random.split(key)
        return jnp.int32(0), first.init(first_key), second.init(second_key)

    def assign(credit, seen, key):
        step, one, other = credit
        early, one, _ = first.assign(one, seen, key)
        late, other, scalars = second.assign(other, seen, key)
        return jnp.where(step < steps, early, late), (step + 1, one, other), scalars

    return Credit(init, assign)
