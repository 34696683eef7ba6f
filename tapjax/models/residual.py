"""Networks in blocks: residual MLPs, residual convolutional networks and linear dynamics.

The linear dynamics have a quadratic cost.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from tapjax.config.schema import ConfigError
from tapjax.models.layers import Linear, patches
from tapjax.step.losses import cross_entropy
from tapjax.types import BlockNetwork, Model


def phi(alpha: float):
    """Make an activation function between the identity and tanh.

    Args:
      alpha: share of tanh; 0 gives the identity and 1 gives tanh.

    Returns:
      The function z -> (1 - alpha) z + alpha tanh(z).
    """
    return lambda z: (1 - alpha) * z + alpha * jnp.tanh(z)


PATCH = 4  # side length in pixels of the patches that a convolutional network embeds


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


def residual_mlp(
    cfg, depth: int, width: int, inputs: int, classes: int
) -> tuple[Model, BlockNetwork]:
    """Make the residual MLP of the credit experiments.

    It has pre-LayerNorm blocks and a linear head without normalisation.

    Args:
      cfg: `config.blocks`.
      depth: number of blocks L.
      width: width of every hidden state.
      inputs: number of values of one example; without an embedding these values are h_0.
      classes: number of outputs.

    Returns:
      (Model, BlockNetwork); the measured layers are h_0, ..., h_L and the head.

    Raises:
      ConfigError: if there is no embedding and the number of inputs is not the width.
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
    """Make a residual network with convolutional blocks over patches of the image.

    It is otherwise like `residual_mlp`. The head reads the mean over all patches.

    Args:
      cfg: `config.blocks`.
      depth: number of blocks L.
      width: number of channels of every hidden state.
      shape: height, width and channels of one image.
      classes: number of outputs.

    Returns:
      (Model, BlockNetwork).

    Raises:
      ConfigError: if images cannot be divided into whole patches.
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
    """Make a network of equal blocks between an embedding of the inputs and a head."""
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

    def adjoint(params, feedback, i, h, a):
        name = f"block_{i}"
        return cfg.skip * a + block.adjoint(params[name], feedback[name], h, a)

    network = BlockNetwork(
        depth=depth,
        skip=cfg.skip,
        inputs=math.prod(inputs),
        shape=hidden,
        outputs=classes,
        embed=embed,
        block=step,
        output=output,
        loss=loss,
        label=lambda batch: jax.nn.one_hot(batch.y, classes),
        init=lambda key: init(key)[0],
        adjoint=adjoint,
    )
    return as_model(network, init), network


def linear_dynamics(cfg, depth: int, width: int) -> tuple[Model, BlockNetwork]:
    """Make a linear control system with a quadratic cost: h_{l+1} = h_l + A_l h_l + noise.

    It has no trained parameters. An example is (h_0, y). The cost is |h_L - y|^2 / 2. Its gradient
    with respect to h_l is the costate p_l, where p_L = h_L - y and p_l = (I + A_l)^T p_{l+1}.

    Args:
      cfg: `config.blocks` with `block_scale` (the entries of A_l have variance
        block_scale^2 / width), `noise` (standard deviation of the noise per step) and `constant`
        (whether all steps have the same A).
      depth: number of steps L.
      width: width of the state.

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

    def adjoint(params, feedback, i, h, a):
        del params, h
        return a + a @ feedback[f"block_{i}"]

    network = BlockNetwork(
        depth=depth,
        skip=1.0,
        inputs=2 * width,
        shape=(width,),
        outputs=width,
        embed=start,
        block=step,
        output=lambda params, h: h,
        loss=cost,
        label=lambda batch: batch.x[:, 1, :, 0],
        init=lambda key: init(key)[0],
        adjoint=adjoint,
    )
    return as_model(network, init), network


def as_model(network: BlockNetwork, init) -> Model:
    """Make the Model by which a network in blocks is measured and evaluated.

    Args:
      network: network in blocks.
      init: function `key -> (params, stats)`.

    Returns:
      A Model; its layers are h_0, ..., h_L and the head.
    """
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
