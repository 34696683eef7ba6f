"""Sampling of batches inside jit; a batch depends only on the key and the step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tapjax.data.datasets import Arrays, stratified_indices
from tapjax.types import Batch, DeviceData

FEISTEL_ROUNDS = 8


def device_data(arrays: Arrays, probe_size: int) -> tuple[DeviceData, np.ndarray]:
    """Put a data set and its fixed probe batch on the device.

    Args:
      arrays: the data set on the host.
      probe_size: maximum number of probe examples. They are taken from the test split, stratified
        by class.

    Returns:
      (DeviceData, indices [P] of the probe examples in the test split).
    """
    probe = stratified_indices(arrays.y_test, min(probe_size, len(arrays.y_test)))
    mean, std = jnp.asarray(arrays.mean), jnp.asarray(arrays.std)
    probe_batch = Batch(
        normalise(jnp.asarray(arrays.x_test[probe]), mean, std), jnp.asarray(arrays.y_test[probe])
    )
    return DeviceData(jnp.asarray(arrays.x), jnp.asarray(arrays.y), probe_batch, mean, std), probe


def normalise(x, mean, std):
    """Scale raw inputs to zero mean and unit variance per channel.

    Args:
      x: raw inputs, with the channels as the last axis.
      mean: mean of each channel, in the unit of x.
      std: standard deviation of each channel, in the unit of x.

    Returns:
      float32 array of the shape of x.
    """
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (x.astype(jnp.float32) - mean.reshape(shape)) / std.reshape(shape)


def make_order(batch_size: int, shuffle: str):
    """Make a function that chooses the examples in the batch of a step.

    Args:
      batch_size: number of examples per step.
      shuffle: `epoch` visits every example once per epoch, in a new order each time; the last
        N mod batch_size examples of that order are left out. `replacement` draws each example
        independently.

    Returns:
      `order(key, step, n) -> indices [B]`, each from 0 to n - 1.
    """

    def order(key, step, n: int):
        if shuffle == "replacement":
            return jax.random.randint(jax.random.fold_in(key, step), (batch_size,), 0, n)
        per_epoch = n // batch_size
        position = (step % per_epoch) * batch_size + jnp.arange(batch_size)
        return permute(jax.random.fold_in(key, step // per_epoch), position, n)

    return order


def make_sampler(batch_size: int, shuffle: str, augment: bool):
    """Make a function that draws the batch of a step.

    Args:
      batch_size: number of examples per step.
      shuffle: see `make_order`.
      augment: whether to crop images randomly after padding by 4 pixels and to flip them
        horizontally at random.

    Returns:
      `sample(key, step, data) -> Batch` with normalised inputs.
    """
    order = make_order(batch_size, shuffle)

    def sample(key, step, data: DeviceData) -> Batch:
        index = order(key, step, data.x.shape[0])
        x = normalise(data.x[index], data.mean, data.std)
        if augment:
            x = crop_and_flip(jax.random.fold_in(jax.random.fold_in(key, 0), step), x)
        return Batch(x, data.y[index])

    return sample


def permute(key, position, n: int):
    """Apply a keyed permutation of 0 ... n-1 to some positions.

    Only the values at the given positions are computed. The permutation is a generalised Feistel
    network over Z_a x Z_b with a * b >= n and cycle walking (Black and Rogaway 2002, method
    "Generalized Feistel", https://eprint.iacr.org/2001/012).

    Args:
      key: random key that selects the permutation.
      position: integers in [0, n).
      n: size of the domain, below 2^31.

    Returns:
      int32 array with the values of the permutation at the positions.
    """
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)
    round_keys = jax.random.bits(key, (FEISTEL_ROUNDS,), jnp.uint32)

    def network(value):
        left, right = value % a, value // a
        for i in range(0, FEISTEL_ROUNDS, 2):
            left = (left + mix(right ^ round_keys[i]) % a) % a
            right = (right + mix(left ^ round_keys[i + 1]) % b) % b
        return right * a + left

    def outside(value):
        return jnp.any(value >= n)

    def walk(value):
        return jnp.where(value >= n, network(value), value)

    first = network(position.astype(jnp.uint32))
    return lax.while_loop(outside, walk, first).astype(jnp.int32)


def mix(h):
    """Apply the finaliser of MurmurHash3, in which every input bit affects every output bit.

    Args:
      h: uint32 array.

    Returns:
      uint32 array of the same shape.
    """
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)


def crop_and_flip(key, x_BxHxWxC, pad: int = 4):
    """Crop images randomly after zero padding, and flip them horizontally with probability 1/2.

    Args:
      key: random key.
      x_BxHxWxC: normalised images [B, height, width, channels].
      pad: number of pixels added on each side before the image is cropped to its former size.

    Returns:
      Images of the same shape.
    """
    b, height, width, channels = x_BxHxWxC.shape
    crop_key, flip_key = jax.random.split(key)
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    corner = jax.random.randint(crop_key, (b, 2), 0, 2 * pad + 1)

    def crop(image, corner):
        return lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

    cropped = jax.vmap(crop)(padded, corner)
    flip = jax.random.bernoulli(flip_key, 0.5, (b, 1, 1, 1))
    return jnp.where(flip, cropped[:, :, ::-1], cropped)
