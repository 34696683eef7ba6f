"""The learning rate that is recorded is the one that was applied, whatever began anew before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.plasticity import cloning, continual
from tapjax.config import schema
from tapjax.data.datasets import Arrays
from tapjax.data.sampling import device_data
from tapjax.recipes import credit, plasticity
from tapjax.step.optimizers import make_optimizer, make_schedule
from tapjax.step.step import global_norm
from tapjax.store import checkpoint


def tiny(shape=(2, 2, 1)):
    """Forty images in three classes."""
    x = np.random.default_rng(0).integers(0, 255, (40, *shape)).astype(np.uint8)
    y = (np.arange(40) % 3).astype(np.int32)
    return Arrays("tiny", x, y, x, y, 3, np.zeros(1, np.float32), np.ones(1, np.float32))


def follow(cfg):
    """All scalars of two seeds, [S, T], with the transitions of the config and, beside what is
    recorded, by how much parameters moved."""
    cfg.data.batch_size, cfg.probe.size = 8, 8
    schema.check(cfg)
    recipe = plasticity.recipe(cfg, tiny())
    data, _ = device_data(tiny(), 8)

    def one(state):
        new, scalars = recipe.step(state, recipe.prepare(state, data))
        moved = global_norm(jax.tree.map(jnp.subtract, new.params, state.params))
        return new, scalars | {"moved": moved}

    step = jax.jit(jax.vmap(one))
    states = jax.jit(jax.vmap(recipe.init))(jax.vmap(jax.random.key)(jnp.arange(2)))
    found = []
    for t in range(cfg.steps):
        for at, change in recipe.transitions:
            states = change(states) if at == t else states
        states, scalars = step(states)
        found.append(scalars)
    return {name: np.stack([row[name] for row in found], 1) for name in found[0]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "begins_anew"),
    [
        (
            {
                "tasks.reset_optimizer": True,
                "optimizer.schedule": "linear",
                "optimizer.warmup_steps": 2,
            },
            True,
        ),
        ({"tasks.head": "zero", "optimizer.schedule": "cosine", "optimizer.drive": 0.4}, False),
        ({"renewal.name": "cbp", "tasks.reset": True, "optimizer.schedule": "cosine"}, True),
    ],
)
def test_recorded_and_applied_rates_agree_around_a_new_task(fields, begins_anew):
    cfg = continual.get_config("quick,arch=mlp:widths=3-2,optimizer=sgd,lr=0.1")
    cfg.update_from_flattened_dict({"renewal.rate": 0.0} | fields)
    cfg.steps, cfg.tasks.steps = 12, 4
    cfg.probe.every = cfg.eval_every = cfg.chunk_steps = 4
    found = follow(cfg)
    np.testing.assert_allclose(found["moved"], found["lr"] * found["grad_norm"], rtol=1e-3)
    if not cfg.optimizer.drive:
        count = np.arange(12) % (4 if begins_anew else 12)
        expected = [float(make_schedule(cfg.optimizer, 12)(n)) for n in count]
        np.testing.assert_allclose(found["lr"][0], expected, rtol=1e-6)


@pytest.mark.slow
def test_clones_go_on_at_the_rate_of_their_base():
    """Before and after it becomes a clone, under a schedule and a drive: at corrected rates both
    stay together, which they do not if either begins its schedule or drive anew."""
    cfg = cloning.get_config("quick,arch=mlp:widths=3-2,lr=0.5,track=true,times=2")
    cfg.optimizer.update(schedule="cosine", drive=0.4)
    cfg.steps, cfg.clone.step, cfg.probe.every = 12, 4, 4
    cfg.eval_every = cfg.chunk_steps = 4
    found = follow(cfg)
    np.testing.assert_allclose(found["loss"], found["x1_loss"], rtol=1e-4)
    schedule = [float(make_schedule(cfg.optimizer, 12)(t)) for t in range(12)]
    drive = found["lr"] / np.array(schedule)
    assert drive.std() > 0.1 and 0.6 <= drive.min() and drive.max() <= 1.4
    x = (drive - 1) / 0.4 * 1.285  # one Henon map from the first step to the last
    np.testing.assert_allclose(x[:, 2:], 1 - 1.4 * x[:, 1:-1] ** 2 + 0.3 * x[:, :-2], atol=1e-4)


def test_blocks_with_rates_of_their_own_record_that_of_the_head():
    cfg = schema.defaults("credit")
    cfg.family, cfg.model.name = "credit", "residual:depth=1,width=4"
    cfg.optimizer.update(drive=0.4, name="sgd")
    cfg.rule.update(name="local", block_lr=7 * cfg.optimizer.lr)
    cfg.data.batch_size = 8
    recipe = credit.recipe(cfg, tiny())
    data, _ = device_data(tiny(), 8)

    @jax.jit
    def first():
        return recipe.step(recipe.init(jax.random.key(0)), data)[1]

    assert 0.6 <= float(first()["lr"]) / cfg.optimizer.lr <= 1.4


def test_states_of_all_remedies_and_arrays_without_elements_are_checkpointed(tmp_path):
    cfg = schema.defaults().optimizer
    cfg.update(noise=0.1, l2_init=0.1, spectral=0.1, perturb=0.1, drive=0.1, weight_decay=0.1)
    params = {"w": jnp.ones((3, 2)), "b": jnp.arange(2.0)}
    tx = make_optimizer(cfg, 0.1, per_element=True)
    state = tx.init(params)
    _, state = tx.update(params, state, params, key=jax.random.key(0))
    states = {"opt": state, "none": jnp.zeros((2, 0)), "key": jax.random.key(1)}
    with checkpoint.open_manager(tmp_path / "ckpt") as manager:
        checkpoint.save(manager, 5, states)
        found = checkpoint.restore_latest_good(manager, jax.eval_shape(lambda: states))
    assert found.step == 5 and found.states["none"].shape == (2, 0)
    assert checkpoint.digests(found.states) == checkpoint.digests(states)
    assert all(leaf.size for leaf in jax.tree.leaves(state))
