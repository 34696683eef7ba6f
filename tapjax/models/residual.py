"""Networks in blocks: residual, of matrices or convolutions; and linear dynamics with a quadratic
cost."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from tapjax.config.schema import ConfigError
from tapjax.models.layers import Linear, patches
from tapjax.step.losses import cross_entropy
from tapjax.types import BlockNetwork, Model


def phi(alpha: float):
    """From the identity (alpha 0) to tanh (1): (1 - alpha) z + alpha tanh(z)."""
    return lambda z: (1 - alpha) * z + alpha * jnp.tanh(z)


PATCH = 4  # pixels along a side of what a convolutional network embeds at once


class Block(nn.Module):
    """F(h) = phi(LN(h) W_1 + b_1) W_2 + b_2 with the normalisation's own parameters left out.

    W_1 has variance 1 / inputs, W_2 that times the square of `scale`. `spatial` makes each
    product a 3 x 3 convolution of `h [B, H, W, C]`.
    """

    activation: str
    alpha: float
    scale: float
    spatial: bool = False

    @nn.compact
    def __call__(self, h):
        width, gather = h.shape[-1], neighbours if self.spatial else lambda z: z
        z = Linear(width, name="linear_0")(gather(layer_norm(h)))
        z = gather(nn.gelu(z) if self.activation == "gelu" else phi(self.alpha)(z))
        normal = nn.initializers.normal(self.scale * z.shape[-1] ** -0.5)
        kernel = self.param("kernel", normal, (z.shape[-1], width))
        bias = self.param("bias", nn.initializers.zeros_init(), (width,))
        return (z.reshape(-1, z.shape[-1]) @ kernel + bias[None]).reshape(h.shape)


def neighbours(h_BxHxWxC):
    """Each place with the eight around it, [B, H, W, 9 C]: a convolution as a matrix product,
    which has a forward-mode derivative on every platform."""
    _, height, width, _ = h_BxHxWxC.shape
    padded = jnp.pad(h_BxHxWxC, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, -1)


def layer_norm(h):
    """Zero mean and unit variance over the last axis."""
    centred = h - h.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)


def residual_mlp(
    cfg, depth: int, width: int, inputs: int, classes: int
) -> tuple[Model, BlockNetwork]:
    """The residual MLP of the credit experiments: pre-LayerNorm blocks and a bare linear head.

    Args:
      cfg: `config.blocks`.
      depth: blocks L.
      width: of every hidden state.
      inputs: values of one example; without an embedding they are h_0.
      classes: outputs.

    Returns:
      (Model, BlockNetwork); the layers measured are h_0, ..., h_L and the head.

    Raises:
      ConfigError: no embedding, and inputs of another width.
    """
    if not cfg.embed and inputs != width:
        raise ConfigError(
            f"blocks.embed=False needs inputs as wide as the network: {inputs} values an example "
            f"for width={width} in model.name"
        )
    block = Block(cfg.activation, cfg.alpha, cfg.block_scale)
    return _residual(
        cfg,
        depth,
        block,
        (width,),
        (inputs,),
        classes,
        lambda x: x.reshape(len(x), -1),
        lambda h: h,
    )


def residual_conv(cfg, depth: int, width: int, shape, classes: int) -> tuple[Model, BlockNetwork]:
    """The same with convolutional blocks over patches of the image, their mean before the head.

    Args:
      cfg: `config.blocks`.
      depth: blocks L.
      width: channels of every hidden state.
      shape: height, width and channels of one image.
      classes: outputs.

    Returns:
      (Model, BlockNetwork).

    Raises:
      ConfigError: images that do not fall into patches.
    """
    height, breadth, channels = shape
    if height % PATCH or breadth % PATCH:
        raise ConfigError(
            f"model.name: residual_conv needs images of a multiple of {PATCH} pixels along each "
            f"side, not {height}x{breadth}"
        )
    block = Block(cfg.activation, cfg.alpha, cfg.block_scale, spatial=True)
    places = (height // PATCH, breadth // PATCH)
    cut = (*places, PATCH**2 * channels)
    return _residual(
        cfg,
        depth,
        block,
        (*places, width),
        cut,
        classes,
        partial(patches, size=PATCH),
        lambda h: h.mean((1, 2)),
    )


def _residual(cfg, depth, block, hidden, inputs, classes, arrange, pool):
    """Blocks of one kind between an embedding of arranged inputs and a head on pooled states."""
    linear, head = Linear(hidden[-1]), Linear(classes)

    def init(key):
        keys = jax.random.split(key, depth + 2)
        h = jnp.zeros((1, *hidden))
        params = {f"block_{i}": block.init(keys[i], h)["params"] for i in range(depth)}
        params["head"] = head.init(keys[depth], pool(h))["params"]
        if cfg.embed:
            params["embed"] = linear.init(keys[depth + 1], jnp.zeros((1, *inputs)))["params"]
        return params, {}

    def embed(params, x):
        x = arrange(x)
        return linear.apply({"params": params["embed"]}, x) if cfg.embed else x

    def step(params, i, h, key):
        del key
        return cfg.skip * h + block.apply({"params": params[f"block_{i}"]}, h)

    def output(params, h):
        return head.apply({"params": params["head"]}, pool(h))

    def loss(logits, batch):
        return cross_entropy(logits, batch.y)

    network = BlockNetwork(depth, cfg.skip, hidden, classes, embed, step, output, loss)
    return as_model(network, init), network


def linear_dynamics(cfg, depth: int, width: int) -> tuple[Model, BlockNetwork]:
    """Control of a linear system with a quadratic cost: h_{l+1} = h_l + A_l h_l + noise.

    Nothing is trained in it. An example is (h_0, y); the cost is |h_L - y|^2 / 2 and its gradient
    the costate p_L = h_L - y, p_l = (I + A_l)^T p_{l+1}.

    Args:
      cfg: `config.blocks`: `block_scale` (of A_l, whose entries have the variance of that squared
        over the width), `noise` (standard deviation of each step), `constant` (one A for all).
      depth: steps L.
      width: of the state.

    Returns:
      (Model, BlockNetwork).
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

    network = BlockNetwork(depth, 1.0, (width,), width, start, step, lambda params, h: h, cost)
    return as_model(network, init), network


def as_model(network: BlockNetwork, init) -> Model:
    """The Model that measures and evaluates a network in blocks."""
    names = ("embed", *(f"block_{i}" for i in range(network.depth)), "head")

    def apply(params, stats, x, key=None):
        key = jax.random.key(0) if key is None else key
        h = network.embed(params, x)
        hidden = [h]
        for i in range(network.depth):
            h = network.block(params, i, h, key)
            hidden.append(h)
        output = network.output(params, h)
        return output, (*hidden, output), stats

    return Model(init, apply, names)
