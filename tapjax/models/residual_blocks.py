"""Blocks of residual networks, whose derivatives can be taken with other matrices backwards."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tapjax.models.layers import Linear

EXPANSION = 2  # hidden units of an attention block's feed-forward part, per feature


def phi(alpha: float):
    """Make an activation function between the identity and tanh.

    Args:
      alpha: share of tanh; 0 gives the identity and 1 gives tanh.

    Returns:
      The function z -> (1 - alpha) z + alpha tanh(z).
    """
    return lambda z: (1 - alpha) * z + alpha * jnp.tanh(z)


class Block(nn.Module):
    """Residual branch F(h) = phi(LN(h) W_1 + b_1) W_2 + b_2, whose layer norm LN has no parameters.

    The entries of W_1 have variance 1 / inputs; those of W_2 have this variance times the square of
    `scale`. With `spatial`, each product is a 3 x 3 convolution of `h [B, H, W, C]`. With
    activation `gelu`, phi is replaced by GELU.
    """

    activation: str
    alpha: float
    scale: float
    spatial: bool = False

    @nn.compact
    def __call__(self, h):
        width = h.shape[-1]
        z = Linear(width, name="linear_0")(self.gather(layer_norm(h)))
        z = self.gather(self.phi(z))
        normal = nn.initializers.normal(self.scale * z.shape[-1] ** -0.5)
        kernel = self.param("kernel", normal, (z.shape[-1], width))
        bias = self.param("bias", nn.initializers.zeros_init(), (width,))
        return (z.reshape(-1, z.shape[-1]) @ kernel + bias[None]).reshape(h.shape)

    def gather(self, z):
        """Return the inputs of a product with a matrix: `z`, or `neighbours` of z."""
        return neighbours(z) if self.spatial else z

    def phi(self, z):
        """Apply the activation function."""
        return nn.gelu(z) if self.activation == "gelu" else phi(self.alpha)(z)

    def adjoint(self, own, feedback, h, a):
        """Compute the transposed Jacobian of F at `h` times `a`, with other matrices backwards.

        Args:
          own: parameters of the block, which determine the derivative of the activation function.
          feedback: parameters whose matrices replace W_1 and W_2 on the way back.
          h: input of the block [B, ...].
          a: array of the shape of `h`.

        Returns:
          An array of the shape of `h`.
        """
        first, back = own["linear_0"], feedback["linear_0"]["kernel"]
        bias = first["bias"].reshape(*[1] * (h.ndim - 1), -1)
        z = self.gather(layer_norm(h)) @ first["kernel"] + bias
        (a,) = jax.linear_transpose(lambda y: self.gather(y) @ feedback["kernel"], z)(a)
        (a,) = jax.vjp(self.phi, z)[1](a)
        return jax.vjp(lambda h: self.gather(layer_norm(h)) @ back, h)[1](a)[0]


class AttentionBlock(NamedTuple):
    """Residual branch F(h) = attention(LN h) + feed-forward(LN h) of tokens `h [B, Q, D]`.

    Both parts read the same layer norm LN, which has no parameters, so that the block is a single
    residual step. The entries of the matrices that write to the residual stream have the variance
    `scale`^2 / inputs, the others 1 / inputs. The other fields are those of `Block`.
    """

    heads: int
    activation: str
    alpha: float
    scale: float

    def init(self, key, h):
        """Draw the parameters; `h [B, Q, D]` gives the width D."""
        width = h.shape[-1]
        hidden = EXPANSION * width
        shapes = {name: (width, width, 1.0) for name in ("query", "key", "value")}
        shapes |= {"output": (width, width, self.scale), "first": (width, hidden, 1.0)}
        shapes |= {"second": (hidden, width, self.scale)}
        params = {
            name: {
                "kernel": scale * inputs**-0.5 * jax.random.normal(own, (inputs, outputs)),
                "bias": jnp.zeros(outputs),
            }
            for own, (name, (inputs, outputs, scale)) in zip(
                jax.random.split(key, len(shapes)), shapes.items(), strict=True
            )
        }
        return {"params": params}

    def apply(self, variables, h):
        """Compute F(h)."""
        own = variables["params"]
        return self._run(own, h, lambda x, name: x @ own[name]["kernel"])

    def adjoint(self, own, feedback, h, a):
        """Compute the transposed Jacobian of F at `h` times `a`, see `Block.adjoint`.

        Attention probabilities and the derivative of the activation function are those of the
        forward pass.
        """

        def product(x, name):
            forward, back = x @ own[name]["kernel"], x @ feedback[name]["kernel"]
            return back + jax.lax.stop_gradient(forward - back)

        return jax.vjp(lambda h: self._run(own, h, product), h)[1](a)[0]

    def _run(self, own, h, product):
        b, q, d = h.shape

        def affine(x, name):
            return product(x, name) + own[name]["bias"][None]

        x = layer_norm(h).reshape(b * q, d)
        query, key, value = (
            affine(x, name).reshape(b, q, self.heads, d // self.heads)
            for name in ("query", "key", "value")
        )
        scores_BxHxQxK = jnp.einsum("bqhd,bkhd->bhqk", query, key) * (d // self.heads) ** -0.5
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores_BxHxQxK), value)
        z = affine(x, "first")
        z = nn.gelu(z) if self.activation == "gelu" else phi(self.alpha)(z)
        added = affine(mixed.reshape(b * q, d), "output") + affine(z, "second")
        return added.reshape(b, q, d)


def surroundings(shape):
    """Return how a linear map of a hidden state sees its positions.

    Args:
      shape: shape of the hidden state of one example: [D], tokens [Q, D], or an image [H, W, D].

    Returns:
      (gather, n): `gather(h) -> [..., n D]` collects for each position the features of the n
      positions that it depends on: of itself, of all tokens, or of its eight neighbours and itself.
    """
    if len(shape) == 1:
        return lambda h: h, 1
    if len(shape) == 2:
        return tokens_from_each, shape[0]
    return neighbours, 9


def tokens_from_each(h_BxQxD):
    """Concatenate for each token the features of all tokens, itself first, [B, Q, Q D]."""
    return jnp.concatenate([jnp.roll(h_BxQxD, -i, 1) for i in range(h_BxQxD.shape[1])], -1)


def neighbours(h_BxHxWxC):
    """Concatenate the channels of each position with those of its eight neighbours, [B, H, W, 9 C].

    A convolution becomes a matrix product of the result. This product has a forward-mode derivative
    on every platform.
    """
    _, height, width, _ = h_BxHxWxC.shape
    padded = jnp.pad(h_BxHxWxC, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, -1)


def layer_norm(h):
    """Normalise to zero mean and unit variance over the last axis."""
    centred = h - h.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
