"""Decoder-only transformer for sequences of tokens or of vectors."""

import flax.linen as nn
import jax.numpy as jnp

from tapjax.contract.architectures import Architecture
from tapjax.models.layers import Linear, initializers
from tapjax.models.style import ACTIVATIONS, Style, drop, watched
from tapjax.models.transformer import Attention

POSITION_SCALE = 0.02  # standard deviation of learned positions at initialisation, as in GPT-2
EPSILON = 1e-5


class Embedding(nn.Module):
    """Vector per token, by a matrix product, whose gradient has the same bits on every device."""

    vocabulary: int
    width: int
    initializer: str

    @nn.compact
    def __call__(self, tokens_BxQ):
        kernel_init, _ = initializers(self.initializer, self.width)
        kernel = self.param("kernel", kernel_init, (self.vocabulary, self.width))
        one_hot = tokens_BxQ.astype(jnp.int32)[..., None] == jnp.arange(self.vocabulary)[None, None]
        return one_hot.astype(kernel.dtype) @ kernel


class Block(nn.Module):
    """Causal attention and, unless `arch.mlp` is 0, a feed-forward part, with skip connections.

    With `arch.norm` of `pre`, the input of each part is normalised.
    """

    arch: Architecture
    style: Style

    @nn.compact
    def __call__(self, x_BxQxD, train: bool = False):
        arch, style, d = self.arch, self.style, x_BxQxD.shape[-1]
        rotary = arch.positions == "rotary"
        attention = Attention(
            arch.heads, style.initializer, True, rotary, style.dropout, name="attention"
        )
        attended = attention(_normed(arch, "norm_0", x_BxQxD), train)
        x = x_BxQxD + drop(self, style.dropout, attended, train)
        if not arch.mlp:
            return x
        z = Linear(arch.mlp * d, style.initializer, name="linear_0")(_normed(arch, "norm_1", x))
        h = watched(self, "linear_0", ACTIVATIONS[style.activation](z))
        added = Linear(d, style.initializer, name="linear_1")(h)
        return x + drop(self, style.dropout, added, train)


def _normed(arch, name, x):
    return nn.LayerNorm(epsilon=EPSILON, name=name)(x) if arch.norm == "pre" else x


class Decoder(nn.Module):
    """Decoder-only transformer (Radford et al. 2019), which predicts at every position or at one.

    Its inputs are tokens [B, Q], whole numbers below `classes`; or vectors, the rows of
    [B, Q, ...], which are embedded by an affine map. The measured hidden layers are `embed` and the
    residual stream after each block, all [B, Q, D], followed by `head`.

    Args:
      arch: Architecture of the family decoder.
      classes: number of outputs C.
      style: activation, dropout and initialisation.
      every_position: whether to return outputs at every position, [B, Q, C], instead of those at
        the last position, [B, C].
    """

    arch: Architecture
    classes: int
    style: Style
    every_position: bool

    @nn.compact
    def __call__(self, x, train: bool = False):
        arch, style, width = self.arch, self.style, self.arch.widths[0]
        if x.ndim == 2:
            embedded = Embedding(self.classes, width, style.initializer, name="embed")(x)
        else:
            rows_BxQxE = x.reshape(*x.shape[:2], -1)
            embedded = Linear(width, style.initializer, name="embed")(rows_BxQxE)
        h, hidden = embedded, {"embed": embedded}
        if arch.positions == "learned":
            shape = (x.shape[1], width)
            h = h + self.param("position", nn.initializers.normal(POSITION_SCALE), shape)[None]
        for i in range(len(arch.widths)):
            h = hidden[f"block_{i}"] = Block(arch, style, name=f"block_{i}")(h, train)
        if not self.every_position:
            h = h[:, -1]
        outputs = Linear(self.classes, style.initializer, name="head")(_normed(arch, "norm", h))
        return outputs, hidden | {"head": outputs}
