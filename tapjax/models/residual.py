"""Networks in blocks: residual MLPs, convolutional networks and transformers, linear dynamics.

The linear dynamics have a quadratic cost.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from tapjax.config.schema import ConfigError
from tapjax.models.layers import Linear, patches
from tapjax.models.residual_blocks import AttentionBlock, Block
from tapjax.step.losses import cross_entropy
from tapjax.types import BlockNetwork, Model

PATCH = 4  # side length in pixels of the patches that a convolutional network embeds


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


def residual_transformer(
    cfg, depth: int, width: int, heads: int, shape, classes: int
) -> tuple[Model, BlockNetwork]:
    """Make a transformer of residual blocks whose tokens are the rows of the input.

    The embedding of a token is linear in its values and in a one-hot code of its position. The head
    reads the mean over all tokens. See `residual_blocks.AttentionBlock`.

    Args:
      cfg: `config.blocks`.
      depth: number of blocks L.
      width: number of features of every token, a multiple of `heads`.
      heads: number of attention heads.
      shape: height, width and channels of one input; the height is the number of tokens.
      classes: number of outputs.

    Returns:
      (Model, BlockNetwork).

    Raises:
      ConfigError: if there is no embedding.
    """
    tokens, breadth, channels = shape
    if not cfg.embed:
        raise ConfigError("model.name: residual_transformer needs blocks.embed=True")

    def arrange(x):
        rows = x.reshape(len(x), tokens, breadth * channels)
        positions = jnp.broadcast_to(jnp.eye(tokens)[None], (len(x), tokens, tokens))
        return jnp.concatenate([rows, positions], -1)

    return _residual(
        cfg,
        depth,
        AttentionBlock(heads, cfg.activation, cfg.alpha, cfg.block_scale),
        (tokens, width),
        (tokens, breadth * channels + tokens),
        classes,
        arrange,
        lambda h: h.mean(1),
        inputs=math.prod(shape),
    )


def _residual(cfg, depth, block, hidden, embedded, classes, arrange, pool, inputs=None):
    """Make a network of equal blocks between an embedding of the inputs and a head.

    `arrange` brings an input into the shape `embedded`, which has `inputs` values of its own, by
    default all.
    """
    linear, head = Linear(hidden[-1]), Linear(classes)

    def init(key):
        keys = jax.random.split(key, depth + 2)
        h = jnp.zeros((1, *hidden))
        params = {f"block_{i}": block.init(keys[i], h)["params"] for i in range(depth)}
        params["head"] = head.init(keys[depth], pool(h))["params"]
        if cfg.embed:
            params["embed"] = linear.init(keys[depth + 1], jnp.zeros((1, *embedded)))["params"]
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
        inputs=math.prod(embedded) if inputs is None else inputs,
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
