"""Runs on tasks of sequences: measured, replayed, and refused where they do not fit."""

import numpy as np
import pytest

from analysis.runs.reader import open_run
from configs.tap import emergence
from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.measure.measures import check, chosen
from tapjax.run import loop, measuring, replay
from tapjax.run.interventions import choose_layers, intervene
from tapjax.run.snapshots import make_writer, write_snapshots
from tests.conftest import tiny

DECODER = "decoder:depth=1,width=8,heads=2"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("sequences") / "run"
    cfg = tiny.__wrapped__()
    cfg.data.name, cfg.model.name = "induction:vocab=8,length=8", DECODER
    cfg.probe.measures = "heads*2"
    assert loop.run(cfg, path).status == "DONE"
    return path


def test_skills_are_recorded_apart(run):
    opened = open_run(run)
    assert opened.model["skill_names"] == ["first", "repeated"]
    skills_SxTxK = opened.array("probe", "skill_accuracy")
    assert skills_SxTxK.shape == (2, 9, 2)
    accuracy = opened.array("probe", "accuracy")
    assert (skills_SxTxK.min(2) <= accuracy).all() and (accuracy <= skills_SxTxK.max(2)).all()
    assert not opened.has("probe", "class_accuracy") and not opened.has("probe", "ece")
    assert opened.layer_names == ["embed", "block_0", "head"]


def test_measures_of_heads_live_and_by_replay(run):
    opened = open_run(run)
    live = opened.array("heads", "prefix_matching")
    assert live.shape == (2, 5, 2)
    measures = chosen(["heads"])
    with replay.open_timeline(run) as timeline:
        drift = replay.Drift(run / "records", 1)
        list(measuring.measure_steps(timeline, run, measures, {"heads": [5, 25]}, drift))
    assert open_run(run).steps("heads").tolist() == [0, 5, 10, 20, 25, 30, 40]


def test_heads_can_be_replaced(run):
    with replay.open_timeline(run) as timeline:
        layers = choose_layers(timeline, [])
        assert layers == {"block_0_attention_heads": 2, "block_0_linear_0": 32}
        (path,) = intervene(timeline, run, [(10, 30)], list(layers))
    with np.load(path) as found:
        whole = found["ablate_after/block_0_attention_heads/loss"]
        assert whole.shape == (2, 3) and np.isfinite(whole).all()
        assert np.isnan(found["undo/block_0_linear_0/class_loss"]).all()


def test_snapshots_have_no_means_of_classes(run, tmp_path):
    with replay.open_timeline(run) as timeline:
        writer = make_writer(timeline, ("activations", "attention"), 16)
        list(write_snapshots(writer, [20], tmp_path))
    (file,) = tmp_path.glob("**/*.npz")
    with np.load(file) as found:
        names = set(found)
    assert "activations/block_0" in names and "attention/block_0_attention" in names
    assert not [name for name in names if name.startswith("class_mean")]


@pytest.mark.parametrize("name", ["examples", "kernel", "collapse", "features", "fourier"])
def test_measures_that_need_classes_are_refused(run, name):
    said = "one class per example" if name != "fourier" else "not pairs of one-hot numbers"
    with replay.open_timeline(run) as timeline:
        ready = timeline.assembly
        with pytest.raises(ConfigError, match=f"{name} .*{said}"):
            check(chosen([name]), ready.recipe, ready.cfg, ready.like, ready.data)


@pytest.mark.parametrize(
    "fields,said",
    [
        ({"data.name": "induction"}, "'mlp:depth=2,width=8'.*needs a decoder"),
        ({"data.name": "icl", "model.name": DECODER}, "data.name='icl' needs loss='regression'"),
        ({"loss": "regression"}, "loss='regression' is for data.name bits and icl"),
        ({"data.name": "parity", "data.augment": True}, "data.augment is for images"),
        ({"data.name": "parity", "data.train_size": 9}, "draws new training examples"),
        ({"model.name": DECODER, "model.norm": "layer"}, "normalisation in its name"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, fields, said):
    cfg = tiny.__wrapped__()
    cfg.update_from_flattened_dict(fields)
    with pytest.raises(Exception, match=said):
        loop.run(cfg, tmp_path / "run")


@pytest.mark.parametrize("family", ["credit", "plasticity", "motifs"])
def test_families_that_choose_their_own_examples_refuse_drawn_tasks(family):
    cfg = schema.defaults(family)
    cfg.data.name = "parity"
    with pytest.raises(ConfigError, match=f"data.name='parity' is for family='tap', not '{family}"):
        schema.check(cfg)


def test_the_configs_are_valid():
    for task in emergence.TASKS:
        plain, *controls = (
            emergence.get_config(f"task={task},quick,control={control}")
            for control in emergence.CONTROLS
            if control != "partial" or task in emergence.PARTIAL
        )
        for cfg in (plain, *controls):
            schema.check(cfg)
        assert "shuffled=0" in plain.data.name and "shuffled=1" in controls[0].data.name
        for partial in controls[1:]:  # the data or, in modular addition, the optimizer differ
            differs = [partial.data.name != plain.data.name, partial.optimizer != plain.optimizer]
            assert "shuffled=0" in partial.data.name and sum(differs) == 1
    for arg, said in (
        ("task=nothing", "task='nothing' is not one of induction"),
        ("control=all", "control='all' is not one of none, shuffled, partial"),
        ("task=mixture,control=partial", "control=partial is known for induction, parity, modular"),
    ):
        with pytest.raises(ValueError, match=said):
            emergence.get_config(arg)
