"""Architectures of a vector credit field, which maps a view of the forward pass to credits.

Each of the functions in `FIELDS` takes a BlockNetwork and `config.credit`, and returns a Field.
Notation: a_l is the credit of the hidden state h_l, g_L the known gradient with respect to h_L,
t_l the depth of the layer, s the code (see estimator.py) and e the error at the output.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tapjax.credit.estimator import code_size
from tapjax.models.perceptron import Perceptron
from tapjax.models.residual_blocks import layer_norm, surroundings


class Field(NamedTuple):
    """A vector credit field as pure functions.

    `init(key) -> params`; `apply(params, seen, given) -> credits [L+1, B, D]`, where `seen` is the
    ForwardView and `given` are the Inputs.
    `respond(params, seen, given, v [L, M, B, D]) -> [L, M, B, D]` predicts the derivative of each
    block's output along v; it is None if the field has no model of the blocks.
    """

    init: Callable
    apply: Callable
    respond: Callable | None = None


def plain(network, cfg):
    """Return the field a_l = net(h_l, t_l, s), where a network gives the whole credit.

    The output of the network is in the units that `cfg.unit` names (see `unit`).
    """
    net = Perceptron(cfg.width, network.shape[-1], quiet=cfg.quiet)

    def init(key):
        size = network.shape[-1] + 1 + code_size(network, cfg.code)
        return net.init(key, jnp.zeros((1, size)))["params"]

    def apply(params, seen, given):
        return unit(cfg.unit, seen)[None] * net.apply({"params": params}, given.joined())

    return Field(init, apply)


def unit(kind: str, seen):
    """Compute the unit of the credits, a root mean square (RMS) of the known gradient g_L.

    Args:
      kind: `example` for the RMS of each example, `batch` for that of all examples, `none` for 1.
      seen: view of the forward pass.

    Returns:
      Array of the rank of g_L, of size B for `example` and 1 otherwise.
    """
    if kind == "none":
        return jnp.ones([1] * seen.last.ndim)
    axes = tuple(range(kind == "example", seen.last.ndim))
    largest = jnp.abs(seen.last).max(axes, keepdims=True)  # squares alone would underflow
    relative = seen.last / jnp.where(largest > 0, largest, 1.0)
    return largest * jnp.sqrt(jnp.square(relative).mean(axes, keepdims=True))


def residual(network, cfg):
    """Return the field a_l = g_L + net(h_l, t_l, s).

    With `cfg.quiet` the network starts with an output of zero, so that the field starts as the
    projection of the error at the output. At h_L it always is g_L.
    """
    init, net, _ = plain(network, cfg)

    def apply(params, seen, given):
        return (seen.last[None] + net(params, seen, given)).at[-1].set(seen.last)

    return Field(init, apply)


def bilinear(network, cfg):
    """Return the field a_l = g_L + U [(W e) * m(h_l, t_l)].

    It starts as the projection of the error at the output, because U starts at zero, and vanishes
    with the error. With `cfg.unit` other than `example` it is linear in the error e, as the true
    credit is, so that its mistakes cancel over a batch as true gradients do. In units of each
    example it is linear in e / |e|, times the RMS of g_L. In place of e it reads the code that
    `cfg.code` names.
    """
    net, width = Perceptron(cfg.width, cfg.width), network.shape[-1]

    def init(key):
        net_key, code_key = jax.random.split(key)
        inputs = code_size(network, cfg.code)
        return {
            "gate": net.init(net_key, jnp.zeros((1, width + 1)))["params"],
            "into": jax.random.normal(code_key, (inputs, cfg.width)) * inputs**-0.5,
            "out": jnp.zeros((cfg.width, width)),
        }

    def apply(params, seen, given):
        gate = net.apply({"params": params["gate"]}, jnp.concatenate([given.h, given.time], -1))
        added = (gate * (given.code @ params["into"])) @ params["out"]
        added = unit(cfg.unit, seen)[None] * added if cfg.unit == "example" else added
        return (seen.last[None] + added).at[-1].set(seen.last)

    return Field(init, apply)


def linear(network, cfg):
    """Return the field a_l = s B_l, in the units of `cfg.unit`, with one matrix per layer.

    With `unit=none` and `targets=joint` it is direct feedback whose matrices are learned by node
    perturbation (Lansdell et al. 2020, https://arxiv.org/abs/1906.00889, equation 6).
    """
    size = math.prod(network.shape)

    def init(key):
        inputs = code_size(network, cfg.code)
        scale = 0.0 if cfg.quiet else inputs**-0.5
        return scale * jax.random.normal(key, (network.depth + 1, inputs, size))

    def apply(params, seen, given):
        code_BxS = given.code.reshape(*given.code.shape[:2], -1, given.code.shape[-1])[0, :, 0]
        credits = jnp.einsum("bs,lsd->lbd", code_BxS, params).reshape(seen.h.shape)
        return (unit(cfg.unit, seen)[None] * credits).at[-1].set(seen.last)

    return Field(init, apply)


def chain(network, cfg):
    """Return the field a_l = c_l a_{l+1} + U_l^T [m_l(h_l) * (V_l^T a_{l+1})] with a_L = g_L.

    This is the adjoint recursion, from the last layer down, through a linear model of each block.
    The model predicts the derivative of the block's output along a direction v at its input as
    c_l v + V_l [m_l(h_l) * (U_l v)]. The first term is the share of the skip connection. In the
    second term v passes through a matrix, a gate that depends on h_l, and another matrix. If the
    estimator reads h normalised, the derivative of LayerNorm is applied to v first. The matrices
    are 3 x 3 convolutions if those of the blocks are, and read all tokens in a transformer. No
    weights of the network are copied. U_l starts at zero and c_l at the network's own skip.
    """
    width, rank = network.shape[-1], cfg.width
    gather, places = surroundings(network.shape)

    def init(key):
        def one(key):
            keys = jax.random.split(key)
            inputs, inner = places * width, places * rank
            return {
                "skip": jnp.float32(network.skip),
                "gate": jax.random.normal(keys[1], (inputs, rank)) * inputs**-0.5,
                "bias": jnp.zeros(rank),
                "first": jnp.zeros((inputs, rank)),
                "second": jax.random.normal(keys[0], (inner, width)) * inner**-0.5,
            }

        keys = jax.random.split(key, network.depth)
        return {f"block_{i}": one(k) for i, k in enumerate(keys)}

    def answer(own, h, given_h, v):
        """Predict the derivative of a block's output along v; the prediction is linear in v."""
        along = jax.jvp(layer_norm, (h,), (v,))[1] if cfg.layer_norm else v
        bias = own["bias"].reshape(*[1] * (h.ndim - 1), rank)
        gate = jax.nn.sigmoid(gather(given_h) @ own["gate"] + bias)
        return own["skip"] * v + gather(gate * (gather(along) @ own["first"])) @ own["second"]

    def apply(params, seen, given):
        credits = [seen.last]
        for i in reversed(range(network.depth)):
            own, above = params[f"block_{i}"], credits[-1]
            if cfg.targets == "block":  # each block learns from its own error only
                above = jax.lax.stop_gradient(above)
            of_v = partial(answer, own, seen.h[i], given.h[i])
            (credit,) = jax.linear_transpose(of_v, above)(above)
            credits.append(credit)
        return jnp.stack(credits[::-1])

    def respond(params, seen, given, v_LxMxB):
        answers = []
        for i, v_MxB in enumerate(v_LxMxB):
            of_v = partial(answer, params[f"block_{i}"], seen.h[i], given.h[i])
            answers.append(jax.vmap(of_v)(v_MxB))
        return jnp.stack(answers)

    return Field(init, apply, respond)


FIELDS = {
    "plain": plain,
    "residual": residual,
    "bilinear": bilinear,
    "linear": linear,
    "chain": chain,
}
