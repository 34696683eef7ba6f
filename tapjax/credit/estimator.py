"""What learned credits share: their inputs, their state and how they learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.models.residual import layer_norm
from tapjax.types import ForwardView

CODES = ("error", "delta", "target", "error+h", "delta+h")
PROJECTED = 16  # dimensions of h_L in the codes that hold it


class Estimator(NamedTuple):
    """Parameters, a slow average of them, the optimizer's state and what never changes."""

    params: Any
    slow: Any
    opt: Any
    fixed: Any


class Inputs(NamedTuple):
    """What an estimating network reads: `h [L+1, B, D]`, `time [L+1, B, 1]`, `code [L+1, B, s]`, or
    the same at each place of an image, [L+1, B, H, W, ...]."""

    h: jax.Array
    time: jax.Array
    code: jax.Array

    def joined(self):
        """All of it side by side."""
        return jnp.concatenate(self, -1)


def init_fixed(key, network):
    """The fixed projection of h_L that some codes use."""
    width = network.shape[-1]
    return jax.random.normal(key, (width, PROJECTED)) * width**-0.5


def inputs(seen: ForwardView, fixed, code: str, normalise: bool) -> Inputs:
    """The inputs of an estimator.

    Args:
      seen: after the forward pass.
      fixed: from `init_fixed`.
      code: of `CODES`: the output's error, the gradient by h_L, or the target; with h_L or not.
      normalise: LayerNorm of h.

    Returns:
      Inputs.
    """
    name, _, with_h = code.partition("+")
    said = [{"error": seen.error, "delta": seen.last, "target": seen.target}[name]]
    said += [seen.h[-1] @ fixed] if with_h else []
    layers, *places = seen.h.shape[:-1]
    time = jnp.linspace(0.0, 1.0, layers).reshape(layers, *[1] * (len(places) + 1))
    told = jnp.concatenate([_everywhere(value, places) for value in said], -1)
    return Inputs(
        read(seen.h, normalise),
        jnp.broadcast_to(time, (layers, *places, 1)),
        jnp.broadcast_to(told[None], (layers, *told.shape)),
    )


def _everywhere(value, places):
    """What is known of an example, or of each of its places, at all of them."""
    missing = len(places) + 1 - value.ndim
    value = value.reshape(len(value), *[1] * missing, *value.shape[1:])
    return jnp.broadcast_to(value, (*places, value.shape[-1]))


def read(h, normalise: bool):
    """Hidden states as an estimator reads them."""
    return layer_norm(h) if normalise else h


def code_size(network, code: str) -> int:
    """Values in a code."""
    name, _, with_h = code.partition("+")
    size = network.shape[-1] if name == "delta" else network.outputs
    return size + (PROJECTED if with_h else 0)


def start(params, fixed, tx) -> Estimator:
    """An estimator that has learned nothing."""
    return Estimator(params, params, tx.init(params), fixed)


def initialiser(net, network, cfg, tx):
    """The `init` of an estimator that is one network of all inputs."""

    def init(key):
        size = network.shape[-1] + 1 + code_size(network, cfg.code)
        net_key, fixed_key = jax.random.split(key)
        params = net.init(net_key, jnp.zeros((1, size)))["params"]
        return start(params, init_fixed(fixed_key, network), tx)

    return init


def learn(state: Estimator, objective: Callable, tx, cfg, key) -> tuple[Estimator, dict]:
    """Some gradient steps of an estimator on its own loss.

    Args:
      state: so far.
      objective: (params, key) -> loss.
      tx: optax transformation.
      cfg: `config.credit`: `steps`, and `ema`, the decay of the slow average.
      key: of the directions.

    Returns:
      (new state, {"credit_loss"}).
    """
    for i in range(cfg.steps):
        value, grads = jax.value_and_grad(objective)(state.params, jax.random.fold_in(key, i))
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        slow = jax.tree.map(lambda s, p: cfg.ema * s + (1 - cfg.ema) * p, state.slow, params)
        state = Estimator(params, slow, opt, state.fixed)
    return state, {"credit_loss": value}
