"""Vision transformer with normalisation before each part of a block.

The architecture is that of Dosovitskiy et al. 2021 (https://arxiv.org/abs/2010.11929).
"""

import flax.linen as nn
import jax.numpy as jnp

from tapjax.models.layers import Linear, patches
from tapjax.models.style import ACTIVATIONS, Style, drop, normalise, watched

RATIO = 4  # width of a block's feed-forward part relative to the width of the model


class Attention(nn.Module):
    """Multi-head self-attention; its probabilities can be captured as `probabilities`."""

    heads: int
    style: Style

    @nn.compact
    def __call__(self, x_BxQxD, train: bool = False):
        b, q, d = x_BxQxD.shape
        shape = (b, q, self.heads, d // self.heads)
        query, key, value = (
            Linear(d, self.style.initializer, name=name)(x_BxQxD).reshape(shape)
            for name in ("query", "key", "value")
        )
        scores_BxHxQxK = jnp.einsum("bqhd,bkhd->bhqk", query, key) * shape[-1] ** -0.5
        probabilities = nn.softmax(scores_BxHxQxK)
        self.sow("intermediates", "probabilities", probabilities)
        probabilities = drop(self, self.style.dropout, probabilities, train)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", probabilities, value)
        return Linear(d, self.style.initializer, name="out")(mixed.reshape(b, q, d))


class Block(nn.Module):
    """Transformer block: x + attention(norm x), then x + feed-forward(norm x)."""

    heads: int
    style: Style

    @nn.compact
    def __call__(self, x, train: bool = False):
        style, d = self.style, x.shape[-1]
        normal = normalise(style, "norm_0", x, train)
        attended = Attention(self.heads, style, name="attention")(normal, train)
        x = x + drop(self, style.dropout, attended, train)
        z1 = Linear(RATIO * d, style.initializer, name="linear_0")(
            normalise(style, "norm_1", x, train)
        )
        h1 = watched(self, "linear_0", ACTIVATIONS[style.activation](z1))
        z2 = Linear(d, style.initializer, name="linear_1")(drop(self, style.dropout, h1, train))
        x = watched(self, "stream", x + drop(self, style.dropout, z2, train))
        return x, {"attention": attended, "linear_0": z1, "linear_1": z2}


class ViT(nn.Module):
    """Vision transformer: square patches, class token, learned positions, blocks and a linear head.

    The head reads the class token. An image that cannot be divided into whole patches is padded
    with zeros. The measured hidden layers are `embed` and, for each block, the output projection of
    the attention and both feed-forward maps, all [B, Q, D], followed by `head`.
    """

    depth: int
    width: int
    heads: int
    patch: int
    classes: int
    style: Style

    @nn.compact
    def __call__(self, x, train: bool = False):
        style, small = self.style, nn.initializers.truncated_normal(0.02)
        tokens = patches(x, self.patch).reshape(len(x), -1, self.patch**2 * x.shape[-1])
        embedded = Linear(self.width, style.initializer, name="embed")(tokens)
        start = self.param("class_token", small, (self.width,))
        start = jnp.broadcast_to(start, (len(x), 1, self.width))
        h = jnp.concatenate([start, embedded], 1)
        h = h + self.param("position", small, h.shape[1:])[None]
        h = drop(self, style.dropout, h, train)
        hidden = {"embed": embedded}
        for i in range(self.depth):
            h, inner = Block(self.heads, style, name=f"block_{i}")(h, train)
            hidden |= {f"block_{i}_{name}": z for name, z in inner.items()}
        h = normalise(style, "norm", h[:, 0], train)
        logits = Linear(self.classes, style.initializer, name="head")(h)
        return logits, hidden | {"head": logits}
