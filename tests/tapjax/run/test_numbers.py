"""Numbers of a config are arguments of its programs, which runs that differ in them share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.credit import online
from configs.credit.methods import METHODS
from configs.plasticity import continual
from configs.tap import calibration
from tapjax.data.datasets import load_arrays
from tapjax.data.sampling import device_data
from tapjax.recipes import RECIPES
from tapjax.run.numbers import NUMBERS, numbers_of, reading_numbers

DATA = load_arrays("digits", train_size=200, test_size=50)
MLP = "quick,arch=mlp:widths=6-5"
CONFIGS = {  # name -> (config file, its arguments, fields)
    "adamw": (
        calibration,
        f"{MLP},dataset=digits",
        {"optimizer.name": "adamw", "optimizer.weight_decay": 0.01, "optimizer.drive": 0.3,
         "optimizer.schedule": "cosine", "optimizer.warmup_steps": 3},
    ),
    "sgd": (
        calibration,
        f"{MLP},dataset=digits",
        {"optimizer.name": "sgd", "optimizer.weight_decay": 0.01, "optimizer.clip": 0.05,
         "optimizer.schedule": "linear"},
    ),
    "remedies": (
        continual,
        f"{MLP},dataset=digits,optimizer=sgd,mitigation=none",
        {"optimizer.noise": 0.1, "optimizer.l2_init": 0.1, "optimizer.spectral": 0.1,
         "optimizer.perturb": 0.01},
    ),
    "cbp": (
        continual,
        f"{MLP},dataset=digits,mitigation=cbp",
        {"renewal.maturity": 0, "renewal.rate": 0.1},
    ),
    "redo": (
        continual,
        f"{MLP},dataset=digits,mitigation=redo",
        {"renewal.period": 2, "renewal.threshold": 0.4},
    ),
    "credit": (
        online,
        "method=vector,depth=2,width=8,dataset=digits",
        {"rule.block_lr": 0.01, "data.train_size": 200},
    ),
}  # fmt: skip


def config_of(name, **more):
    module, arguments, fields = CONFIGS[name]
    cfg = module.get_config(arguments)
    cfg.update_from_flattened_dict(fields | more)
    cfg.data.batch_size = min(cfg.data.batch_size, 32)
    return cfg


def lowered(cfg):
    """The program of a step, and its arguments."""
    recipe = reading_numbers(RECIPES[cfg.family], cfg, DATA)
    data = device_data(DATA, 50)[0]._replace(numbers=numbers_of(cfg))
    state = recipe.init(jax.random.key(0))
    data = recipe.prepare(state, data)
    return jax.jit(recipe.step).lower(state, data), (state, data)


@pytest.mark.parametrize("name", CONFIGS)
def test_runs_that_differ_in_numbers_share_a_program(name):
    cfg = config_of(name)
    numbers = numbers_of(cfg)
    program, (state, data) = lowered(cfg)
    doubled = {field: 2 * float(value) for field, value in numbers.items()}
    other, (_, others_data) = lowered(config_of(name, **doubled))
    assert program.as_text() == other.as_text()
    assert others_data.numbers == pytest.approx(doubled)
    # A number that the program does not read would be shared, too, and be without effect.
    run, read = program.compile(), set(numbers) & {"optimizer.lr", "credit.lr", *CONFIGS[name][2]}
    for field in read:
        changed = data._replace(numbers=numbers | {field: 2 * numbers[field]})
        ends = [run(*_later(run, state, d), d)[0] for d in (data, changed)]
        assert not _equal(*ends), field


def _later(run, state, data):
    """Return the state after steps enough for every remedy to act."""
    for _ in range(20):
        state, _ = run(state, data)
    return (state,)


def _equal(a, b):
    def plain(x):
        return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(plain(x), plain(y)) for x, y in pairs)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_that_reads_numbers_equals_one_that_holds_them(name):
    cfg = config_of(name)
    program, (state, data) = lowered(cfg)
    holding = jax.jit(RECIPES[cfg.family](cfg, DATA).step)
    ours, theirs = program.compile()(state, data), holding(state, data)
    for a, b in zip(jax.tree.leaves(ours[1]), jax.tree.leaves(theirs[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    for a, b in zip(*(jax.tree.leaves(s.params) for s, _ in (ours, theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_credit_can_be_built_while_a_step_is_traced(method):
    cfg = online.get_config(f"method={method},depth=2,width=8,dataset=digits")
    recipe = reading_numbers(RECIPES["credit"], cfg, DATA)
    data = device_data(DATA, 50)[0]._replace(numbers=numbers_of(cfg))
    jax.eval_shape(recipe.step, jax.eval_shape(recipe.init, jax.random.key(0)), data)


def test_functions_that_make_a_recipe_may_compute():
    def make(cfg, arrays):
        width = int(jnp.prod(jnp.arange(1, 4)))  # as a user-defined model may do
        assert width == 6
        return RECIPES["tap"](cfg, arrays)

    cfg = config_of("sgd")
    recipe = reading_numbers(make, cfg, DATA)
    data = device_data(DATA, 50)[0]._replace(numbers=numbers_of(cfg))
    jax.eval_shape(recipe.step, jax.eval_shape(recipe.init, jax.random.key(0)), data)


@pytest.mark.parametrize("field", ["model.name", "rule.name", "credit.name"])
def test_a_run_with_an_object_of_the_users_holds_its_numbers_and_is_built_once(field):
    """The object may draw random numbers, or compare a rate with another one."""
    cfg = online.get_config("method=dfa,depth=2,width=8,dataset=digits")
    cfg.update_from_flattened_dict({field: "mine:thing"})
    built = []

    def make(cfg, arrays):
        built.append(1.0 if cfg.credit.lr > 1e-4 else 2.0)
        cfg = cfg.copy_and_resolve_references()
        cfg.update_from_flattened_dict({field: before})
        return RECIPES["credit"](cfg, arrays)

    before = online.get_config("method=dfa,depth=2,width=8,dataset=digits")
    before = {"model.name": before.model.name, "rule.name": "local", "credit.name": "dfa"}[field]
    recipe = reading_numbers(make, cfg, DATA)
    data = device_data(DATA, 50)[0]
    jax.eval_shape(recipe.step, jax.eval_shape(recipe.init, jax.random.key(0)), data)
    assert len(built) == 1 and numbers_of(cfg) == {}


def test_every_number_is_tried():
    set_somewhere = set().union(*(fields for _, _, fields in CONFIGS.values()))
    assert set(NUMBERS) <= {"optimizer.lr", "credit.lr", *set_somewhere}


def test_other_fields_make_another_program():
    plain, _ = lowered(config_of("adamw"))
    other, _ = lowered(config_of("adamw", **{"optimizer.b1": 0.8}))
    without, _ = lowered(config_of("adamw", **{"optimizer.drive": 0.0}))
    assert len({plain.as_text(), other.as_text(), without.as_text()}) == 3
