"""Remedies joined by `+`, each pair of them, with every optimizer and with clones.

What a pair does to an update is tested on updates alone, operation by operation: for parameters as
small as these that is faster than to compile a program for each pair. What goes through the
network (norms, CReLU, dropout, clones) is compiled. docs/results/plasticity/pairs.py runs all.
"""

import csv
import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.plasticity import cloning, continual
from configs.plasticity.mitigations import MITIGATIONS
from tapjax.config import schema
from tapjax.contract.architectures import parse_architecture
from tapjax.data.datasets import Arrays
from tapjax.data.sampling import device_data
from tapjax.models.wiring import wiring
from tapjax.plasticity.unit_reset import renewing
from tapjax.recipes import plasticity
from tapjax.step.mitigations import noisy_gradient, perturbed, spectral, towards_start
from tapjax.step.optimizers import OPTIMIZERS, make_optimizer

PAIRS = Path(__file__).parents[3] / "docs" / "results" / "plasticity" / "pairs.csv"
REMEDIES = [name for name in MITIGATIONS if name != "none"]
# Remedies that act on updates; the others change the network, or what a task begins with.
OF_UPDATES = [
    name
    for name, fields in MITIGATIONS.items()
    if fields and all(field.split(".")[0] in ("optimizer", "renewal") for field in fields)
]
PARAMS = {
    "hidden_0": {"kernel": jnp.sin(jnp.arange(12.0)).reshape(4, 3), "bias": jnp.ones(3)},
    "hidden_1": {"kernel": jnp.cos(jnp.arange(6.0)).reshape(3, 2), "bias": jnp.ones(2)},
    "head": {"kernel": jnp.sin(jnp.arange(1, 5.0)).reshape(2, 2), "bias": jnp.zeros(2)},
}
SEEN = {
    "hidden_0_units": jnp.abs(jnp.sin(jnp.arange(1536.0))).reshape(512, 3),
    "hidden_1_units": jnp.abs(jnp.cos(jnp.arange(1024.0))).reshape(512, 2).at[:, 0].set(0.0),
}
TABLE = wiring(parse_architecture("mlp:widths=3-2"), PARAMS)


def named(mitigation, optimizer="sgd"):
    cfg = continual.get_config(
        f"quick,arch=mlp:widths=3-2,optimizer={optimizer},mitigation={mitigation}"
    )
    schema.check(cfg)
    return cfg


def refused(pair):
    try:
        named("+".join(pair))
    except ValueError as error:
        return str(error)
    return ""


def transformation(cfg):
    """The optimizer of a config, which renews units from the first step on."""
    renewal = cfg.renewal.name != "none"
    tx = make_optimizer(cfg.optimizer, 0.1, per_element=renewal)
    if not renewal:
        return tx
    cfg.renewal.update(rate=0.4, maturity=0, period=1)
    return renewing(tx, TABLE, cfg.renewal, cfg.model.init)


def three_steps(tx):
    """Parameters after each of three steps with the gradient sin(3 w), operation by operation."""
    with jax.disable_jit():
        params, history, state = PARAMS, [], tx.init(PARAMS)
        for i in range(3):
            grads = jax.tree.map(lambda w: jnp.sin(3 * w), params)
            updates, state = tx.update(grads, state, params, seen=SEEN, key=jax.random.key(i))
            params = optax.apply_updates(params, updates)
            history.append(params)
    return history, state


@functools.cache
def alone(remedy):
    return three_steps(transformation(named(remedy)))[0][-1]


def assert_finite(tree):
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree))


def test_what_cannot_be_joined_says_why_and_all_else_can():
    with PAIRS.open(newline="") as file:
        outcomes = {(row["first"], row["second"]): row["outcome"] for row in csv.DictReader(file)}
    assert set(outcomes) == set(itertools.combinations(REMEDIES, 2))
    for pair, outcome in outcomes.items():
        message = refused(pair)
        if outcome == "runs":
            assert not message
        else:
            assert outcome.startswith("refused: ") and outcome.removeprefix("refused: ") in message
            shared = MITIGATIONS[pair[0]].keys() & MITIGATIONS[pair[1]].keys()
            assert any(MITIGATIONS[pair[0]][f] != MITIGATIONS[pair[1]][f] for f in shared)


PAIRS_OF_UPDATES = [pair for pair in itertools.combinations(OF_UPDATES, 2) if not refused(pair)]


@pytest.mark.long_except("[l2+", "noise")
@pytest.mark.slow_except("[l2+")
@pytest.mark.parametrize("pair", PAIRS_OF_UPDATES, ids="+".join)
def test_a_pair_takes_three_steps_and_both_have_their_effect(pair):
    both, _ = three_steps(transformation(named("+".join(pair))))
    assert_finite(both)
    weights = MITIGATIONS[pair[0]] | MITIGATIONS[pair[1]]
    for one in pair:
        if weights == MITIGATIONS[one]:  # l2 is a part of shrink and perturb
            continue
        gap = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), both[-1], alone(one))
        assert max(jax.tree.leaves(gap)) > 0


