"""Attention, and a post-norm transformer encoder over consecutive pieces of the input.

The blocks are those of Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762).
"""

import flax.linen as nn
import jax.numpy as jnp

from tapjax.contract.architectures import token_count
from tapjax.models.layers import Linear, dropout
from tapjax.models.style import watched, watched_heads

DROPOUT = 0.1


class Attention(nn.Module):
    """Multi-head self-attention; its probabilities can be captured as `probabilities`.

    With `causal`, a token attends to itself and to earlier tokens only. With `rotary`, queries and
    keys are rotated by their positions, see `rotated`.
    """

    heads: int
    initializer: str
    causal: bool = False
    rotary: bool = False
    dropout: float = DROPOUT

    @nn.compact
    def __call__(self, x_BxQxD, train: bool = False):
        b, q, d = x_BxQxD.shape
        shape = (b, q, self.heads, d // self.heads)
        query, key, value = (
            Linear(d, self.initializer, name=name)(x_BxQxD).reshape(shape)
            for name in ("query", "key", "value")
        )
        if self.rotary:
            query, key = rotated(query), rotated(key)
        scores_BxHxQxK = jnp.einsum("bqhd,bkhd->bhqk", query, key) * shape[-1] ** -0.5
        if self.causal:
            seen_QxK = jnp.tril(jnp.ones((q, q), bool))
            scores_BxHxQxK = jnp.where(seen_QxK[None, None], scores_BxHxQxK, -jnp.inf)
        probabilities = nn.softmax(scores_BxHxQxK)
        self.sow("intermediates", "probabilities", probabilities)
        rng = self.make_rng("dropout") if train else None
        mixed = jnp.einsum("bhqk,bkhd->bqhd", dropout(rng, probabilities, self.dropout), value)
        mixed = watched_heads(self, mixed)
        return Linear(d, self.initializer, name="out")(mixed.reshape(b, q, d))


def rotated(x_BxQxHxD, base: float = 10_000.0):
    """Rotate pairs of features by angles that are proportional to the position.

    The product of a rotated query and a rotated key depends on the distance of their positions
    (RoPE, Su et al. 2021, https://arxiv.org/abs/2104.09864). Feature i and feature i + D / 2 are a
    pair, which rotates by base^(-2 i / D) radians per position.

    Args:
      x_BxQxHxD: queries or keys of each head, with an even number of features.
      base: base of the angles.

    Returns:
      Array of the same shape.
    """
    half = x_BxQxHxD.shape[-1] // 2
    speed_D = base ** (-jnp.arange(half) / half)
    angle_QxD = jnp.arange(x_BxQxHxD.shape[1])[:, None] * speed_D[None]
    cos, sin = jnp.cos(angle_QxD)[None, :, None], jnp.sin(angle_QxD)[None, :, None]
    a, b = x_BxQxHxD[..., :half], x_BxQxHxD[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


class Block(nn.Module):
    """Attention and a ReLU feed-forward part, each normalised after the residual addition.

    The feed-forward part is four times as wide as the model.
    """

    heads: int
    initializer: str

    @nn.compact
    def __call__(self, x_BxQxD, train: bool = False):
        def drop(h):
            return dropout(self.make_rng("dropout") if train else None, h, DROPOUT)

        d = x_BxQxD.shape[-1]
        norm = {"epsilon": 1e-5}
        attended = Attention(self.heads, self.initializer, name="attention")(x_BxQxD, train)
        x = nn.LayerNorm(**norm, name="norm_0")(x_BxQxD + drop(attended))
        z1 = Linear(4 * d, self.initializer, name="linear_0")(x)
        h1 = watched(self, "linear_0", nn.relu(z1))
        z2 = Linear(d, self.initializer, name="linear_1")(drop(h1))
        x = nn.LayerNorm(**norm, name="norm_1")(x + drop(z2))
        return x, {"attention": attended, "linear_0": z1, "linear_1": z2}


class Transformer(nn.Module):
    """Encoder blocks over about 16 tokens, followed by the mean over tokens and a linear head.

    The flattened image is cut into consecutive pieces of equal length (pixels in raster order, not
    patches). Learned positions are added, which are initialised from N(0, 1). The measured hidden
    layers are `embed` and, for each block, the output projection of the attention and both
    feed-forward maps, all [B, Q, D], followed by `head`.
    """

    depth: int
    width: int
    heads: int
    classes: int
    initializer: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        tokens = token_count(x[0].size)
        embedded = Linear(self.width, self.initializer, name="embed")(x.reshape(len(x), tokens, -1))
        position = self.param("position", nn.initializers.normal(1.0), (tokens, self.width))
        hidden = {"embed": embedded}
        h = embedded + position[None]
        for i in range(self.depth):
            h, inner = Block(self.heads, self.initializer, name=f"block_{i}")(h, train)
            hidden |= {f"block_{i}_{name}": z for name, z in inner.items()}
        logits = Linear(self.classes, self.initializer, name="head")(h.mean(1))
        return logits, hidden | {"head": logits}
