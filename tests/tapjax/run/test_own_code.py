"""Networks and probes of a user's own: what works in every family, what is refused in a line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis import open_run
from configs import common
from configs.credit import ladder
from configs.plasticity import cloning, continual
from tapjax.config import schema
from tapjax.models.zoo import check_module, from_module
from tapjax.run import assembly, loop
from tapjax.types import Proposal, Rule

HERE = "tests.tapjax.run.test_own_code"


def classes_seen(model, loss, classes):
    """A probe that uses all it is given."""

    def probe(state, data):
        logits, hidden, _ = model.apply(state.params, state.stats, data.probe.x)
        return {
            "own/mean_loss": loss(logits, data.probe.y).mean(),
            "own_norms": jnp.stack([jnp.square(h).mean() for h in hidden]),
            "own_classes": classes,
        }

    return probe


def probe_of(value):
    return lambda model, loss, classes: lambda state, data: value


colliding = probe_of({"participation_ratio": jnp.zeros(3)})
losing = probe_of({"loss": 0.0})
textual = probe_of({"own": "text"})
bare = probe_of(jnp.zeros(3))
missing = probe_of({"own": None})
words = probe_of({"own": np.array(["a"])})
imaginary = probe_of({"own": np.ones(3, complex)})


def broken(model, loss, classes):
    return lambda state, data: {"own": jnp.zeros(3) + jnp.zeros(4)}


def short(model):
    return model


def small(family):
    """A few steps of each family."""
    if family == "credit":
        cfg = ladder.get_config("quick")
        cfg.model.name = "residual:depth=2,width=128"
    elif family == "plasticity":
        cfg = continual.get_config("quick,arch=mlp:widths=8,tasks=2")
        cfg.probe.gradients = 0
    elif family == "clones":
        cfg = cloning.get_config("quick,dataset=digits,arch=mlp:widths=6")
        cfg.probe.gradients = 0
    else:
        cfg = common.base(family=family, steps=10)
        cfg.model.name = "mlp:widths=8"
        cfg.data.test_size = 50
    cfg.seeds = (0, 1)
    return cfg


@pytest.mark.slow_except("motifs", "tap")
@pytest.mark.parametrize("family", ["tap", "credit", "plasticity", "clones", "motifs"])
def test_a_probe_of_ones_own_works_in_every_family(family):
    cfg = small(family)
    cfg.probe.extra = f"{HERE}:classes_seen"
    ready = assembly.assemble(cfg)
    found = ready.programs.probe(ready.programs.init(), ready.data)
    np.testing.assert_allclose(found["own/mean_loss"], found["loss"], rtol=1e-5)
    layers = len(ready.contents["model.json"]["layer_names"])
    assert found["own_norms"].shape == (2, layers) and found["own_classes"].tolist() == [10, 10]


@pytest.mark.parametrize("family", ["tap", "plasticity"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("colliding", "'participation_ratio' is recorded already"),
        ("losing", "'loss' is recorded already"),
        ("textual", "'own' is str, not an array"),
        ("missing", "'own' is NoneType, not an array"),
        ("words", "'own' holds <U1, not real numbers"),
        ("imaginary", "'own' holds complex128, not real numbers"),
        ("bare", "not a dict name -> array"),
        ("broken", "Error: .*incompatible shapes"),
        ("short", "TypeError: short.. takes 1 positional argument"),
    ],
)
def test_a_probe_that_cannot_be_recorded_is_refused_before_training(family, name, message):
    cfg = small(family)
    cfg.probe.extra = f"{HERE}:{name}"
    with pytest.raises(
        schema.ConfigError, match=f"probe.extra='{HERE}:{name}'.*{message}"
    ) as caught:
        assembly.assemble(cfg)
    assert "\n" not in str(caught.value)


class Plain(nn.Module):
    """Takes no `train`; `returns` says what besides logits."""

    classes: int
    returns: str = "layers"

    @nn.compact
    def __call__(self, x):
        z = nn.Dense(4)(x.reshape(len(x), -1))
        logits = nn.Dense(self.classes + (self.returns == "more"))(nn.tanh(z))
        hidden = {"first": z, "head": logits}
        if self.returns == "fails":
            return z + jnp.zeros(7)
        return {
            "alone": logits,
            "none": (logits, {}),
            "backwards": (logits, dict(reversed(hidden.items()))),
            "list": (logits, [z, logits]),
        }.get(self.returns, (logits, hidden))


def plain(shape, classes):
    return Plain(classes)


def alone(shape, classes):
    return Plain(classes, "alone")


def none(shape, classes):
    return Plain(classes, "none")


def backwards(shape, classes):
    return Plain(classes, "backwards")


def listed(shape, classes):
    return Plain(classes, "list")


def more(shape, classes):
    return Plain(classes, "more")


def fails(shape, classes):
    return Plain(classes, "fails")


def function(shape, classes):
    return lambda x: x


def without_arguments():
    return Plain(10)


class Still(nn.Module):
    """Has no parameters."""

    @nn.compact
    def __call__(self, x):
        logits = x.reshape(len(x), -1)[:, :10]
        return logits, {"first": logits, "head": logits}


def still(shape, classes):
    return Still()


class Asking(nn.Module):
    """Its `train` has no default."""

    @nn.compact
    def __call__(self, x, train):
        z = nn.Dropout(0.5, deterministic=not train)(nn.Dense(4)(x.reshape(len(x), -1)))
        logits = nn.Dense(10)(z)
        return logits, {"first": z, "head": logits}


def test_train_may_have_no_default():
    x = jnp.ones((3, 8, 8, 1))
    jax.config.update("jax_numpy_rank_promotion", "allow")
    try:
        model = from_module(Asking(), (8, 8, 1))
        check_module(Asking(), "asking", (8, 8, 1), (10,))
        params, stats = model.init(jax.random.key(0))
        calm = model.apply(params, stats, x)[1][0]
        dropped = model.apply(params, stats, x, jax.random.key(1))[1][0]
    finally:
        jax.config.update("jax_numpy_rank_promotion", "raise")
    assert (np.asarray(dropped) == 0).any() and (np.asarray(calm) != 0).all()


@pytest.mark.slow
def test_a_module_need_not_take_train(tmp_path):
    cfg = small("tap")
    cfg.model.name = f"{HERE}:plain"
    jax.config.update("jax_numpy_rank_promotion", "allow")
    try:
        assert loop.run(cfg, tmp_path / "run").status == "DONE"
    finally:
        jax.config.update("jax_numpy_rank_promotion", "raise")
    assert open_run(tmp_path / "run").layer_names == ["first", "head"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alone", "returns logits alone, with no layers to measure: return .logits, "),
        ("none", "needs a hidden layer"),
        ("backwards", "the logits as the last"),
        ("listed", "returns tuple, with no layers to measure"),
        ("more", "its logits are .2, 11. for .2, 10."),
        ("fails", "Error: .*[Ii]ncompatible shapes"),
        ("without_arguments", "must take .shape, classes.: too many positional arguments"),
        ("still", "no parameters to train"),
        ("function", "must return a flax.linen module .* not function"),
    ],
)
def test_a_module_that_cannot_be_measured_says_what_to_return(name, message):
    cfg = small("tap")
    cfg.model.name = f"{HERE}:{name}"
    jax.config.update("jax_numpy_rank_promotion", "allow")
    try:
        with pytest.raises(schema.ConfigError, match=f"model.name='{HERE}:{name}'.*{message}"):
            assembly.assemble(cfg)
    finally:
        jax.config.update("jax_numpy_rank_promotion", "raise")


def loss_of_one(logits):
    return logits


def loss_of_the_batch(logits, y):
    return logits.reshape(3)


def no_rule(model, loss):
    return 3


def no_proposal(model, loss):
    return Rule(lambda key, params: (), lambda rule, params, stats, batch, key: params)


def other_gradients(model, loss):
    def update(rule, params, stats, batch, key):
        return Proposal({}, rule, stats, {"loss": jnp.zeros(())})

    return Rule(lambda key, params: (), update)


def no_credit(network, cfg, tx):
    return 3


@pytest.mark.parametrize(
    ("field", "name", "message"),
    [
        ("loss", "loss_of_one", "TypeError: loss_of_one.. takes 1 positional argument"),
        ("loss", "loss_of_the_batch", r"\w+Error: .*test_own_code.py, line"),
        ("rule.name", "loss_of_one", "TypeError: loss_of_one.. takes 1 positional argument"),
        ("rule.name", "no_rule", "AttributeError: 'int' object"),
        ("rule.name", "no_proposal", r"\w+Error: "),
        ("rule.name", "other_gradients", "ValueError: "),
        ("credit.name", "no_credit", "AttributeError: 'int' object"),
    ],
)
def test_an_object_that_cannot_be_used_is_refused_in_one_line(field, name, message):
    cfg = small("credit" if field == "credit.name" else "tap")
    cfg.update_from_flattened_dict({field: f"{HERE}:{name}"})
    with pytest.raises(schema.ConfigError, match=f"{field}='{HERE}:{name}': {message}") as refused:
        assembly.assemble(cfg)
    assert "\n" not in str(refused.value) and ", line " in str(refused.value)


def test_an_error_of_tapjax_itself_keeps_its_kind(monkeypatch):
    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(assembly, "make_programs", fails)
    with pytest.raises(ZeroDivisionError):
        assembly.assemble(small("tap"))