@pytest.mark.long_except("-adam]", "-sgd]")
@pytest.mark.long_except("-adam]", "-sgd]")
@pytest.mark.slow_except("-adam]")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("remedy", OF_UPDATES)
def test_a_remedy_takes_three_steps_with_every_optimizer_and_a_driven_rate(remedy, optimizer):
    cfg = named(remedy, optimizer)
    cfg.optimizer.drive = 0.4
    history, state = three_steps(transformation(cfg))
    assert_finite((history, state))


def test_all_remedies_of_updates_at_once():
    cfg = named("shrink_perturb+l2_init+spectral+noise+cbp", "adam")
    cfg.optimizer.update(drive=0.3, clip=1.0)
    assert_finite(three_steps(transformation(cfg)))


WITHOUT_STRENGTH = {
    "noise": lambda: noisy_gradient(0.0, 1.0),
    "l2_init": lambda: towards_start(0.0),
    "spectral": lambda: spectral(0.0),
    "perturb": lambda: perturbed(0.0),
}


PAIRS_OF_ZERO = list(itertools.combinations([*WITHOUT_STRENGTH, "cbp", "redo"], 2))[:-1]


@pytest.mark.parametrize("pair", PAIRS_OF_ZERO, ids="+".join)
def test_pairs_at_strength_zero_leave_sgd_as_it_is(pair):
    plain, _ = three_steps(transformation(named("none")))
    links = [WITHOUT_STRENGTH[name]() for name in pair if name in WITHOUT_STRENGTH]
    last = [links.pop()] if "perturb" in pair else []
    sgd = make_optimizer(named("none").optimizer, 0.1)
    tx = optax.chain(*links, sgd, *last)
    if pair[1] in ("cbp", "redo"):
        cfg = named(pair[1])
        cfg.renewal.update(rate=0.0, period=10**6)
        tx = renewing(tx, TABLE, cfg.renewal, "torch")
    found, _ = three_steps(tx)
    jax.tree.map(np.testing.assert_array_equal, plain, found)


def test_remedies_that_draw_draw_different_numbers():
    """Noise on gradients, perturbations and new weights of one step are independent."""
    cfg = named("noise+shrink_perturb")
    cfg.optimizer.update(noise=1.0, perturb=1.0, weight_decay=0.0)
    big = {"w": jnp.full((100, 100), 1e-2)}
    tx = make_optimizer(cfg.optimizer, 1.0)
    both, _ = tx.update(big, tx.init(big), big, key=jax.random.key(0))
    cfg.optimizer.perturb = 0.0
    tx = make_optimizer(cfg.optimizer, 1.0)
    noise, _ = tx.update(big, tx.init(big), big, key=jax.random.key(0))
    perturbation = np.asarray(both["w"] - noise["w"]).ravel()
    assert abs(np.corrcoef(perturbation, np.asarray(noise["w"]).ravel())[0, 1]) < 0.05
    assert perturbation.std() == pytest.approx(1, rel=0.05)


def tiny():
    """Forty images of 2 x 2 pixels in three classes."""
    x = np.random.default_rng(0).integers(0, 255, (40, 2, 2, 1)).astype(np.uint8)
    y = (np.arange(40) % 3).astype(np.int32)
    return Arrays("tiny", x, y, x, y, 3, np.zeros(1, np.float32), np.ones(1, np.float32))


def run(cfg, steps=3):
    """A compiled run of a few steps of one seed; its last state and all scalars."""
    cfg.data.batch_size, cfg.probe.size = 8, 8
    cfg.renewal.update(rate=0.4, maturity=0, period=1)
    schema.check(cfg)
    recipe = plasticity.recipe(cfg, tiny())
    data, _ = device_data(tiny(), 8)

    def body():
        state = recipe.init(jax.random.key(0))
        shown = recipe.prepare(state, data)
        return jax.lax.scan(lambda s, _: recipe.step(s, shown), state, None, steps)

    state, scalars = jax.jit(body)()
    assert_finite((state.params, state.stats, state.opt, scalars))
    return state, scalars


@pytest.mark.long_except("mlp:")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "mitigation"),
    [
        ("mlp:widths=3-2", "cbp+crelu+layer_norm+dropout"),
        ("cnn:channels=2-3,fc=3", "cbp+batch_norm+crelu+spectral+noise"),
        ("resnet:channels=2-2", "redo+batch_norm+shrink_perturb+l2_init"),
        ("vit:depth=1,width=4,heads=2", "cbp+spectral+l2_init"),
    ],
)
def test_units_are_renewed_in_networks_of_every_kind(arch, mitigation):
    run(continual.get_config(f"quick,arch={arch},optimizer=adam,mitigation={mitigation}"))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("mitigation", ["cbp+noise+shrink_perturb", "redo+l2_init+spectral"])
def test_clones_take_remedies_and_a_driven_rate(mitigation):
    cfg = cloning.get_config(f"quick,arch=mlp:widths=3-2,optimizer=adam,mitigation={mitigation}")
    cfg.optimizer.update(drive=0.4, schedule="cosine")
    run(cfg)
