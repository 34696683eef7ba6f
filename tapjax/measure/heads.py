"""What the attention heads of a network of tokens do, on repeated random sequences."""

import re

import jax
import jax.numpy as jnp

from tapjax.data.sequences import repeated_tokens

SEQUENCES = 64
SEED = 0  # of the sequences, which are the same at every step


def measure(model, loss, state, data, key) -> dict:
    """Score every attention head.

    Question: which heads look at the token before, and which look up what followed the present
    token earlier (induction heads, Olsson et al. 2022, https://arxiv.org/abs/2209.11895)?

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
      there, and chance is 1 / number of tokens.

    Raises:
      ValueError: the data are not tokens, or too few for sequences without repeated tokens.
    """
    del loss, key
    x_BxQ, period_B = repeated(model, state, data)
    captured = model.capture(state.params, state.stats, x_BxQ) if model.capture else {}
    blocks = [path for path in captured if path.endswith("probabilities")]
    if not blocks:
        raise ValueError("the network has no attention")
    blocks.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", path)])
    found = [head_scores(captured[path], period_B) for path in blocks]
    scores = {name: jnp.concatenate([each[name] for each in found]) for name in found[0]}
    heads = captured[blocks[0]].shape[1]
    owners = [path.removesuffix("/probabilities") for path in blocks]
    return scores | copying(state.params, owners, heads)


def repeated(model, state, data):
    """Return sequences that the network has never seen as a whole, and their periods.

    Args:
      model: network of tokens.
      state: TrainState of one seed.
      data: DeviceData, whose probe tells the length of the sequences.

    Returns:
      (tokens [64, Q] as float32, periods [64]).

    Raises:
      ValueError: the data are not tokens, or too few for sequences without repeated tokens.
    """
    if data.probe.x.ndim != 2:
        raise ValueError("the data are not tokens")
    vocab, length = _vocabulary(model, state, data), data.probe.x.shape[1]
    if vocab < length / 2:
        raise ValueError(f"{vocab} tokens are too few for sequences of {length}")
    tokens_BxQ, period_B = repeated_tokens(jax.random.key(SEED), SEQUENCES, vocab, length)
    return tokens_BxQ.astype(jnp.float32), period_B


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
