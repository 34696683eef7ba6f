"""Training of a network and its wider clones on the same batches in one run.

The widest network is the network of the run. The narrower networks are called arms in the code.
They are stored in the state of the learning rule. They are the base network and, if cloning is
repeated, the networks between the base and the widest.

Until its cloning step, a wider network trains as a clone of the base network at initialisation. At
that step it becomes the clone of the next narrower network in its current, trained state.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tapjax.config.schema import ConfigError
from tapjax.measure.unit_metrics import unit_metrics
from tapjax.measure.unit_probe import unit_samples
from tapjax.plasticity import cloning
from tapjax.step.optimizers import at_the_rate_of, with_drive_of
from tapjax.step.step import INIT, update_key
from tapjax.types import Model, Proposal, Rule, TrainState, Tree

SAME = 1e-4  # largest relative difference of logits right after cloning


class Arm(NamedTuple):
    """A narrower network, with its rule and optimizer.

    `name` is x1 for the base, x2 for a network with twice its units, and so on.
    """

    name: str
    model: Model
    rule: Rule
    tx: optax.GradientTransformation


class Trained(NamedTuple):
    """Parameters, running statistics and optimizer state of a narrower network."""

    params: Tree
    stats: Tree
    opt: Tree


def with_arms(rule: Rule, model: Model, arms: list[Arm], factor: int) -> Rule:
    """Extend a rule so that it also trains the narrower networks.

    Args:
      rule: rule of the widest network.
      model: widest network.
      arms: narrower networks, the base first; each is `factor` times as wide as the previous one.
      factor: number of clones per unit, from each network to the next.

    Returns:
      A Rule whose state is (state of the given rule, one Trained per narrower network). Its scalars
      also contain those of the narrower networks, such as `x1_loss`.
    """

    def init(key, params):
        # All networks start as clones of one base, which is initialised by the seed's key.
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
    """Return the parameters and running statistics of a model that is the clone of a narrower one.

    Args:
      model: wider network.
      params: parameters of the narrower network.
      stats: running statistics of the narrower network.
      factor: number of clones per unit.

    Returns:
      (parameters, running statistics) of the wider network.
    """
    like = jax.eval_shape(model.init, jax.random.key(0))
    return cloning.expand(params, like[0], factor), cloning.expand(stats, like[1], factor)


def make_cloning(model: Model, tx, arms: list[Arm], factor: int, steps: list[int], shape):
    """Make the functions by which networks become clones, and the steps at which they do.

    Args:
      model: widest network.
      tx: optimizer of the widest network.
      arms: narrower networks, the base first.
      factor: number of clones per unit, from each network to the next.
      steps: steps at which the second network, the third, ..., the widest becomes a clone.
      shape: shape of one input.

    Returns:
      (function of a seed's state before the first step, transitions). The transitions are pairs
      (step, function of the states [S, ...]); they raise a ConfigError if cloning changes the
      outputs of the network.
    """

    def cloned(state: TrainState, i: int) -> TrainState:
        """Replace the network after narrower network i by the clone of network i."""
        own, trained = state.rule
        wider = [*arms[1:], Arm("", model, None, tx)][i]
        params, stats = clone(wider.model, trained[i].params, trained[i].stats, factor)
        # Moments are reinitialised. The schedule of the learning rate continues, so that both
        # networks have the same learning rate.
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


def make_expansion(model: Model, factor: int):
    """Make a function that expands the narrower networks to the width of the widest one.

    Args:
      model: widest network.
      factor: number of clones per unit, from each network to the next.

    Returns:
      `expanded(state) -> ((parameters, running statistics), ...)`, the base first. Each network
      computes the function of the narrower one, from which it was cloned at this step.
    """

    def expanded(state: TrainState):
        trained = state.rule[1]
        return tuple(
            clone(model, at.params, at.stats, factor ** (len(trained) - i))
            for i, at in enumerate(trained)
        )

    return expanded


def make_clone_probe(model: Model, loss, arms: list[Arm], factor: int, rows: int):
    """Make a measurement of the differences between clones and of the narrower networks.

    Args:
      model: widest network.
      loss: per-example loss.
      arms: narrower networks, the base first.
      factor: number of clones per unit, from each network to the next.
      rows: approximate maximum number of samples per layer, see `make_unit_probe`.

    Returns:
      `probe(state, data) -> dict`. All its arrays have one value per layer with units.
      `cloning_loss` and `cloning_loss_backward` are 1 - R^2 of activations and of gradients within
      the clones of each unit of the base. `activation_similarity` and `feature_alignment` compare
      the widest network with the base. `x1_NAME` and so on are the measurements of each narrower
      network, where NAME is a name of `units.unit_metrics`.
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
    """Compute the factors of SGD's updates with which a clone follows its base exactly (spec T6).

    Args:
      small: shapes of the base's parameters.
      wide: shapes of the clone's parameters.
      factor: total number of clones per unit of the base, f.

    Returns:
      Tree of numbers. The factor is f for kernels that lead from units without clones into cloned
      units, 1 for kernels between cloned units, and 1 / f for kernels that lead out of cloned units
      into units without clones. It is f for biases and normalisation parameters of cloned units.
    """

    def one(path, a, b):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        cloned = [x != y for x, y in zip(a.shape, b.shape, strict=True)]
        if name.endswith("kernel"):
            return float(factor) ** (int(cloned[-1]) - int(cloned[-2]))
        return float(factor) if any(cloned) else 1.0

    return jax.tree_util.tree_map_with_path(one, small, wide)
