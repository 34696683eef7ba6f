"""Layers that the models share: initialisers, linear map, convolution, pooling, patches, dropout.

Convolution and pooling avoid two slow operations of XLA's CPU back end. First, inside a scan the
back end leaves the weight gradient of a convolution in a layout that only a naive loop handles,
which is 61 times slower (https://github.com/jax-ml/jax/issues/12868). Second derivatives have the
same fault. Second, the gradient of max-pooling by reduce_window is 16 times slower than that of
max-pooling by reshaping. GPU and TPU use the plain convolution.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

CANONICAL = ("NHWC", "HWIO", "NHWC")


def _uniform_by_fan_in(fan_in: int):
    def init(key, shape, dtype=jnp.float32):
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def initializers(kind: str, fan_in: int):
    """Return the initialisers of a layer's kernel and bias.

    Args:
      kind: `lecun` (normal with variance 1/fan_in, zero bias; Flax's default), `torch` (kernel and
        bias uniform in +-1/sqrt(fan_in), as in PyTorch's Linear and Conv2d), `kaiming` (uniform
        with variance 2/fan_in, zero bias) or `small` (normal with standard deviation .02, truncated
        at two standard deviations, zero bias; for vision transformers).
      fan_in: number of inputs of one unit.

    Returns:
      (kernel initialiser, bias initialiser).
    """
    if kind == "torch":
        return _uniform_by_fan_in(fan_in), _uniform_by_fan_in(fan_in)
    kernels = {
        "lecun": nn.initializers.lecun_normal(),
        "kaiming": nn.initializers.he_uniform(),
        "small": nn.initializers.truncated_normal(0.02),
    }
    return kernels[kind], nn.initializers.zeros_init()


class Linear(nn.Module):
    """Affine map of the last axis, as one 2-D matrix product.

    A 3-D product is half as fast on CPU.
    """

    features: int
    initializer: str = "lecun"

    @nn.compact
    def __call__(self, x):
        kernel_init, bias_init = initializers(self.initializer, x.shape[-1])
        kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", bias_init, (self.features,))
        y = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
        return y.reshape(*x.shape[:-1], self.features)


class Conv(nn.Module):
    """Convolution with a square kernel and PyTorch's symmetric padding."""

    features: int
    size: int = 3
    stride: int = 1
    bias: bool = True
    initializer: str = "lecun"

    @nn.compact
    def __call__(self, x_BxHxWxC):
        fan_in = self.size**2 * x_BxHxWxC.shape[-1]
        kernel_init, bias_init = initializers(self.initializer, fan_in)
        shape = (self.size, self.size, x_BxHxWxC.shape[-1], self.features)
        y = conv2d(x_BxHxWxC, self.param("kernel", kernel_init, shape), self.stride)
        if self.bias:
            y = y + self.param("bias", bias_init, (self.features,))[None, None, None]
        return y


def conv2d(x_BxHxWxC, kernel_hxwxCxO, stride: int = 1):
    """Compute a 2-D convolution, padded by half the kernel size on each side.

    Args:
      x_BxHxWxC: images.
      kernel_hxwxCxO: square kernel with an odd side length.
      stride: step of the window in pixels.

    Returns:
      Array `[B, ceil(H / stride), ceil(W / stride), O]`. On CPU it has no forward-mode derivative.
    """
    if jax.default_backend() == "cpu":
        return _cpu_conv(x_BxHxWxC, kernel_hxwxCxO, stride)
    return _conv(x_BxHxWxC, kernel_hxwxCxO, stride)


def _conv(x, kernel, stride):
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=CANONICAL
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _cpu_conv(x, kernel, stride):
    spare = -x.shape[-1] % 4
    if x.shape[-1] > 1 and spare:
        # Three channels take twice as long as four, so the number is padded to a multiple of 4.
        x = jnp.pad(x, ((0, 0),) * 3 + ((0, spare),))
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, spare), (0, 0)))
    return _conv(x, kernel, stride)


def _conv_forward(x, kernel, stride):
    return _cpu_conv(x, kernel, stride), (x, kernel)


