"""Optimizers against torch.optim, and the learning rate that is recorded against the one applied.

torch_optimizers.json holds what torch 2.13 gives in double precision; to make it again:
`python -m tests.tapjax.step.test_optimizers`.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tapjax.config import schema
from tapjax.step.optimizers import OPTIMIZERS, applied_rate, make_optimizer, make_schedule

ORACLE = Path(__file__).with_name("torch_optimizers.json")
STEPS, SHOWN, LR = 100, (1, 10, 100), 0.01
# Name -> fields of `config.optimizer` other than their defaults; the rate is LR.
CASES = {
    "adam": {"name": "adam"},
    "adam, L2": {"name": "adam", "weight_decay": 0.1},
    "adam, b1 = 0": {"name": "adam", "b1": 0.0},
    "adamw": {"name": "adamw", "weight_decay": 0.01},
    "sgd": {"name": "sgd"},
    "sgd, L2": {"name": "sgd", "weight_decay": 0.1},
    "momentum": {"name": "momentum"},
    "momentum, cosine": {"name": "momentum", "schedule": "cosine"},
    "rmsprop": {"name": "rmsprop"},
    "rmsprop, momentum": {"name": "rmsprop", "momentum": 0.9, "weight_decay": 0.1},
}
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((20, 4)), rng.standard_normal((20, 3))
START = {"kernel": rng.standard_normal((4, 3)), "bias": rng.standard_normal(3)}


def gradient(params, xp):
    """Of the mean squared error of tanh(x W + b)."""
    h = xp.tanh(X @ params["kernel"] + params["bias"][None])
    slope = 2 * (h - Y) * (1 - h**2) / Y.size
    return {"kernel": X.T @ slope, "bias": slope.sum(0)}


def torch_history(fields):
    """Parameters after the steps SHOWN, in torch with its own defaults for all else."""
    import torch

    make = {
        "adam": lambda p, k: torch.optim.Adam(p, betas=(fields.get("b1", 0.9), 0.999), **k),
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "momentum": lambda p, k: torch.optim.SGD(p, momentum=0.9, **k),
        "rmsprop": lambda p, k: torch.optim.RMSprop(p, momentum=fields.get("momentum", 0), **k),
    }[fields["name"]]
    keywords = {"lr": LR, "weight_decay": fields.get("weight_decay", 0.0)}
    params = {k: torch.tensor(v, dtype=torch.float64) for k, v in START.items()}
    leaves = list(params.values())
    tx = make(leaves, **keywords) if isinstance(make, type) else make(leaves, keywords)
    schedule = None
    if "schedule" in fields:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(tx, STEPS)
    history = []
    for step in range(1, STEPS + 1):
        found = gradient({k: v.numpy() for k, v in params.items()}, np)
        for name, leaf in params.items():
            leaf.grad = torch.tensor(found[name])
        tx.step()
        if schedule:
            schedule.step()
        if step in SHOWN:
            history.append({k: v.numpy().tolist() for k, v in params.items()})
    return history


def settings(**fields):
    cfg = schema.defaults().optimizer
    cfg.update({"lr": LR} | fields)
    return cfg


def history_of(fields, per_element):
    cfg = settings(**fields)
    tx = make_optimizer(cfg, make_schedule(cfg, STEPS), per_element)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(gradient(params, jnp), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    params = jax.tree.map(jnp.float32, START)
    _, history = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), None, STEPS))()
    return [jax.tree.map(lambda a, at=step: a[at - 1], history) for step in SHOWN]


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        for name in START:
            np.testing.assert_allclose(a[name], b[name], atol=1e-5, rtol=0)


def test_every_optimizer_is_in_the_table():
    assert {fields["name"] for fields in CASES.values()} == set(OPTIMIZERS)


@pytest.mark.parametrize("per_element", [False, True], ids=["", "per element"])
@pytest.mark.parametrize("case", CASES)
def test_optimizers_follow_torch_for_a_hundred_steps(case, per_element):
    assert_close(history_of(CASES[case], per_element), json.loads(ORACLE.read_text())[case])


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_kept_here_are_those_of_torch(case):
    pytest.importorskip("torch")
    assert_close(torch_history(CASES[case]), json.loads(ORACLE.read_text())[case])


BITS = {
    "adam": lambda lr: optax.adam(lr),
    "adamw": lambda lr: optax.adamw(lr, weight_decay=0.0),
    "sgd": lambda lr: optax.sgd(lr),
    "momentum": lambda lr: optax.sgd(lr, momentum=0.9),
}


@pytest.mark.parametrize("per_element", [False, True], ids=["", "per element"])
@pytest.mark.parametrize("name", BITS)
def test_updates_are_those_of_optax_bit_for_bit(name, per_element, full_compile):
    cfg = settings(name=name, schedule="cosine", warmup_steps=3)
    schedule = make_schedule(cfg, 20)
    ours, theirs = make_optimizer(cfg, schedule, per_element), BITS[name](schedule)
    params = jax.tree.map(jnp.float32, START)
    steps = [jax.jit(tx.update) for tx in (ours, theirs)]
    states = [tx.init(params) for tx in (ours, theirs)]
    for _ in range(20):
        grads = gradient(params, jnp)
        (a, states[0]), (b, states[1]) = (
            step(grads, state, params) for step, state in zip(steps, states, strict=True)
        )
        jax.tree.map(np.testing.assert_array_equal, a, b)
        params = optax.apply_updates(params, a)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("drive", [0.0, 0.4])
def test_the_rate_in_the_state_is_that_of_the_update(schedule, drive):
    cfg = settings(name="sgd", schedule=schedule, warmup_steps=4, drive=drive)
    tx = make_optimizer(cfg, make_schedule(cfg, 12))
    params = jax.tree.map(jnp.float32, START)
    update, state = jax.jit(tx.update), tx.init(params)
    for i in range(24):
        if i == 12:
            state = tx.init(params)
        updates, state = update(params, state, params, key=jax.random.key(i))
        lr = float(applied_rate(state))
        np.testing.assert_allclose(updates["kernel"], -lr * params["kernel"], rtol=1e-6)
        if drive == 0 and i % 12 >= 4:
            assert lr == pytest.approx(float(make_schedule(cfg, 12)(i % 12)), rel=1e-6)


def test_of_several_rates_none_is_taken_for_the_one():
    tx = make_optimizer(settings(name="sgd"), LR)
    state = tx.init(START)
    with pytest.raises(ValueError, match="2 parts of the optimizer's state are of type Rate"):
        applied_rate((state, state))
    assert float(applied_rate(optax.EmptyState())) == 0


if __name__ == "__main__":
    made = {case: torch_history(fields) for case, fields in CASES.items()}
    ORACLE.write_text(json.dumps(made, indent=1) + "\n")
