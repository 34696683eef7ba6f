"""Which attention heads a network of tokens needs for continuing repeated sequences."""

import jax
import jax.numpy as jnp

from tapjax.measure import heads
from tapjax.measure.interventions import HEADS, mean_activation
from tapjax.measure.unit_probe import named_activations

RANDOM = 4  # sets of other heads
SEED = 0  # of these sets


def measure(model, loss, state, data, key) -> dict:
    """Measure the accuracy on repeated tokens without some of the attention heads.

    Question: does the network need its induction heads, and no others (Olsson et al. 2022,
    https://arxiv.org/abs/2209.11895)? The outputs of a removed head are replaced by their mean over
    sequences and positions.

    Args:
      model: network of tokens with `Model.capture` and `Model.watch`.
      loss: not used.
      state: TrainState of one seed.
      data: DeviceData, whose probe tells the length of the sequences.
      key: not used.

    Returns:
      `accuracy`, the share of repeated tokens that the network predicts, on the sequences of the
      measure `heads`; `without [L * H]`, the same without one head; `without_top [L * H]`, without
      the 1, 2, ... heads with the highest prefix-matching scores; and `without_others [L * H]`,
      without as many of the other heads, mean over four random choices.

    Raises:
      ValueError: the network has no heads that can be replaced, or not a target at every position;
        or the data are not tokens.
    """
    if model.watch is None:
        raise ValueError("the activations of the network cannot be replaced")
    scores_K = heads.measure(model, loss, state, data, key)["prefix_matching"]
    x_BxQ, period_B = heads.repeated(model, state, data)
    side = (state.params, state.stats)
    known_BxQ = jnp.arange(x_BxQ.shape[1] - 1)[None] >= period_B[:, None]
    silenced = make_silenced(model, side, x_BxQ)

    def accuracy(mask_K):
        outputs_BxQxC = silenced(mask_K)
        if outputs_BxQxC.ndim != 3:
            raise ValueError("the network has no output at every position")
        right_BxQ = outputs_BxQxC[:, :-1].argmax(-1) == x_BxQ[:, 1:]
        return (right_BxQ & known_BxQ).sum() / known_BxQ.sum()

    rank_K, count = (-scores_K).argsort().argsort(), len(scores_K)
    top_KxK = rank_K[None] <= jnp.arange(count)[:, None]
    none, one_KxK = jnp.zeros((1, count), bool), jnp.eye(count, dtype=bool)
    sets = jnp.concatenate([none, one_KxK, top_KxK, _others(top_KxK).reshape(-1, count)])
    # One program for all sets, because compiling takes longer than running it.
    whole, one_K, top_K, others = jnp.split(
        jax.lax.map(accuracy, sets), [1, 1 + count, 1 + 2 * count]
    )
    return {
        "accuracy": whole[0],
        "without": one_K,
        "without_top": top_K,
        "without_others": others.reshape(count, RANDOM).mean(1),
    }


def _others(top_KxK):
    """Return for each k random sets of k heads [K, RANDOM, K] that are not among the top k.

    If fewer than k other heads exist, the set contains all of them.
    """
    random_RxK = jax.random.uniform(jax.random.key(SEED), (RANDOM, len(top_KxK)))
    order_KxRxK = jnp.where(top_KxK[:, None], 2.0, random_RxK[None]).argsort(2).argsort(2)
    chosen = order_KxRxK < 1 + jnp.arange(len(top_KxK))[:, None, None]
    return chosen & ~top_KxK[:, None]


def make_silenced(model, side, x):
    """Make a function that replaces the outputs of attention heads by their means.

    Args:
      model: network with `Model.watch`.
      side: (parameters, other variables).
      x: inputs.

    Returns:
      `silenced(mask [L * H]) -> outputs` of the network. The means are those of the network with
      all heads, over inputs and positions.
    """
    activations = model.watch(*side, x)[1]
    leaves, tree = jax.tree.flatten(activations)
    numbers = named_activations(jax.tree.unflatten(tree, range(len(leaves))), heads=True)
    places = [(name, i) for name, i in numbers if name.endswith(HEADS)]

    def silenced(mask_K):
        shifts, first = [jnp.zeros_like(leaf) for leaf in leaves], 0
        for name, i in places:
            # The heads of this layer see what the silenced heads of earlier ones leave.
            now = jax.tree.leaves(model.watch(*side, x, jax.tree.unflatten(tree, shifts))[1])[i]
            heads = now.shape[-2]
            mask_H = mask_K[first : first + heads]
            change = mean_activation(name, leaves[i]) - now
            shifts[i] = jnp.where(mask_H[:, None], change, 0.0)
            first += heads
        return model.watch(*side, x, jax.tree.unflatten(tree, shifts))[0]

    return silenced
