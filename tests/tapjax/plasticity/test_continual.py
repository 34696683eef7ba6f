"""Task after task in the one loop: evaluated, renewed, measured, replayed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis import open_run
from configs.plasticity import bits, continual
from tapjax.config import schema
from tapjax.data.datasets import load_arrays
from tapjax.data.sampling import normalise
from tapjax.plasticity.streams import STREAMS
from tapjax.run import assembly, loop, replay
from tapjax.step.mitigations import Start
from tapjax.step.step import STREAM
from tapjax.store import checkpoint


def small(kind="classes", **tasks):
    cfg = continual.get_config(f"quick,kind={kind},arch=mlp:widths=12-8,tasks=3")
    cfg.tasks.update(tasks)
    cfg.probe.gradients = 4
    return cfg


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("continual") / "run"
    # With its old moments Adam would bring a part of the old head back.
    outcome = loop.run(small(reset_optimizer=True), folder)
    assert outcome.status == "DONE"
    return folder


@pytest.mark.slow
def test_every_task_is_evaluated_after_every_task(run):
    found = open_run(run)
    matrix = found.array("eval", "task_accuracy")
    assert matrix.shape == (2, 3, 3) and list(found.steps("eval")) == [60, 120, 180]
    np.testing.assert_allclose(
        np.diagonal(matrix, axis1=1, axis2=2), found.array("eval", "accuracy")
    )
    learned = np.diagonal(matrix, axis1=1, axis2=2).mean()
    assert learned > 0.9 > matrix[:, 2, 0].mean()  # a head of zeros has forgotten


@pytest.mark.slow
def test_units_are_measured_layer_by_layer(run):
    found = open_run(run)
    assert found.model["unit_layers"] == ["hidden_0", "hidden_1"]
    for name in ("dead_fraction", "eff_rank", "saturated_fraction", "hard_rank"):
        assert found.array("probe", name).shape == (2, 10, 2)
    assert (found.array("probe", "eff_rank") <= [12, 8]).all()
    assert (found.array("probe", "gradient_rank") <= 4 + 1e-4).all()
    assert found.dimension().shape == (2, 10)


@pytest.mark.slow
def test_any_step_is_had_again_across_a_change_of_tasks(run):
    with replay.open_timeline(run) as timeline:
        ready = timeline.assembly
        (_, states), (_, later) = replay.states_at(timeline, [60, 75])
    states = replay.enter(ready, states, 60)
    assert not np.asarray(states.params["head"]["kernel"]).any()
    for _ in range(60, 75):
        states, _ = ready.programs.step(states, ready.data)
    assert checkpoint.digests(states) == checkpoint.digests(later)


@pytest.mark.long_except("tasks0", "tasks3")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("tasks", "renewed", "optimizer"),
    [
        ({"head": "keep"}, set(), False),
        ({"head": "zero"}, {"head"}, False),
        ({"head": "keep", "reset_optimizer": True}, set(), True),
        ({"head": "keep", "reset": True}, {"head", "hidden_0", "hidden_1"}, True),
    ],
)
def test_what_a_task_begins_with(tasks, renewed, optimizer):
    ready = assembly.assemble(small(**tasks))
    states = ready.programs.init()
    states, _ = ready.programs.step(states, ready.data)
    before = jax.tree.map(np.asarray, (states.params, states.opt))
    after = replay.enter(ready, states._replace(step=jnp.full(2, 60, jnp.int32)), 60)
    after = jax.tree.map(np.asarray, (after.params, after.opt))
    changed = {
        name for name in before[0] if (before[0][name]["kernel"] != after[0][name]["kernel"]).any()
    }
    assert changed == renewed
    moments = [np.abs(leaf).max() for leaf in jax.tree.leaves(after[1])]
    assert (max(moments) == 0) == optimizer


@pytest.mark.parametrize("reset", [False, True])
def test_a_head_of_zeros_is_pulled_to_zero_from_the_first_step_on(reset):
    cfg = small(head="zero", reset=reset)
    cfg.optimizer.l2_init = 0.1
    ready = assembly.assemble(cfg)
    states = ready.programs.init()
    later = replay.enter(ready, states._replace(step=jnp.full(2, 60, jnp.int32)), 60)
    for at in (states, later):
        parts = jax.tree.leaves(at.opt, is_leaf=lambda part: isinstance(part, Start))
        [anchor] = [part.weights for part in parts if isinstance(part, Start)]
        assert not anchor["head"]["kernel"].any()
        np.testing.assert_array_equal(anchor["hidden_0"]["kernel"], at.params["hidden_0"]["kernel"])


def test_a_task_counts_only_examples_of_its_own():
    cfg = small(masked=False)
    ready = assembly.assemble(cfg)
    states = ready.programs.init()
    data = ready.recipe.prepare(jax.tree.map(lambda a: a[0], states), ready.data)
    assert set(np.asarray(data.probe.y)) == set(np.asarray(data.task).tolist())
    assert data.probe.allowed is None


@pytest.mark.slow
def test_online_regression_runs_one_example_at_a_time(tmp_path):
    assert loop.run(bits.get_config("quick"), tmp_path / "run").status == "DONE"
    found = open_run(tmp_path / "run")
    loss = found.array("scalar", "loss")
    assert loss.shape == (2, 60) and loss[:, 15:20].mean() < loss[:, 0].mean()
    assert not found.has("scalar", "accuracy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks.steps": 70}, "must be a multiple of probe.every"),
        ({"tasks.steps": 40}, "tasks.steps=40 must divide steps=180"),
        ({"family": "tap"}, "tasks.kind is a field of family='plasticity'"),
        ({"tasks.kind": "bits"}, "go together"),
        ({"chunk_steps": 40}, "chunk_steps=40 must divide tasks.steps=60"),
    ],
)
def test_what_does_not_go_together(change, message):
    cfg = small()
    cfg.update_from_flattened_dict(change)
    with pytest.raises(schema.ConfigError, match=message):
        schema.check(cfg)


def test_there_must_be_classes_enough():
    with pytest.raises(schema.ConfigError, match="3 tasks need 12 classes, digits has 10"):
        assembly.assemble(small(classes=4))


def test_every_class_must_be_among_the_probe_s_examples():
    cfg = small()
    cfg.probe.size = 5
    with pytest.raises(schema.ConfigError, match="none of the 5 probe examples, out of 300"):
        assembly.assemble(cfg)


@pytest.mark.parametrize("one_class", [False, True])
def test_the_probe_holds_a_task_s_classes_or_one_of_them(one_class):
    cfg = small()
    cfg.probe.one_class = one_class
    ready = assembly.assemble(cfg)
    state = jax.tree.map(lambda a: a[0], ready.programs.init())
    for step in (0, 60):
        at = state._replace(step=jnp.int32(step))
        data = jax.jit(ready.recipe.prepare)(at, ready.data)
        mine = set(np.asarray(data.task).tolist())
        shown = np.asarray(data.probe.y).tolist()
        assert set(shown) <= mine and len(set(shown)) == (1 if one_class else 2)
        counts = [shown.count(c) for c in set(shown)]
        assert min(counts) == max(counts) > 20


@pytest.mark.long_except("False")
@pytest.mark.slow
@pytest.mark.parametrize("one_class", [False, True])
def test_random_labels_are_scored_on_what_was_taught(one_class):
    cfg = small("labels")
    cfg.probe.update(one_class=one_class, size=100)
    cfg.model.name, cfg.optimizer.lr = "mlp:widths=64", 0.02
    cfg.data.update(train_size=120, batch_size=60)
    ready = assembly.assemble(cfg)
    states = ready.programs.init()
    states, _ = ready.programs.train(states, ready.data, 60 // cfg.probe.every)
    scores = jax.device_get(ready.programs.evaluate(states, ready.data))
    for i in range(2):
        state, data = jax.tree.map(lambda a, i=i: a[i], states), ready.data
        stream = STREAMS["labels"](cfg, load_arrays("digits", cfg.data.train_size))
        x = normalise(data.x, data.mean, data.std)
        guessed = jax.jit(ready.recipe.model.apply)(state.params, state.stats, x)[0].argmax(-1)
        tasks = [stream.begin(jax.random.fold_in(state.key, STREAM), k) for k in range(3)]
        right = [float((guessed == task).mean()) for task in tasks]
        assert scores["accuracy"][i] == pytest.approx(right[0], abs=1e-6)
        np.testing.assert_allclose(scores["task_accuracy"][i], right, atol=1e-6)
        assert right[0] > 0.5 > 0.2 > right[1]  # one in ten is a guess
        probe = jax.jit(ready.recipe.prepare)(state._replace(step=jnp.int32(59)), data).probe
        same = (probe.x[:, None].reshape(len(probe.y), 1, -1) == x.reshape(1, len(x), -1)).all(-1)
        assert (same.sum(1) >= 1).all()
        np.testing.assert_array_equal(probe.y, tasks[0][same.argmax(1)])
        assert (len(set(np.asarray(probe.y).tolist())) == 1) == one_class
