import numpy as np
import pytest

from configs import common
from configs.tap import calibration
from tapjax.config import schema
from tapjax.credit import CREDITS
from tapjax.credit.estimator import CODES
from tapjax.credit.fields import FIELDS
from tapjax.measure.probes import spectral_metrics
from tapjax.models.style import ACTIVATIONS, NORMS
from tapjax.recipes import RECIPES
from tapjax.step.blocks import OVER_SEEDS
from tapjax.step.losses import LOSSES
from tapjax.step.optimizers import OPTIMIZERS, SCHEDULES
from tapjax.step.rules import RULES

TABLES = {
    "family": RECIPES,
    "over_seeds": {"auto": None, **OVER_SEEDS},
    "loss": LOSSES,
    "model.activation": {"own": None, **ACTIVATIONS},
    "model.norm": dict.fromkeys(("own", *NORMS)),
    "rule.name": {**RULES, "local": None},
    "credit.name": CREDITS,
    "credit.field": FIELDS,
    "credit.code": dict.fromkeys(CODES),
    "optimizer.name": OPTIMIZERS,
    "optimizer.schedule": SCHEDULES,
    "probe.dimension": spectral_metrics(np.ones(3, np.float32)),
}


@pytest.mark.parametrize("field", TABLES)
def test_choices_are_the_tables_keys(field):
    known = schema.fields(schema.family_of(field) or "tap")[field]
    assert known.check.choices == tuple(TABLES[field])


@pytest.mark.parametrize("family", ["tap", "plasticity", "motifs"])
def test_defaults_are_valid(family):
    assert schema.problems(schema.defaults(family)) == []


@pytest.mark.parametrize(
    "field,value,message",
    [
        ("steps", True, "must be an integer"),
        ("steps", 0, "at least 1"),
        ("checkpoint.pin_window", 7, "multiple of probe.every=5, for example 5"),
        ("steps", 2001, "multiple of probe.every=5, for example 2000"),
        ("seeds", (), "one to 10000 seeds, not 0"),
        ("seeds", (1, 2**32), r"from 0 to 2\*\*32 - 1"),
        ("seeds", (1, 1), "different integers"),
        ("optimizer.lr", 0.0, "above 0"),
        ("optimizer.lr", float("nan"), "must be a finite number"),
        ("optimizer.weight_decay", float("inf"), "must be a finite number"),
        ("optimizer.name", "adma", "did you mean 'adam'"),
        ("model.name", "mlp_wid", "did you mean 'mlp_wide'"),
        ("probe.extra", "nothing", "package.module:function"),
        ("scalar_bin", 3, "must divide"),
        ("optimizer.momentum", 0.5, "only for momentum and rmsprop, not for 'adam'"),
        ("model.name", "mlpp:depth=2", "unknown family 'mlpp'; did you mean 'mlp'"),
        ("optimizer.b1", 1.0, r"\[0, 1\)"),
        ("loss", None, "must be a name"),
        ("model.norm", "instance", "not for an mlp"),
        ("model.norm", "group", "leaves nothing of it"),
        ("model.dropout", 1.0, "or -1 for the architecture's own"),
    ],
)
def test_problems_name_the_field(field, value, message):
    cfg = schema.defaults().unlock()
    section, _, name = field.rpartition(".")
    holder = cfg[section] if section else cfg
    with holder.ignore_type():
        holder[name] = value
    with pytest.raises(schema.ConfigError, match=message) as caught:
        schema.check(cfg)
    assert field in str(caught.value)


def test_responses_are_modelled_by_chains_only():
    cfg = schema.defaults("credit")
    cfg.model.name = "residual:depth=2,width=8"
    assert schema.problems(cfg) == []
    cfg.credit.update(name="vector_field", targets="response")
    assert "needs credit.field='chain'" in schema.problems(cfg)[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"name": "vector_field", "mode": "onesided", "targets": "joint"},
            "credit.mode='onesided' needs",
        ),
        ({"name": "forward_gradient", "targets": "block"}, "'tail' or 'joint'"),
    ],
)
def test_a_choice_that_an_estimator_would_ignore_is_refused(fields, said):
    cfg = schema.defaults("credit")
    cfg.credit.update(fields)
    assert any(said in problem for problem in schema.problems(cfg))


@pytest.mark.parametrize(
    "field",
    ["rule.alternate", "rule.freeze_step", "optimizer.clip", "optimizer.noise", "optimizer.drive"],
)
def test_feedback_that_could_not_follow_the_weights_is_refused(field):
    cfg = schema.defaults("credit")
    cfg.model.name, cfg.credit.name = "residual:depth=2,width=8", "kolen_pollack"
    assert schema.problems(cfg) == []
    cfg.update_from_flattened_dict({field: 5 if field.startswith("rule") else 0.5})
    assert any(f"needs {field}=0" in problem for problem in schema.problems(cfg))
    cfg.update_from_flattened_dict({field: type(cfg[field.split(".")[0]][field.split(".")[1]])(0)})
    cfg.optimizer.weight_decay = 0.1
    assert any("'adamw'" in problem for problem in schema.problems(cfg))


def test_unknown_and_missing_fields_are_problems():
    cfg = schema.defaults().unlock()
    cfg.optimizer.learning_rate = 1.0
    del cfg.probe["every"]
    text = "; ".join(schema.problems(cfg))
    assert "unknown field 'optimizer.learning_rate'" in text
    assert "missing field 'probe.every'" in text


def test_json_round_trip_keeps_tuples_and_the_hash():
    cfg = schema.defaults()
    again = schema.from_json(schema.to_json(cfg))
    assert again == cfg and again.seeds == (0, 1, 2)
    assert schema.config_hash(again) == schema.config_hash(cfg)
    cfg.optimizer.lr = 2e-3
    assert schema.config_hash(again) != schema.config_hash(cfg)
    assert schema.diff(schema.to_json(again), schema.to_json(cfg)) == [
        "optimizer.lr: 0.001 -> 0.002"
    ]


@pytest.mark.parametrize("steps,every,target", [(2000, 5, 500), (1230, 5, 410), (5, 5, 5)])
def test_chunks_are_equal_parts(steps, every, target):
    cfg = schema.defaults()
    cfg.steps, cfg.probe.every = steps, every
    assert schema.chunk_steps(cfg) == target


def test_typed_arguments():
    args = common.parse_arg(
        "quick,seeds=4,arch=mlp:depth=2,width=8", arch="a", seeds=1, quick=False
    )
    assert (args.quick, args.seeds, args.arch) == (True, 4, "mlp:depth=2,width=8")
    for bad, message in [("quik", "did you mean 'quick'"), ("seeds=x", "int"), ("seeds", "value")]:
        with pytest.raises(ValueError, match=message):
            common.parse_arg(bad, arch="a", seeds=1, quick=False)


@pytest.mark.parametrize("arg", ["", "quick", "arch=cnn_deep,dataset=cifar10,seeds=5,steps=100"])
def test_calibration_configs_are_valid(arg):
    assert schema.problems(calibration.get_config(arg)) == []


def test_lookup_finds_tables_and_import_paths():
    assert schema.lookup("cross_entropy", LOSSES, "loss") is LOSSES["cross_entropy"]
    assert schema.lookup("tapjax.step.losses:cross_entropy", {}, "loss") is LOSSES["cross_entropy"]
    with pytest.raises(schema.ConfigError, match="loss"):
        schema.lookup("tapjax.step.losses:nothing", {}, "loss")
