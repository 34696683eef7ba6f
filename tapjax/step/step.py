"""One training step as a pure function of the state and the data."""

import jax
import jax.numpy as jnp
import optax

from tapjax.step.optimizers import applied_rate
from tapjax.types import DeviceData, Model, Rule, TrainState

# Purposes of random keys. Each purpose is folded into the key of the seed. Therefore, for example,
# the batch order of a seed does not depend on what the model draws for its dropout.
INIT, RULE, BATCH, MODEL, RESET, STREAM, UPDATE = range(7)


def init_state(key, model: Model, rule: Rule, tx) -> TrainState:
    """Make the state before the first update.

    Args:
      key: random key of the seed.
      model: network.
      rule: learning rule.
      tx: optax transformation.

    Returns:
      A TrainState at step 0.
    """
    params, stats = model.init(jax.random.fold_in(key, INIT))
    rule_state = rule.init(jax.random.fold_in(key, RULE), params)
    return TrainState(jnp.int32(0), params, stats, tx.init(params), rule_state, key)


def global_norm(tree):
    """Compute the L2 norm over all leaves of a tree.

    It is computed by dot products, because XLA's CPU back end vectorises them.

    Args:
      tree: tree of arrays.

    Returns:
      Scalar.
    """
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))


def online_norm(tree):
    """Compute the L2 norm over all leaves of a tree for batches of one example.

    The gradients are then outer products. XLA's CPU back end computes the dot product of an outer
    product entry by entry, which can cost more than the rest of the step. A matrix product with
    ones avoids this.

    Args:
      tree: tree of arrays.

    Returns:
      Scalar.
    """

    def total(leaf):
        squares = jnp.square(leaf).reshape(len(leaf), -1)
        return (jnp.ones(len(leaf)) @ squares).sum()

    return jnp.sqrt(sum(total(leaf) for leaf in jax.tree.leaves(tree)))


def make_proposal(rule: Rule, sample):
    """Make a function that returns a rule's proposal for the batch of the state's current step.

    Args:
      rule: learning rule.
      sample: function `(key, step, data) -> Batch`, pure and jit-safe.

    Returns:
      `propose(state, data) -> Proposal`.
    """

    def propose(state: TrainState, data: DeviceData):
        batch = sample(jax.random.fold_in(state.key, BATCH), state.step, data)
        model_key = jax.random.fold_in(jax.random.fold_in(state.key, MODEL), state.step)
        return rule.update(state.rule, state.params, state.stats, batch, model_key)

    return propose


def update_key(key, step):
    """Return the random key that the optimizer gets at a step.

    Args:
      key: random key of the seed.
      step: number of updates made.

    Returns:
      A random key.
    """
    return jax.random.fold_in(jax.random.fold_in(key, UPDATE), step)


def make_step(propose, tx, norm=global_norm, observe=None, rate=applied_rate, renew_stats=None):
    """Compose sampling, rule and optimizer into one step.

    Args:
      propose: function from `make_proposal`; its pseudo-gradients are passed to the optimizer.
      tx: optax transformation; its update may also take `seen`, the batch's activations, and a
        random `key`.
      norm: `global_norm` or `online_norm`.
      observe: function `(state, data, grads, updates, new state) -> dict` of further scalars; None
        for no further scalars.
      rate: function from the optimizer's state after the update to the learning rate of the update.
      renew_stats: function `(stats, optimizer's state after the update) -> stats`, applied to the
        model's other variables after the update; None leaves them unchanged.

    Returns:
      `step(state, data) -> (state, scalars)`. The scalars are those of the rule, the global L2 norm
      of the pseudo-gradient (both computed before the update), the learning rate of the update and
      the scalars of `observe`.
    """
    tx = optax.with_extra_args_support(tx)

    def step(state: TrainState, data: DeviceData):
        grads, rule_state, stats, scalars, seen = propose(state, data)
        key = update_key(state.key, state.step)
        updates, opt = tx.update(grads, state.opt, state.params, seen=seen, key=key)
        params = optax.apply_updates(state.params, updates)
        stats = renew_stats(stats, opt) if renew_stats else stats
        scalars = scalars | {"grad_norm": norm(grads), "lr": rate(opt)}
        new = TrainState(state.step + 1, params, stats, opt, rule_state, state.key)
        return new, scalars | (observe(state, data, grads, updates, new) if observe else {})

    return step
