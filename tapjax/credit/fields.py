"""Architectures of a vector credit field: from what is seen after a forward pass to credits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tapjax.credit.estimator import code_size
from tapjax.models.perceptron import Perceptron
from tapjax.models.residual import layer_norm


class Field(NamedTuple):
    """`init(key) -> params`; `apply(params, seen, given) -> credits [L+1, B, D]`.

    `respond(params, seen, given, v [L, M, B, D])` is the field's own idea of how each block answers
    to a step v; None where it has none.
    """

    init: Callable
    apply: Callable
    respond: Callable | None = None


def plain(layered, cfg):
    """a_l = net(h_l, t_l, s): the whole credit from a network; it starts at zero."""
    net = Perceptron(cfg.width, layered.shape[-1], quiet=cfg.quiet)

    def init(key):
        size = layered.shape[-1] + 1 + code_size(layered, cfg.code)
        return net.init(key, jnp.zeros((1, size)))["params"]

    def apply(params, seen, given):
        del seen
        return net.apply({"params": params}, given.joined())

    return Field(init, apply)


def residual(layered, cfg):
    """a_l = g_L + net(h_l, t_l, s): starts as the projection of the output's error."""
    init, net, _ = plain(layered, cfg)

    def apply(params, seen, given):
        return (seen.last[None] + net(params, seen, given)).at[-1].set(seen.last)

    return Field(init, apply)


def bilinear(layered, cfg):
    """a_l = g_L + U [(W e) * m(h_l, t_l)]: linear in the error, as the true credit is.

    It starts as the projection of the output's error (U is zero) and vanishes with the error, so
    that what it gets wrong cancels over a batch as true gradients do.
    """
    net, width = Perceptron(cfg.width, cfg.width), layered.shape[-1]

    def init(key):
        net_key, code_key = jax.random.split(key)
        inputs = code_size(layered, cfg.code)
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


def chain(layered, cfg):
    """a_l = c_l a_{l+1} + U_l [m_l(h_l) * (V_l a_{l+1})], from a_L = g_L down.

    The form of the adjoint recursion: a block's transposed Jacobian is the identity's share plus
    one matrix, a gate that depends on h_l, and another matrix. Nothing of the network's weights is
    copied. Turned around it predicts how the block answers to a step v: c_l v + V_l^T [m_l(h_l) *
    (U_l^T v)]. It starts with U at zero and c at the network's own skip.
    """
    width, rank = layered.shape[-1], cfg.width

    def init(key):
        def one(key):
            keys = jax.random.split(key)
            return {
                "skip": jnp.full(1, layered.skip, jnp.float32),
                "into": jax.random.normal(keys[0], (width, rank)) * width**-0.5,
                "gate": jax.random.normal(keys[1], (width, rank)) * width**-0.5,
                "bias": jnp.zeros(rank),
                "out": jnp.zeros((rank, width)),
            }

        keys = jax.random.split(key, layered.depth)
        return {f"block_{i}": one(k) for i, k in enumerate(keys)}

    def gate(own, h):
        return jax.nn.sigmoid(h @ own["gate"] + own["bias"][None])

    def normalised(h):
        """LayerNorm's derivative at h along v and, transposed, back: blocks begin with it."""
        if not cfg.layer_norm:
            return lambda v: v, lambda u: u
        _, along = jax.linearize(layer_norm, h)
        _, back = jax.vjp(layer_norm, h)
        return along, lambda u: back(u)[0]

    def apply(params, seen, given):
        credits = [seen.last]
        for i in reversed(range(layered.depth)):
            own, above = params[f"block_{i}"], credits[-1]
            if cfg.targets == "block":  # each block learns alone
                above = jax.lax.stop_gradient(above)
            inner = gate(own, given.h[i]) * (above @ own["into"])
            _, back = normalised(seen.h[i])
            credits.append(own["skip"][None] * above + back(inner @ own["out"]))
        return jnp.stack(credits[::-1])

    def respond(params, seen, given, v_LxMxB):
        answers = []
        for i, v in enumerate(v_LxMxB):
            own = params[f"block_{i}"]
            along, _ = normalised(seen.h[i])
            inner = gate(own, given.h[i])[None] * (jax.vmap(along)(v) @ own["out"].T)
            answers.append(own["skip"][None, None] * v + inner @ own["into"].T)
        return jnp.stack(answers)

    return Field(init, apply, respond)


FIELDS = {"plain": plain, "residual": residual, "bilinear": bilinear, "chain": chain}
