"""Post-norm transformer encoder over consecutive pieces of the input.

The blocks are those of Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762).
"""

import flax.linen as nn
import jax.numpy as jnp

from tapjax.contract.architectures import token_count
from tapjax.models.layers import Linear, dropout
from tapjax.models.style import watched

DROPOUT = 0.1


class Attention(nn.Module):
    """Multi-head self-attention; its probabilities can be captured as `probabilities`."""

    heads: int
    initializer: str

    @nn.compact
    def __call__(self, x_BxQxD, train: bool = False):
        b, q, d = x_BxQxD.shape
        shape = (b, q, self.heads, d // self.heads)
        query, key, value = (
            Linear(d, self.initializer, name=name)(x_BxQxD).reshape(shape)
            for name in ("query", "key", "value")
        )
        scores_BxHxQxK = jnp.einsum("bqhd,bkhd->bhqk", query, key) * shape[-1] ** -0.5
        probabilities = nn.softmax(scores_BxHxQxK)
        self.sow("intermediates", "probabilities", probabilities)
        rng = self.make_rng("dropout") if train else None
        mixed = jnp.einsum("bhqk,bkhd->bqhd", dropout(rng, probabilities, DROPOUT), value)
        return Linear(d, self.initializer, name="out")(mixed.reshape(b, q, d))


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