def _conv_backward(stride, saved, g):
    """Compute the input gradient and the kernel gradient.

    The input gradient is a convolution in canonical layout. The kernel gradient is a number of
    matrix products.
    """
    x, kernel = saved
    grad_x = _input_gradient(g, kernel, x.shape[1:3], stride)
    return grad_x, _kernel_gradient(x, g, kernel.shape, stride)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _input_gradient(g, kernel, sides, stride):
    """Compute the input gradient for images of the given height and width."""
    size, pad = kernel.shape[0], kernel.shape[0] // 2
    # Number of pixels at the far edge of the padded image that no strided window reaches.
    short = [(n + 2 * pad - size) % stride for n in sides]
    return lax.conv_general_dilated(
        g,
        jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2),
        (1, 1),
        [(size - 1 - pad, size - 1 - pad + s) for s in short],
        lhs_dilation=(stride, stride),
        dimension_numbers=CANONICAL,
    )


def _input_gradient_forward(g, kernel, sides, stride):
    return _input_gradient(g, kernel, sides, stride), (g, kernel)


def _input_gradient_backward(sides, stride, saved, x):
    """Compute second derivatives by the functions of the first ones.

    The input gradient is the transpose of the convolution, so that its gradients are a convolution
    and a kernel gradient of `x`, which is the cotangent.
    """
    del sides
    g, kernel = saved
    return _cpu_conv(x, kernel, stride), _kernel_gradient(x, g, kernel.shape, stride)


def _kernel_gradient(x, g, shape, stride):
    """Compute the kernel gradient by one matrix product per kernel row.

    The images are unfolded along their width.
    """
    size, _, channels, features = shape
    pad = size // 2
    rows, columns = (stride * (n - 1) + 1 for n in g.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    unfolded = jnp.concatenate(
        [padded[:, :, j : j + columns : stride] for j in range(size)], axis=-1
    )
    g_NxO = g.reshape(-1, features)

    def one_row(i):
        seen = unfolded[:, i : i + rows : stride]
        return seen.reshape(-1, size * channels).T @ g_NxO

    return jnp.stack([one_row(i) for i in range(size)]).reshape(shape)


_cpu_conv.defvjp(_conv_forward, _conv_backward)
_input_gradient.defvjp(_input_gradient_forward, _input_gradient_backward)


def max_pool(x_BxHxWxC):
    """Apply 2x2 max-pooling with stride 2.

    An odd last row or column is dropped. A side of 1 pixel is kept.

    Args:
      x_BxHxWxC: images.

    Returns:
      Array `[B, max(H // 2, 1), max(W // 2, 1), C]`.
    """
    _, height, width, _ = x_BxHxWxC.shape
    x = x_BxHxWxC
    if height > 1:
        x = x[:, : height // 2 * 2]
        x = jnp.maximum(x[:, 0::2], x[:, 1::2])
    if width > 1:
        x = x[:, :, : width // 2 * 2]
        x = jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])
    return x


def patches(x_BxHxWxC, size: int):
    """Cut images into square patches and flatten each patch.

    Images are padded with zeros where the last row or column of patches is incomplete.

    Args:
      x_BxHxWxC: images.
      size: side length of a patch in pixels.

    Returns:
      Array `[B, ceil(H / size), ceil(W / size), size * size * C]`.
    """
    batch, height, width, channels = x_BxHxWxC.shape
    rows, columns = -(-height // size), -(-width // size)
    x = x_BxHxWxC
    if height % size or width % size:
        x = jnp.pad(x, ((0, 0), (0, rows * size - height), (0, columns * size - width), (0, 0)))
    x = x.reshape(batch, rows, size, columns, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows, columns, size * size * channels)


def dropout(key, x, rate: float):
    """Apply dropout that uses one random byte per element, four bytes from each random word.

    The share of kept elements is 1 - rate rounded to a multiple of 1/256. The rescaling is exact
    for this rounded share.

    Args:
      key: random key, or None in evaluation mode.
      x: activations.
      rate: share of elements to drop, in [0, 1).

    Returns:
      Array like x, in which dropped elements are zero and the others are rescaled.
    """
    if key is None or rate == 0.0:
        return x
    kept = round(256 * (1 - rate))
    words = jax.random.bits(key, (-(-x.size // 4),), jnp.uint32)
    octets = lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: x.size]
    return jnp.where(octets.reshape(x.shape) < kept, x * jnp.float32(256 / kept), 0.0)
