"""The local learning rule, in which every block learns from its own credit."""

import jax
import jax.numpy as jnp

from tapjax.credit.directions import directions, tail_targets
from tapjax.credit.forward import observe
from tapjax.types import BlockNetwork, Credit, ForwardView, Proposal, Rule


def local(network: BlockNetwork, credit: Credit, cfg) -> Rule:
    """Build a rule in which no gradient passes through a hidden block.

    Block l follows the gradient of <F_l(h_l), a>, where h_l and the credit a are held fixed. The
    embedding follows the same kind of gradient. The head follows its own gradient at h_L.

    Args:
      network: BlockNetwork to train.
      credit: estimator of the credits.
      cfg: `config.rule`. `name`: `backprop` trains the network by the true gradient and only
        observes the estimator. `shift`: 1 for the credit of the block's output, which is the right
        one, or 0 for that of its input. `normalise`: see `scaled`. `exact_last`: whether the known
        gradient is used as a_L. `clip`: largest gradient norm of each part, 0 for no clipping.
        `gate`: whether each layer's credit is weighted by `trust`.

    Returns:
      A Rule; its scalars are `loss` and `accuracy` of the batch and those of the estimator.
    """

    def init(key, params):
        del params
        return credit.init(key)

    def update(rule, params, stats, batch, key):
        block_key, credit_key, gate_key = jax.random.split(key, 3)
        seen = observe(network, params, batch, block_key)
        credits, rule, scalars = credit.assign(rule, seen, credit_key)
        credits = credits.at[-1].set(seen.last) if cfg.exact_last else credits
        if cfg.name == "backprop":
            grads = jax.grad(lambda p: observe(network, p, batch, block_key).loss.mean())(params)
        else:
            used = scaled(credits, cfg.normalise)
            if cfg.gate:
                used = used * trust(seen, credits, gate_key).reshape(-1, *[1] * (used.ndim - 1))
            grads = block_gradients(network, params, batch, seen, used, block_key, cfg.shift)
            grads = {name: clipped(part, cfg.clip) for name, part in grads.items()}
        rule = credit.follow(rule, grads) if credit.follow else rule
        hits = (seen.target + seen.error).argmax(-1) == batch.y  # the output itself
        scalars |= {"loss": seen.loss.mean(), "accuracy": hits.mean(dtype=jnp.float32)}
        return Proposal(grads, rule, stats, scalars)

    return Rule(init, update)


def scaled(credits, how: str):
    """Scale credits for the update.

    Args:
      credits: credits [L+1, B, ...].
      how: `raw` leaves the credits as they are. `rms` divides each example's credit by its root
        mean square, so that examples that are already fitted keep their weight in the update.
        `batch` divides by one root mean square per layer.

    Returns:
      Credits of the same shape.
    """
    if how == "raw":
        return credits
    axes = tuple(range(2 if how == "rms" else 1, credits.ndim))
    return credits / (jnp.sqrt(jnp.square(credits).mean(axes, keepdims=True)) + 1e-6)


def block_gradients(
    network: BlockNetwork, params, batch, seen: ForwardView, credits, key, shift: int = 1
):
    """Compute the gradient of each part of a network from its own credit, mean over the batch.

    Args:
      network: BlockNetwork to train.
      params: parameters of the network.
      batch: Batch of B examples.
      seen: view of the forward pass, from `observe`.
      credits: credits [L+1, B, ...].
      key: random key that was passed to `observe`.
      shift: 1 for the credit of a block's output, 0 for that of its input.

    Returns:
      A tree of the structure of `params`.
    """

    def pulled(name, run, cotangent):
        _, pull = jax.vjp(lambda part: run(params | {name: part}), params[name])
        return pull(cotangent / len(batch.y))[0]

    grads = {}
    for i in range(network.depth):
        grads[f"block_{i}"] = pulled(
            f"block_{i}",
            lambda p, i=i: network.block(p, i, seen.h[i], key),
            credits[i + shift],
        )
    if "embed" in params:
        grads["embed"] = pulled("embed", lambda p: network.embed(p, batch.x), credits[0])
    if "head" in params:
        grads["head"] = pulled("head", lambda p: network.output(p, seen.h[-1]), seen.error)
    return grads


def clipped(tree, most: float):
    """Clip the gradient of one part of a network by its norm.

    Args:
      tree: gradient of the part.
      most: largest L2 norm; 0 for no clipping.

    Returns:
      A tree of the same structure.
    """
    if not most:
        return tree
    norm = jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))
    return jax.tree.map(lambda leaf: leaf * jnp.minimum(1.0, most / (norm + 1e-12)), tree)


def trust(seen: ForwardView, credits, key):
    """Measure how well each layer's credit predicts the effect of a random step on the loss.

    Args:
      seen: view of the forward pass, from `observe`.
      credits: credits [L+1, B, ...].
      key: random key for the directions.

    Returns:
      [L+1], the squared correlation over examples between the predicted and the true directional
      derivatives. It is 0 where the correlation is negative, and 1 for the last hidden state.
    """
    v_LxB = directions(key, seen.h[:-1].shape, "rademacher")
    answers_LxB = tail_targets(seen, v_LxB[:, None])[:, 0]
    said_LxB = (credits[:-1] * v_LxB).reshape(*answers_LxB.shape, -1).sum(-1)
    r_L = jax.vmap(correlation)(said_LxB, answers_LxB)
    return jnp.append(jnp.square(jnp.maximum(r_L, 0.0)), 1.0)


def correlation(a, b):
    """Compute the Pearson correlation of two arrays; 0 if one of them is constant.

    Args:
      a: array.
      b: array of the same size.

    Returns:
      Scalar in [-1, 1].
    """
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = jnp.sqrt(jnp.vdot(a, a) * jnp.vdot(b, b))
    return jnp.where(norm > 0, jnp.vdot(a, b) / jnp.where(norm > 0, norm, 1.0), 0.0)
