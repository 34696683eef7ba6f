"""One training step as a pure function of the state and the data."""

import jax
import jax.numpy as jnp
import optax

from tapjax.step.optimizers import applied_rate
from tapjax.types import DeviceData, Model, Rule, TrainState

# What a key is for. Folding in a purpose keeps, for example, the batch order of a seed the same
# whatever the model draws for its dropout.
INIT, RULE, BATCH, MODEL, RESET, STREAM, UPDATE = range(7)


def init_state(key, model: Model, rule: Rule, tx) -> TrainState:
    """The state before the first update.

    Args:
      key: the seed's key.
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
    """The L2 norm over all leaves; as dot products, which XLA's CPU back end vectorises."""
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))


def online_norm(tree):
    """The same for batches of one example, whose gradients are outer products.

    XLA's CPU back end takes the dot product of such a one entry by entry, which can cost more than
    the rest of the step; a matrix product by ones it does not.
    """

    def total(leaf):
        squares = jnp.square(leaf).reshape(len(leaf), -1)
        return (jnp.ones(len(leaf)) @ squares).sum()

    return jnp.sqrt(sum(total(leaf) for leaf in jax.tree.leaves(tree)))


def make_proposal(rule: Rule, sample):
    """A rule's proposal for the batch of a state's own step.

    Args:
      rule: learning rule.
      sample: `(key, step, data) -> Batch`, pure and jit-safe.

    Returns:
      `propose(state, data) -> Proposal`.
    """

    def propose(state: TrainState, data: DeviceData):
        batch = sample(jax.random.fold_in(state.key, BATCH), state.step, data)
        model_key = jax.random.fold_in(jax.random.fold_in(state.key, MODEL), state.step)
        return rule.update(state.rule, state.params, state.stats, batch, model_key)

    return propose


def update_key(key, step):
    """The random key that an optimizer is given.

    Args:
      key: the seed's key.
      step: updates done.

    Returns:
      A key.
    """
    return jax.random.fold_in(jax.random.fold_in(key, UPDATE), step)


def make_step(propose, tx, norm=global_norm, observe=None, rate=applied_rate, renew_stats=None):
    """Compose sampling, rule and optimizer into one step.

    Args:
      propose: from `make_proposal`; its pseudo-gradients feed the optimizer.
      tx: optax transformation; its update may also take `seen`, the batch's activations, and a
        random `key`.
      norm: `global_norm` or `online_norm`.
      observe: `(state, data, grads, updates, new state) -> dict`, further scalars.
      rate: function of the optimizer's state after the update: the learning rate of it.
      renew_stats: `(stats, optimizer's state after the update) -> stats`, the model's other
        variables after the update; None to leave them alone.

    Returns:
      `step(state, data) -> (state, scalars)`; the scalars are those of the rule plus the global
      L2 norm of the pseudo-gradient, both taken before the update, and the learning rate of it.
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
