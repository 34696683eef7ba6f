"""What the attention heads of a network of tokens do, on repeated random sequences."""

import jax
import jax.numpy as jnp

from tapjax.data.sequences import repeated_tokens
from tapjax.measure.interventions import HEADS, mean_activation
from tapjax.measure.unit_probe import named_activations

SEQUENCES = 64
RANDOM = 4  # sets of other heads
SEED = 0  # of the sequences, which are the same at every step


def measure(model, loss, state, data, key) -> dict:
    """Score every attention head.

    Question: which heads look at the token before, which look up what followed the present token
    earlier (induction heads, Olsson et al. 2022, https://arxiv.org/abs/2209.11895), and which of
    them does the network need?

    Args:
      model: network of tokens with `Model.capture`, a `types.Model`.
      loss: not used.
      state: TrainState of one seed.
      data: DeviceData, whose probe tells the length of the sequences.
      key: not used.

    Returns:
      One value per head, block after block [L * H], means over 64 sequences with periods of their
      own: `prefix_matching`, the attention to the tokens after earlier occurrences of the present
      one, from 0 to 1; `previous_token`, the attention to the token before, from 0 to 1; and
      `entropy` of the attention in nats. For a decoder of tapjax also `copying`, the share of
      tokens for which the head, where it attends to the token, raises the token's own logit more
      than any other (the OV circuit, Elhage et al. 2021,
      https://transformer-circuits.pub/2021/framework), from 0 to 1. Normalisation is left out
      there, and chance is 1 / number of tokens. `accuracy` is the share of repeated tokens that
      the network predicts; `accuracy_without [L * H]` is the same when the outputs of one head are
      replaced by their mean over sequences and positions, `accuracy_without_top [L * H]` when those
      of the 1, 2, ... heads with the highest prefix-matching scores are, and
      `accuracy_without_others [L * H]` when those of as many of the other heads are, mean over four
      random choices.

    Raises:
      ValueError: the data are not tokens, or too few for sequences without repeated tokens.
    """
    del loss, key
    if data.probe.x.ndim != 2:
        raise ValueError("the data are not tokens")
    vocab, length = _vocabulary(model, state, data), data.probe.x.shape[1]
    if vocab < length / 2:
        raise ValueError(f"{vocab} tokens are too few for sequences of {length}")
    tokens_BxQ, period_B = repeated_tokens(jax.random.key(SEED), SEQUENCES, vocab, length)
    x_BxQ = tokens_BxQ.astype(jnp.float32)
    captured = model.capture(state.params, state.stats, x_BxQ)
    blocks = [path for path in captured if path.endswith("probabilities")]
    if not blocks:
        raise ValueError("the network has no attention")
    blocks.sort(key=lambda path: [int(part) for part in path.split("_") if part.isdigit()])
    found = [head_scores(captured[path], period_B) for path in blocks]
    scores = {name: jnp.concatenate([each[name] for each in found]) for name in found[0]}
    heads = captured[blocks[0]].shape[1]
    owners = [path.removesuffix("/probabilities") for path in blocks]
    scores |= copying(state.params, owners, heads)
    side = (state.params, state.stats)
    return scores | _ablations(model, side, x_BxQ, period_B, scores["prefix_matching"])


def _ablations(model, side, x_BxQ, period_B, prefix_K):
    """Return the accuracy on repeated tokens, with all heads and without some of them."""
    if model.watch is None:
        return {}
    places_Q = jnp.arange(x_BxQ.shape[1] - 1)
    known_BxQ = places_Q[None] >= period_B[:, None]

    def accuracy(outputs_BxQxC):
        right_BxQ = outputs_BxQxC[:, :-1].argmax(-1) == x_BxQ[:, 1:]
        return (right_BxQ & known_BxQ).sum() / known_BxQ.sum()

    outputs = model.watch(*side, x_BxQ)[0]
    if outputs.ndim != 3:
        return {}
    silenced = make_silenced(model, side, x_BxQ)
    rank_K, count = (-prefix_K).argsort().argsort(), len(prefix_K)
    top_KxK = rank_K[None] <= jnp.arange(count)[:, None]
    sets = [jnp.eye(count, dtype=bool), top_KxK, _others(top_KxK).reshape(-1, count)]
    # One program for all sets, because compiling takes longer than running it.
    left = jax.lax.map(lambda mask_K: accuracy(silenced(mask_K)), jnp.concatenate(sets))
    one_K, top_K, others = jnp.split(left, [count, 2 * count])
    return {
        "accuracy": accuracy(outputs),
        "accuracy_without": one_K,
        "accuracy_without_top": top_K,
        "accuracy_without_others": others.reshape(count, RANDOM).mean(1),
    }


def _others(top_KxK):
    """Return for each k random sets of k heads [K, RANDOM, K] that are not among the top k.

    If there are not so many others, all of them are in the set.
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


def _vocabulary(model, state, data):
    outputs = jax.eval_shape(
        lambda x: model.apply(state.params, state.stats, x)[0], data.probe.x[:1]
    )
    return outputs.shape[-1]


def head_scores(attention_BxHxQxQ, period_B) -> dict:
    """Score the attention of the heads of a block, see `measure`.

    Args:
      attention_BxHxQxQ: attention from each position (third axis) to each other.
      period_B: number of tokens after which each sequence repeats itself.

    Returns:
      `prefix_matching`, `previous_token` and `entropy`, each [H].
    """
    length = attention_BxHxQxQ.shape[-1]
    here_Q = jnp.arange(length)
    seen = here_Q[None] >= period_B[:, None]
    distance_QxQ = here_Q[:, None] - here_Q[None] + 1  # from the position before the one looked at
    again_BxQxQ = distance_QxQ[None] % period_B[:, None, None] == 0
    after_BxQxQ = again_BxQxQ & ((distance_QxQ > 0) & (here_Q > 0)[None])[None]
    to_BxHxQ = (attention_BxHxQxQ * after_BxQxQ[:, None]).sum(-1)
    plogp = jax.scipy.special.entr(attention_BxHxQxQ).sum(-1)
    return {
        "prefix_matching": jnp.where(seen[:, None], to_BxHxQ, 0).sum((0, 2)) / seen.sum(),
        "previous_token": attention_BxHxQxQ[:, :, here_Q[1:], here_Q[:-1]].mean((0, 2)),
        "entropy": plogp.mean((0, 2)),
    }


def copying(params, owners: list[str], heads: int) -> dict:
    """Score how far heads copy the token that they attend to, see `measure`.

    Args:
      params: parameters of a decoder.
      owners: paths of its attention layers, `block_0/attention` and so on.
      heads: number of heads of a layer.

    Returns:
      `copying` [L * H]; empty for other networks.
    """
    if not {"embed", "head"} <= params.keys() or "kernel" not in params["embed"]:
        return {}
    embed_VxD, head_DxV = params["embed"]["kernel"], params["head"]["kernel"]
    width, found = embed_VxD.shape[1], []
    for owner in owners:
        block, _, name = owner.partition("/")
        layer = params[block][name]
        value_DxHxE = layer["value"]["kernel"].reshape(width, heads, -1)
        out_HxExD = layer["out"]["kernel"].reshape(heads, -1, width)
        for h in range(heads):
            table_VxV = embed_VxD @ value_DxHxE[:, h] @ out_HxExD[h] @ head_DxV
            found.append((table_VxV.argmax(1) == jnp.arange(len(table_VxV))).mean())
    return {"copying": jnp.stack(found)}
