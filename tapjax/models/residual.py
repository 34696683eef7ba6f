"""Networks in blocks: a residual MLP, and linear dynamics with a quadratic cost."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tapjax.losses import cross_entropy
from tapjax.models.layers import Linear
from tapjax.types import Layered, Model


def phi(alpha: float):
    """From the identity (alpha 0) to tanh (1): (1 - alpha) z + alpha tanh(z)."""
    return lambda z: (1 - alpha) * z + alpha * jnp.tanh(z)


class Block(nn.Module):
    """F(h) = phi(LN(h) W_1 + b_1) W_2 + b_2 with the normalisation's own parameters left out.

    W_1 has variance 1 / width, W_2 that times the square of `scale`.
    """

    activation: str
    alpha: float
    scale: float

    @nn.compact
    def __call__(self, h):
        width = h.shape[-1]
        z = Linear(width, name="linear_0")(layer_norm(h))
        z = nn.gelu(z) if self.activation == "gelu" else phi(self.alpha)(z)
        kernel = self.param(
            "kernel", nn.initializers.normal(self.scale * width**-0.5), (width,) * 2
        )
        return z @ kernel + self.param("bias", nn.initializers.zeros_init(), (width,))[None]


def layer_norm(h):
    """Zero mean and unit variance over the last axis."""
    centred = h - h.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)


def residual_mlp(cfg, depth: int, width: int, inputs: int, classes: int) -> tuple[Model, Layered]:
    """The residual MLP of the credit experiments: pre-LayerNorm blocks and a bare linear head.

    Args:
      cfg: `config.model`: `activation` (`gelu` or `tanh`), `alpha`, `skip`, `block_scale`, `embed`.
      depth: blocks L.
      width: of every hidden state.
      inputs: values of one example; without an embedding they are h_0.
      classes: outputs.

    Returns:
      (Model, Layered); the layers measured are h_0, ..., h_L and the head.
    """
    block, linear, head = (
        Block(cfg.activation, cfg.alpha, cfg.block_scale),
        Linear(width),
        Linear(classes),
    )
    example, hidden = jnp.zeros((1, inputs)), jnp.zeros((1, width))

    def init(key):
        keys = jax.random.split(key, depth + 2)
        params = {f"block_{i}": block.init(keys[i], hidden)["params"] for i in range(depth)}
        params["head"] = head.init(keys[depth], hidden)["params"]
        if cfg.embed:
            params["embed"] = linear.init(keys[depth + 1], example)["params"]
        return params, {}

    def embed(params, x):
        flat = x.reshape(len(x), -1)
        return linear.apply({"params": params["embed"]}, flat) if cfg.embed else flat

    def step(params, i, h, key):
        del key
        return cfg.skip * h + block.apply({"params": params[f"block_{i}"]}, h)

    def output(params, h):
        return head.apply({"params": params["head"]}, h)

    def loss(logits, batch):
        return cross_entropy(logits, batch.y)

    layered = Layered(depth, cfg.skip, (width,), classes, embed, step, output, loss)
    return as_model(layered, init), layered


def linear_dynamics(cfg, depth: int, width: int) -> tuple[Model, Layered]:
    """Control of a linear system with a quadratic cost: h_{l+1} = h_l + A_l h_l + noise.

    Nothing is trained in it. An example is (h_0, y); the cost is |h_L - y|^2 / 2 and its gradient
    the costate p_L = h_L - y, p_l = (I + A_l)^T p_{l+1}.

    Args:
      cfg: `config.model`: `block_scale` (of A_l, whose entries have the variance of that squared
        over the width), `noise` (standard deviation of each step), `constant` (one A for all).
      depth: steps L.
      width: of the state.

    Returns:
      (Model, Layered).
    """

    def init(key):
        def draw(i):
            return jax.random.normal(jax.random.fold_in(key, i), (width, width))

        scale = cfg.block_scale * width**-0.5
        matrices = {f"block_{i}": scale * draw(0 if cfg.constant else i) for i in range(depth)}
        return matrices, {}

    def step(params, i, h, key):
        noise = cfg.noise * jax.random.normal(jax.random.fold_in(key, i), h.shape)
        return h + h @ params[f"block_{i}"].T + noise

    def cost(h, batch):
        return 0.5 * jnp.square(h - batch.x[:, 1, :, 0]).sum(-1)

    def start(params, x):
        del params
        return x[:, 0, :, 0]

    layered = Layered(depth, 1.0, (width,), width, start, step, lambda params, h: h, cost)
    return as_model(layered, init), layered


def as_model(layered: Layered, init) -> Model:
    """The Model that measures and evaluates a network in blocks."""
    names = ("embed", *(f"block_{i}" for i in range(layered.depth)), "head")

    def apply(params, stats, x, key=None):
        key = jax.random.key(0) if key is None else key
        h = layered.embed(params, x)
        hidden = [h]
        for i in range(layered.depth):
            h = layered.block(params, i, h, key)
            hidden.append(h)
        output = layered.output(params, h)
        return output, (*hidden, output), stats

    return Model(init, apply, names)
