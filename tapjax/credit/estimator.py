"""Parts that all learned credit estimators share: inputs, state, initialisation and learning."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tapjax.models.residual_blocks import layer_norm
from tapjax.types import ForwardView

CODES = ("error", "delta", "target", "error+h", "delta+h")
PROJECTED = 16  # dimensions of the projected h_L in codes that include h_L


class Estimator(NamedTuple):
    """State of a learned estimator.

    `params` are the parameters, `slow` is their exponential moving average, `opt` is the state of
    the optimizer, and `fixed` is the fixed random projection from `init_fixed`.
    """

    params: Any
    slow: Any
    opt: Any
    fixed: Any


class Inputs(NamedTuple):
    """Inputs of an estimating network.

    `h [L+1, B, D]` are the hidden states, `time [L+1, B, 1]` is the depth l / L of the layer and
    `code [L+1, B, s]` is the example's error, gradient or target (see `inputs`). For images there
    is one such input per position: [L+1, B, H, W, ...] with height H and width W.
    """

    h: jax.Array
    time: jax.Array
    code: jax.Array

    def joined(self):
        """Concatenate all inputs along the last axis."""
        return jnp.concatenate(self, -1)


def init_fixed(key, network):
    """Draw the fixed random projection of h_L that some codes use.

    Args:
      key: random key.
      network: BlockNetwork with hidden states of D features.

    Returns:
      [D, PROJECTED].
    """
    width = network.shape[-1]
    return jax.random.normal(key, (width, PROJECTED)) * width**-0.5


def inputs(seen: ForwardView, fixed, code: str, normalise: bool, relative=False) -> Inputs:
    """Compute the inputs of an estimator.

    Args:
      seen: view of the forward pass, from `forward.observe`.
      fixed: projection from `init_fixed`.
      code: one of `CODES`: the error at the output (`error`), the gradient with respect to h_L
        (`delta`) or the target (`target`). With `+h` the projection of h_L is appended.
      normalise: whether LayerNorm is applied to h.
      relative: whether `error` and `delta` of each example are divided by their norm, so that they
        do not depend on the scale of the example's loss.

    Returns:
      Inputs.
    """
    name, _, with_h = code.partition("+")
    said = [{"error": seen.error, "delta": seen.last, "target": seen.target}[name]]
    said = [_of_norm_one(said[0])] if relative and name != "target" else said
    said += [seen.h[-1] @ fixed] if with_h else []
    layers, *places = seen.h.shape[:-1]
    time = jnp.linspace(0.0, 1.0, layers).reshape(layers, *[1] * (len(places) + 1))
    told = jnp.concatenate([_everywhere(value, places) for value in said], -1)
    return Inputs(
        read(seen.h, normalise),
        jnp.broadcast_to(time, (layers, *places, 1)),
        jnp.broadcast_to(told[None], (layers, *told.shape)),
    )


def _of_norm_one(value):
    """Divide each example's values by their norm; zeros stay zeros."""
    norm = jnp.sqrt(jnp.square(value).sum(tuple(range(1, value.ndim)), keepdims=True))
    return value / jnp.where(norm > 0, norm, 1.0)


def _everywhere(value, places):
    """Broadcast values that are known per example, or per position, to all positions."""
    missing = len(places) + 1 - value.ndim
    value = value.reshape(len(value), *[1] * missing, *value.shape[1:])
    return jnp.broadcast_to(value, (*places, value.shape[-1]))


def read(h, normalise: bool):
    """Return the hidden states as an estimator reads them.

    Args:
      h: hidden states, features on the last axis.
      normalise: whether LayerNorm is applied.

    Returns:
      An array of the shape of `h`.
    """
    return layer_norm(h) if normalise else h


def code_size(network, code: str) -> int:
    """Return the number of values in a code.

    Args:
      network: BlockNetwork that the estimator belongs to.
      code: one of `CODES`.

    Returns:
      The size s of the last axis of `Inputs.code`.
    """
    name, _, with_h = code.partition("+")
    size = network.shape[-1] if name == "delta" else network.outputs
    return size + (PROJECTED if with_h else 0)


def start(params, fixed, tx) -> Estimator:
    """Return the initial state of an estimator.

    Args:
      params: initial parameters.
      fixed: projection from `init_fixed`.
      tx: optimizer of the estimator.

    Returns:
      The Estimator.
    """
    return Estimator(params, params, tx.init(params), fixed)


def initialiser(net, network, cfg, tx):
    """Return the `init` function of an estimator that is one network of all inputs.

    Args:
      net: Flax module of the estimator.
      network: BlockNetwork that the estimator belongs to.
      cfg: `config.credit`.
      tx: optimizer of the estimator.

    Returns:
      `init(key) -> Estimator`.
    """

    def init(key):
        size = network.shape[-1] + 1 + code_size(network, cfg.code)
        net_key, fixed_key = jax.random.split(key)
        params = net.init(net_key, jnp.zeros((1, size)))["params"]
        return start(params, init_fixed(fixed_key, network), tx)

    return init


def learn(state: Estimator, objective: Callable, tx, cfg, key) -> tuple[Estimator, dict]:
    """Train an estimator by a few gradient steps on its own loss.

    Args:
      state: Estimator before these steps.
      objective: function (params, key) -> loss of the estimator.
      tx: optax transformation.
      cfg: `config.credit`: `steps` is the number of gradient steps, `ema` the decay of the slow
        average.
      key: random key for the directions; each gradient step folds its number in.

    Returns:
      (new Estimator, {"credit_loss": loss before the last of these steps}).
    """
    for i in range(cfg.steps):
        value, grads = jax.value_and_grad(objective)(state.params, jax.random.fold_in(key, i))
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        slow = jax.tree.map(lambda s, p: cfg.ema * s + (1 - cfg.ema) * p, state.slow, params)
        state = Estimator(params, slow, opt, state.fixed)
    return state, {"credit_loss": value}
