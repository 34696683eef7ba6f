"""Train a network and its wider clones on the same batches in one run.

The widest network is the run's own. The narrower ones, called arms, are kept in the state of its
rule: the base and, if cloning is repeated, the networks in between. Until its cloning step a wider
network trains as a clone of the base at initialisation; at that step it becomes the clone of the
next narrower network as trained so far.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tapjax.config.schema import ConfigError
from tapjax.measure.unit_probe import unit_samples
from tapjax.measure.units import unit_metrics
from tapjax.plasticity import cloning
from tapjax.step.optimizers import at_the_rate_of, with_drive_of
from tapjax.step.step import INIT, update_key
from tapjax.types import Model, Proposal, Rule, TrainState, Tree

SAME = 1e-4  # largest difference of logits, relative to them, right after cloning


class Arm(NamedTuple):
    """A narrower network: `name` (x1 is the base, x2 has twice its units), rule and optimizer."""

    name: str
    model: Model
    rule: Rule
    tx: optax.GradientTransformation


class Trained(NamedTuple):
    """What an arm has learned."""

    params: Tree
    stats: Tree
    opt: Tree


def with_arms(rule: Rule, model: Model, arms: list[Arm], factor: int) -> Rule:
    """A rule that also trains the arms.

    Args:
      rule: of the widest network.
      model: that network.
      arms: narrower ones, the base first; each is `factor` times as wide as the one before.
      factor: clones of every unit.

    Returns:
      A Rule with state (the rule's own, one Trained for each arm); scalars have `x1_loss` and so
      on besides.
    """

    def init(key, params):
        # All begin as clones of one base, which is the network that the seed's key gives.
        trained, (own, stats) = [], arms[0].model.init(key)
        for arm in arms:
            if trained:
                own, stats = clone(arm.model, trained[-1].params, trained[-1].stats, factor)
            trained.append(Trained(own, stats, arm.tx.init(own)))
        return rule.init(key, params), tuple(trained)

    def update(state, params, stats, batch, key):
        own, trained = state
        proposal = rule.update(own, params, stats, batch, key)
        scalars, moved = dict(proposal.scalars), []
        for arm, at in zip(arms, trained, strict=True):
            grads, _, new_stats, found, _ = arm.rule.update((), at.params, at.stats, batch, key)
            updates, opt = optax.with_extra_args_support(arm.tx).update(
                grads, at.opt, at.params, key=key
            )
            moved.append(Trained(optax.apply_updates(at.params, updates), new_stats, opt))
            scalars |= {f"{arm.name}_{name}": value for name, value in found.items()}
        return Proposal(
            proposal.grads, (proposal.rule, tuple(moved)), proposal.stats, scalars, proposal.seen
        )

    return Rule(init, update)


def clone(model: Model, params, stats, factor: int):
    """Parameters and running statistics of a model as the clone of a narrower one."""
    like = jax.eval_shape(model.init, jax.random.key(0))
    return cloning.expand(params, like[0], factor), cloning.expand(stats, like[1], factor)


def make_cloning(model: Model, tx, arms: list[Arm], factor: int, steps: list[int], shape):
    """When and how networks become clones.

    Args:
      model: the widest network.
      tx: its optimizer.
      arms: narrower ones, the base first.
      factor: clones of every unit.
      steps: at which the second arm, the third, ..., the widest is cloned.
      shape: of one input.

    Returns:
      (function of a seed's state before the first step, transitions).
    """

    def cloned(state: TrainState, i: int) -> TrainState:
        """The network after arm i becomes its clone."""
        own, trained = state.rule
        wider = [*arms[1:], Arm("", model, None, tx)][i]
        params, stats = clone(wider.model, trained[i].params, trained[i].stats, factor)
        # Moments begin anew; the learning rate goes on, so that both learn at the same one.
        opt = at_the_rate_of(wider.tx.init(params), trained[i].opt)
        if i == len(arms) - 1:
            return state._replace(params=params, stats=stats, opt=opt)
        fresh = Trained(params, stats, opt)
        return state._replace(rule=(own, (*trained[: i + 1], fresh, *trained[i + 2 :])))

    def difference(state: TrainState, i: int):
        x = jax.random.normal(jax.random.fold_in(state.key, INIT), (16, *shape))
        trained = [*state.rule[1], Trained(state.params, state.stats, ())]
        models = [*(arm.model for arm in arms), model]
        a, b = (models[j].apply(trained[j].params, trained[j].stats, x)[0] for j in (i, i + 1))
        return jnp.abs(a - b).max() / jnp.maximum(jnp.abs(a).max(), 1.0)

    def change(i):
        def both(state):
            after = cloned(state, i)
            return after, difference(after, i)

        compiled = jax.jit(jax.vmap(both))

        def checked(states):
            states, gap_S = compiled(states)
            if not (np.asarray(gap_S) < SAME).all():
                raise ConfigError(
                    f"cloning changed the function: logits differ by {float(gap_S.max()):.1e} of "
                    "their size"
                )
            return states

        return checked

    def begin(state: TrainState) -> TrainState:
        state = cloned(state, len(arms) - 1)
        key = update_key(state.key, state.step)
        own, trained = state.rule
        trained = tuple(at._replace(opt=with_drive_of(at.opt, key)) for at in trained)
        return state._replace(opt=with_drive_of(state.opt, key), rule=(own, trained))

    return begin, tuple((step, change(i)) for i, step in enumerate(steps))


def make_clone_probe(model: Model, loss, arms: list[Arm], factor: int, rows: int):
    """How much clones differ, and what the narrower networks are like.

    Args:
      model: the widest network.
      loss: per-example loss.
      arms: narrower ones, the base first.
      factor: clones of every unit, from each network to the next.
      rows: see `make_unit_probe`.

    Returns:
      `probe(state, data) -> dict`: `cloning_loss` and `cloning_loss_backward` [U] (1 - R^2 within
      the clones of each unit of the base), `activation_similarity` and `feature_alignment` [U] with
      the base, and `x1_NAME` [U] of each arm, NAME as in `units.unit_metrics`.
    """
    whole = factor ** len(arms)

    def probe(state: TrainState, data):
        batch = data.probe
        samples = unit_samples(model, loss, state.params, state.stats, batch, rows)
        of_arms = [
            unit_samples(arm.model, loss, at.params, at.stats, batch, rows)
            for arm, at in zip(arms, state.rule[1], strict=True)
        ]
        layers = [
            {
                "cloning_loss": cloning.unexplained(a, whole),
                "cloning_loss_backward": cloning.unexplained(g, whole),
                **cloning.similarity(base, a, whole),
            }
            for (a, g), (base, _) in zip(samples, of_arms[0], strict=True)
        ]
        found = jax.tree.map(lambda *values: jnp.stack(values), *layers)
        for arm, pairs in zip(arms, of_arms, strict=True):
            measured = [unit_metrics(*pair) for pair in pairs]
            stacked = jax.tree.map(lambda *values: jnp.stack(values), *measured)
            found |= {f"{arm.name}_{name}": value for name, value in stacked.items()}
        return found

    return probe


def tracking_rates(small, wide, factor: int):
    """By how much to scale SGD's updates so that a clone follows its base exactly (spec T6).

    Args:
      small: shapes of the base's parameters.
      wide: those of the clone's.
      factor: clones of every unit, all together.

    Returns:
      Tree of numbers: f for what leads from single units into cloned ones, 1 between cloned ones,
      1 / f out of them; f for biases and norms of cloned units.
    """

    def one(path, a, b):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        cloned = [x != y for x, y in zip(a.shape, b.shape, strict=True)]
        if name.endswith("kernel"):
            return float(factor) ** (int(cloned[-1]) - int(cloned[-2]))
        return float(factor) if any(cloned) else 1.0

    return jax.tree_util.tree_map_with_path(one, small, wide)
