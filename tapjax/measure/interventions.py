"""Effects of interventions on single units and whole layers of a network."""

from functools import partial

import jax
import jax.numpy as jnp

from tapjax.measure.unit_probe import named_activations
from tapjax.step.losses import restricted, score_by_example
from tapjax.types import Batch, Model

HEADS = "_heads"  # end of the names of layers whose units are attention heads
KINDS = ("undo", "transplant", "ablate_before", "ablate_after")


def effects(model: Model, loss, before, after, batch: Batch, layers) -> dict[str, jax.Array]:
    """Measure what every unit and every layer does to the loss, in a network at two steps.

    There are four interventions. `undo` gives a unit of the later network the activations that it
    had in the earlier one, on the same examples (activation patching, Vig et al. 2020,
    https://arxiv.org/abs/2004.12265). `transplant` gives a unit of the earlier network the later
    activations. `ablate_before` and `ablate_after` replace the activations by their mean over
    examples and positions.

    Args:
      model: network with `Model.watch`.
      loss: loss per example, `(outputs, batch) -> [B]`.
      before: (parameters, other variables) at the earlier step.
      after: (parameters, other variables) at the later step.
      batch: examples on which the effects are measured.
      layers: names of layers, among those of `unit_probe.named_activations`. The units of a layer
        of heads are whole heads.

    Returns:
      `KIND/LAYER/loss` and `KIND/LAYER/accuracy` [U + 1], the mean loss and the accuracy with the
      intervention less those without it, for each unit and, last, for the whole layer;
      `KIND/LAYER/class_loss` [U + 1, C], the same for the examples of each class, not-a-number for
      a class without examples (for sequences, C is 1 and all are not-a-number); and `loss_before`,
      `loss_after`, `accuracy_before` and `accuracy_after`, without interventions.
    """
    watched = [model.watch(*side, batch.x)[:2] for side in (before, after)]
    plain = [_scores(loss, logits, batch) for logits, _ in watched]
    sides = ("before", "after")
    found = {
        f"{name}_{side}": scores[name]
        for side, scores in zip(sides, plain, strict=True)
        for name in ("loss", "accuracy")
    }
    for kind in KINDS:
        own = int(kind in ("undo", "ablate_after"))  # the network that is intervened in
        state, (_, activations) = (before, after)[own], watched[own]
        other = dict(named_activations(watched[1 - own][1], heads=True))
        for name, here in named_activations(activations, heads=True):
            if name not in layers:
                continue
            wanted = mean_activation(name, here) if "ablate" in kind else other[name]
            replaced = _replacement(model, state, activations, name, wanted, batch.x)
            size = here.shape[unit_axis(name)]
            units = jnp.concatenate([jnp.eye(size, dtype=bool), jnp.ones((1, size), bool)])
            scored = partial(_scores_of, loss, replaced, batch)
            for key, values in jax.lax.map(scored, units).items():
                found[f"{kind}/{name}/{key}"] = values - plain[own][key][None]
    return found


def unit_axis(name: str) -> int:
    """Return the axis of the activations of a layer along which its units are."""
    return -2 if name.endswith(HEADS) else -1


def mean_activation(name: str, activations):
    """Return the mean of activations over examples and positions, with these axes kept."""
    places = activations.ndim + unit_axis(name)
    return activations.mean(tuple(range(places)), keepdims=True)


def _replacement(model, state, activations, name, wanted, x):
    """Return a function from a mask of units of a layer to the outputs with these replaced."""
    leaves, tree = jax.tree.flatten(activations)
    numbers = named_activations(jax.tree.unflatten(tree, range(len(leaves))), heads=True)
    place = dict(numbers)[name]
    change = wanted - leaves[place]

    def replaced(mask_U):
        shape = [1] * change.ndim
        shape[unit_axis(name)] = len(mask_U)
        shifts = [jnp.zeros_like(leaf) for leaf in leaves]
        shifts[place] = jnp.where(mask_U.reshape(shape), change, 0.0)
        return model.watch(*state, x, jax.tree.unflatten(tree, shifts))[0]

    return replaced


def _scores_of(loss, replaced, batch, mask_U):
    return _scores(loss, replaced(mask_U), batch)


def _scores(loss, outputs, batch):
    outputs = restricted(outputs, batch.allowed)
    loss_P = loss(outputs, batch)
    found = {"loss": loss_P.mean(), "accuracy": score_by_example(outputs, batch.y).mean()}
    if batch.y.ndim > 1:
        return found | {"class_loss": jnp.full(1, jnp.nan)}
    member_PxC = (batch.y[:, None] == jnp.arange(outputs.shape[-1])[None]).astype(jnp.float32)
    return found | {"class_loss": loss_P @ member_PxC / member_PxC.sum(0)}
