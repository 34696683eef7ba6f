"""Effects of interventions on single units and whole layers of a network."""

import jax
import jax.numpy as jnp

from tapjax.measure.unit_probe import named_activations
from tapjax.step.losses import restricted
from tapjax.types import Batch, Model

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
      layers: names of layers, among those of `unit_probe.unit_layers`.

    Returns:
      `KIND/LAYER/loss` and `KIND/LAYER/accuracy` [U + 1], the mean loss and the accuracy with the
      intervention less those without it, for each unit and, last, for the whole layer;
      `KIND/LAYER/class_loss` [U + 1, C], the same for the examples of each class, not-a-number for
      a class without examples; and `loss_before`, `loss_after`, `accuracy_before` and
      `accuracy_after`, without interventions.
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
        other = dict(named_activations(watched[1 - own][1]))
        for name, here in named_activations(activations):
            if name not in layers:
                continue
            size, places = here.shape[-1], tuple(range(here.ndim - 1))
            wanted = here.mean(places, keepdims=True) if "ablate" in kind else other[name]
            shifted = _with_unit(model, loss, state, activations, name, wanted - here, batch)
            units = jnp.concatenate([jnp.eye(size, dtype=bool), jnp.ones((1, size), bool)])
            for key, values in jax.lax.map(shifted, units).items():
                found[f"{kind}/{name}/{key}"] = values - plain[own][key][None]
    return found


def _with_unit(model, loss, state, activations, name, change, batch):
    """Return a function that scores the network with the change of the units of a mask [D]."""
    leaves, tree = jax.tree.flatten(activations)
    numbers = dict(named_activations(jax.tree.unflatten(tree, range(len(leaves)))))

    def scored(mask_D):
        shifts = [jnp.zeros_like(leaf) for leaf in leaves]
        shifts[numbers[name]] = jnp.where(
            mask_D.reshape((1,) * (change.ndim - 1) + (-1,)), change, 0.0
        )
        outputs = model.watch(*state, batch.x, jax.tree.unflatten(tree, shifts))[0]
        return _scores(loss, outputs, batch)

    return scored


def _scores(loss, outputs, batch):
    outputs = restricted(outputs, batch.allowed)
    loss_P = loss(outputs, batch)
    member_PxC = (batch.y[:, None] == jnp.arange(outputs.shape[-1])[None]).astype(jnp.float32)
    return {
        "loss": loss_P.mean(),
        "accuracy": (outputs.argmax(-1) == batch.y).astype(jnp.float32).mean(),
        "class_loss": loss_P @ member_PxC / member_PxC.sum(0),
    }
