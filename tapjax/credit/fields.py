"""Architectures of a vector credit field: from what is seen after a forward pass to credits."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tapjax.credit.estimator import code_size
from tapjax.models.perceptron import Perceptron
from tapjax.models.residual import layer_norm, neighbours


class Field(NamedTuple):
    """`init(key) -> params`; `apply(params, seen, given) -> credits [L+1, B, D]`.

    `respond(params, seen, given, v [L, M, B, D])` is the field's own idea of how each block answers
    to a step v; None where it has none.
    """

    init: Callable
    apply: Callable
    respond: Callable | None = None


def plain(network, cfg):
    """a_l = net(h_l, t_l, s), with `matched` in units of g_L: the whole credit from a network."""
    net = Perceptron(cfg.width, network.shape[-1], quiet=cfg.quiet)

    def init(key):
        size = network.shape[-1] + 1 + code_size(network, cfg.code)
        return net.init(key, jnp.zeros((1, size)))["params"]

    def apply(params, seen, given):
        return unit(cfg, seen) * net.apply({"params": params}, given.joined())

    return Field(init, apply)


def unit(cfg, seen):
    """The size of a credit: the RMS of the known gradient of the last state, or 1."""
    return jnp.sqrt(jnp.square(seen.last).mean()) if cfg.matched else jnp.float32(1)


def residual(network, cfg):
    """a_l = g_L + net(h_l, t_l, s): starts as the projection of the output's error."""
    init, net, _ = plain(network, cfg)

    def apply(params, seen, given):
        return (seen.last[None] + net(params, seen, given)).at[-1].set(seen.last)

    return Field(init, apply)


def bilinear(network, cfg):
    """a_l = g_L + U [(W e) * m(h_l, t_l)]: linear in the error, as the true credit is.

    It starts as the projection of the output's error (U is zero) and vanishes with the error, so
    that what it gets wrong cancels over a batch as true gradients do.
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
        return (seen.last[None] + added).at[-1].set(seen.last)

    return Field(init, apply)


def chain(network, cfg):
    """a_l = c_l a_{l+1} + U_l^T [m_l(h_l) * (V_l^T a_{l+1})], from a_L = g_L down.

    The adjoint recursion through a model of each block's answer to a step v at its input,
    c_l v + V_l [m_l(h_l) * (U_l v)]: the skip's share; and a matrix, a gate that depends on h_l and
    another matrix, after LayerNorm's derivative where the estimator reads h normalised. The
    matrices are 3 x 3 convolutions where those of the blocks are. Nothing of the network's weights
    is copied. It starts with U at zero and c at the network's own skip.
    """
    width, rank = network.shape[-1], cfg.width
    spatial = len(network.shape) > 1
    gather, places = (neighbours, 9) if spatial else (lambda z: z, 1)

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
        """How a block is thought to answer to v; linear in it."""
        along = jax.jvp(layer_norm, (h,), (v,))[1] if cfg.layer_norm else v
        bias = own["bias"].reshape(*[1] * (h.ndim - 1), rank)
        gate = jax.nn.sigmoid(gather(given_h) @ own["gate"] + bias)
        return own["skip"] * v + gather(gate * (gather(along) @ own["first"])) @ own["second"]

    def apply(params, seen, given):
        credits = [seen.last]
        for i in reversed(range(network.depth)):
            own, above = params[f"block_{i}"], credits[-1]
            if cfg.targets == "block":  # each block learns alone
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


FIELDS = {"plain": plain, "residual": residual, "bilinear": bilinear, "chain": chain}
