"""Measures of a finished run: what training itself saw, at any step, added to at any time."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.edm.variables import variables
from analysis.runs.reader import RunError, open_run
from configs.credit import digits
from configs.plasticity import cloning as cloned
from configs.plasticity import continual
from tapjax.config.schema import ConfigError
from tapjax.measure.measures import MEASURES, check, chosen
from tapjax.run import loop, measuring, replay
from tapjax.types import Measure
from tests.conftest import tiny

pytestmark = pytest.mark.usefixtures("full_compile")

FAST = ("examples", "collapse", "intrinsic_dimension")


def measure(path, names, steps):
    measures = chosen(names)
    with replay.open_timeline(path) as timeline:
        ready = timeline.assembly
        check(measures, ready.recipe, ready.cfg, ready.like, ready.data)
        wanted = measuring.missing_steps(path, list(measures), steps)
        drift = replay.Drift(path / "records", 1)
        done = list(measuring.measure_steps(timeline, path, measures, wanted, drift))
    return [each.step for each in done]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("measured") / "run"
    assert loop.run(tiny.__wrapped__(), path).status == "DONE"
    return path


def test_values_are_those_that_the_live_probe_has_recorded(run):
    assert measure(run, FAST, [0, 5, 20, 35, 40]) == [0, 5, 20, 35, 40]
    opened = open_run(run)
    assert opened.measured == sorted(FAST) and "examples" in repr(opened)
    at = opened.steps("examples")
    assert at.tolist() == [0, 5, 20, 35, 40]
    here = np.searchsorted(opened.steps("probe"), at)
    for ours, recorded in (("loss", "loss"), ("correct", "accuracy")):
        found = opened.array("examples", ours).mean(-1)
        np.testing.assert_allclose(found, opened.array("probe", recorded)[:, here], rtol=1e-6)
    assert opened.array("intrinsic_dimension", "two_nn").shape == (2, 5, 3)


def test_steps_are_added_and_none_is_measured_twice(run):
    measure(run, ["collapse"], [0, 10])
    before = open_run(run).array("collapse", "nc1")
    assert measure(run, ["collapse"], [0, 10, 12, 30]) == [12, 30]
    assert measure(run, ["collapse"], [0, 10, 12, 30]) == []
    opened = open_run(run)
    steps = opened.steps("collapse").tolist()
    assert {0, 10, 12, 30} <= set(steps) and steps == sorted(set(steps))
    where = [steps.index(step) for step in (0, 10)]
    now = opened.array("collapse", "nc1")[:, where]
    assert all(value in before for value in now.ravel())


def test_measures_are_variables_of_the_analyses(run):
    measure(run, ["curvature"], [0, 10, 20, 30])
    opened = open_run(run)
    at, series = variables(opened, ["loss", "curvature/trace", "curvature/top/1", "D"])
    assert at.tolist() == [0, 10, 20, 30]
    np.testing.assert_array_equal(
        series["curvature/top/1"], opened.array("curvature", "top")[:, :, 1]
    )
    assert series["loss"].shape == series["D"].shape == (2, 4)
    with pytest.raises(RunError, match="has 3 per step: name one .* curvature/top/0"):
        variables(opened, ["curvature/top"])
    with pytest.raises(RunError, match="no 'sharpness'; curvature has bottom, density"):
        opened.array("curvature", "sharpness")
    with pytest.raises(RunError, match=r"no measure 'kernel' .* --measures=kernel"):
        opened.array("kernel", "trace")


def biases(model, loss, state, data, key):
    """A measure of one's own."""
    return {"largest": jnp.abs(state.params["hidden_0"]["bias"]).max()}


def probe(model, loss, state, data, key):
    return {"a": state.step}


def nothing(model, loss, state, data, key):
    return {}


def test_a_measure_of_ones_own(run):
    own = f"{__name__}:biases"
    measure(run, [own], [0, 40])
    found = open_run(run).array("biases", "largest")
    assert found.shape == (2, 2) and (found > 0).all() and (found[:, 0] != found[:, 1]).all()
    with pytest.raises(ConfigError, match="does not return a dict of arrays"):
        measure(run, [f"{__name__}:nothing"], [0])
    with pytest.raises(ConfigError, match=r"measures='curvatur'.* did you mean"):
        chosen(["curvatur"])
    with pytest.raises(ConfigError, match="probe is the name of recorded arrays"):
        chosen([f"{__name__}:probe"])
    with pytest.raises(ConfigError, match="biases is named twice"):
        chosen([own, own])
    assert isinstance(chosen(["kernel"])["kernel"], Measure)


def test_the_measure_that_the_guide_writes(run, tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "guides" / "measures.md").read_text()
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", page, re.S) if "def " in c)
    (tmp_path / "mymodule.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    measure(run, ["mymodule:largest_weight"], [0, 40])
    assert (open_run(run).array("largest_weight", "largest") > 0).all()
    told = re.findall(r"^\| `(\w+)` \|", page, re.M)
    assert told == list(MEASURES)
    for name in told:
        (row,) = re.findall(rf"^\| `{name}` \|.*\| (\d+) \|$", page, re.M)
        assert float(row) == MEASURES[name].cost


@pytest.mark.slow
def test_the_command(run):
    def python(*args):
        command = [sys.executable, "-m", "launch.measure", f"--run={run}", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    dry = python("--measures=kernel", "--steps=0,35", "--dry_run")
    assert dry.returncode == 0 and "2 steps to measure" in dry.stdout
    assert "kernel" not in open_run(run).measured
    result = python("--measures=kernel", "--steps=0,35")
    assert result.returncode == 0, result.stderr
    assert "bit for bit over" in result.stdout
    opened = open_run(run)
    kernel = opened.array("kernel", "kernel")
    assert kernel.shape == (2, 2, 64, 64) and opened.steps("kernel").tolist() == [0, 35]
    for wrong, said in (
        (("--measures=kernl", "--steps=0"), "did you mean"),
        (("--measures=kernel", "--steps=41"), "step 41 has not been reached"),
        (("--measures=kernel",), "give --measures and --steps"),
        (("--measures=kernel", "--steps=a"), "--steps"),
    ):
        result = python(*wrong)
        assert result.returncode == 2 and said in result.stderr, result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    "model", ["cnn:channels=4-8", "transformer:depth=1,width=8,heads=2", "resnet:channels=4-8"]
)
def test_every_measure_of_every_kind_of_network(model, tmp_path):
    cfg = tiny.__wrapped__()
    cfg.model.name, cfg.steps, cfg.chunk_steps, cfg.eval_every = model, 10, 10, 0
    cfg.over_seeds, cfg.probe.size = "loop", 40
    loop.run(cfg, tmp_path / "run")
    measure(tmp_path / "run", list(MEASURES), [0, 10])
    opened = open_run(tmp_path / "run")
    for name in MEASURES:
        for quantity in opened.names(name):
            values = opened.array(name, quantity)
            assert values.shape[:2] == (2, 2), (name, quantity)
            # The noise scale may be infinite, equal activations have no dimension, small matrices
            # have no power law, and 40 examples have not that many neighbours.
            may_lack = ("noise_scale", "intrinsic_dimension", "weight_spectrum")
            assert np.isfinite(values).all() or name in may_lack, (name, quantity)


@pytest.mark.slow
def test_full_batch_gradient_descent_reaches_the_edge_of_stability(tmp_path):
    """The largest eigenvalue rises to 2 / learning rate and stays there (Cohen et al. 2021)."""
    cfg, lr = tiny.__wrapped__(), 0.15
    cfg.seeds, cfg.model.name, cfg.model.activation = (0,), "mlp:widths=32-32", "tanh"
    cfg.loss, cfg.data.train_size, cfg.data.batch_size = "squared_error", 500, 500
    cfg.optimizer.name, cfg.optimizer.lr, cfg.optimizer.clip = "sgd", lr, 0.0
    cfg.steps, cfg.chunk_steps, cfg.eval_every, cfg.probe.every = 3000, 500, 0, 100
    cfg.checkpoint.every = 500
    loop.run(cfg, tmp_path / "run")
    measure(tmp_path / "run", ["curvature"], [0, 2000, 2200, 2400, 2600, 2800, 3000])
    top = open_run(tmp_path / "run").array("curvature", "top")[0, :, 0] * lr / 2
    assert top[0] < 0.8
    assert (np.abs(top[1:] - 1) < 0.02).all(), top


def test_gradients_are_those_of_the_training_loss(run):
    """The square of the noise scale is the squared gradient norm of the same examples."""
    measures = chosen(["noise_scale"])
    with replay.open_timeline(run) as timeline:
        ((_, states),) = replay.states_at(timeline, [20])
        ready = timeline.assembly
        state = jax.tree.map(lambda leaf: leaf[0], states)
        found = measures["noise_scale"].apply(
            ready.recipe.model, ready.recipe.loss, state, ready.data, jax.random.key(0)
        )
        from tapjax.measure.noise_scale import EXAMPLES
        from tapjax.measure.training_examples import training_examples

        batch = training_examples(ready.data, EXAMPLES)

        def cost(params):
            outputs, _, _ = ready.recipe.model.apply(params, state.stats, batch.x)
            return ready.recipe.loss(outputs, batch).mean()

        grads = jax.tree.leaves(jax.grad(cost)(state.params))
    norm = sum(float(jnp.vdot(g, g)) for g in grads)
    whole = float(found["square"] + found["trace"] / len(batch.y))
    np.testing.assert_allclose(whole, norm, rtol=1e-4)


def of_files(path, name):
    return {key: open_run(path).array(name, key) for key in open_run(path).names(name)}


def with_live_measures(over_seeds="auto"):
    cfg = tiny.__wrapped__()
    cfg.over_seeds = over_seeds
    cfg.probe.measures = "examples, noise_scale*3,probe_again*8"
    return cfg


@pytest.mark.long_except("vmap")
@pytest.mark.parametrize("over_seeds", ["vmap", "loop"])
def test_live_measures_are_those_of_a_replay(tmp_path, over_seeds):
    """Equal to 1e-5: the compiler fuses other operations around a measure inside a chunk."""
    cfg = with_live_measures(over_seeds)
    path, again = tmp_path / "live", tmp_path / "plain"
    loop.run(cfg, path)
    opened = open_run(path)
    assert opened.measured == ["examples", "noise_scale", "probe_again"]
    assert opened.steps("examples").tolist() == list(range(0, 41, 5))
    assert opened.steps("noise_scale").tolist() == [0, 15, 30]
    assert opened.steps("probe_again").tolist() == [0, 40]
    cfg.probe.measures = ""
    loop.run(cfg, again)
    for name in ("scalar", "probe"):  # measuring changes nothing
        for key in opened.names(name):
            np.testing.assert_array_equal(
                opened.array(name, key), open_run(again).array(name, key), err_msg=key
            )
    measure(again, ["examples", "noise_scale"], [0, 5, 10, 15, 20, 25, 30, 35, 40])
    for name in ("examples", "noise_scale"):
        here = np.isin(open_run(again).steps(name), opened.steps(name))
        for key, values in of_files(path, name).items():
            wanted = of_files(again, name)[key][:, here]
            np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-6, err_msg=key)
    probed = opened.array("probe", "participation_ratio")[:, [0, -1]]
    np.testing.assert_allclose(
        opened.array("probe_again", "participation_ratio"), probed, rtol=1e-6
    )


def test_live_measures_survive_an_interruption_and_a_longer_run(tmp_path):
    cfg = with_live_measures()
    loop.run(cfg, tmp_path / "whole")
    cfg.steps = 20
    loop.run(cfg, tmp_path / "parts")
    cfg.steps = 40
    assert loop.run(cfg, tmp_path / "parts", extend=True).status == "DONE"
    for name in ("examples", "noise_scale", "probe_again"):
        steps = open_run(tmp_path / "parts").steps(name).tolist()
        assert steps == open_run(tmp_path / "whole").steps(name).tolist()
        for key, values in of_files(tmp_path / "whole", name).items():
            np.testing.assert_array_equal(values, of_files(tmp_path / "parts", name)[key], key)


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        ("curvatur", "did you mean 'curvature'"),
        (
            "examples*0",
            r"'examples\*0' must be a name, or a name and a number up to",
        ),
        ("examples*x", "must be a name"),
        ("examples*99999999999999999999", "must be a name"),
        ("*10", "must be a name"),
        ("examples,examples*4", "examples is named twice"),
        (f"{__name__}:nothing", "nothing does not return a dict of arrays"),
        (f"{__name__}:probe", "probe is the name of recorded arrays"),
    ],
)
def test_live_measures_that_cannot_be_computed(tmp_path, measures, said):
    cfg = tiny.__wrapped__()
    cfg.probe.measures = measures
    with pytest.raises(ConfigError, match=said):
        loop.run(cfg, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_barriers_between_seeds_and_to_the_end(run):
    measure(run, ["barrier"], [0, 40])
    found = open_run(run).array("barrier", "barrier")
    assert found.shape == (2, 2, 3)  # [S, T, S + 1]
    np.testing.assert_array_equal(found[0, :, 1], found[1, :, 0])
    assert (found[0, :, 0] == 0).all() and (found[1, :, 1] == 0).all()
    np.testing.assert_allclose(found[:, 1, 2], 0, atol=1e-6)  # the end is its own end
    matched = open_run(run).array("barrier", "matched")
    assert np.isfinite(matched).all()


@pytest.mark.long
@pytest.mark.slow
def test_the_barrier_between_a_clone_and_its_base(tmp_path):
    """A clone that follows its base exactly stays where the expanded base is."""
    cfg = cloned.get_config("quick,dataset=digits,optimizer=sgd,track,seeds=2")
    cfg.probe.every, cfg.clone.step, cfg.steps = 20, 20, 120
    cfg.eval_every, cfg.checkpoint.every = 0, 60
    assert loop.run(cfg, tmp_path).status == "DONE"
    measure(tmp_path, ["barrier"], [60, 120])
    found = open_run(tmp_path).array("barrier", "barrier")
    assert found.shape == (2, 2, 4)  # seeds, end, base
    assert found[..., 3].max() < 1e-5
    assert found[0, :, 1].min() > 1e-2, found  # to the other seed


@pytest.mark.parametrize("kind", ["permuted", "labels"])
def test_training_examples_that_change_with_the_task(kind, tmp_path):
    cfg = continual.get_config(f"quick,kind={kind}")
    cfg.probe.measures = "noise_scale"
    with pytest.raises(ConfigError, match=f"change with the task in this run.*{kind}"):
        loop.run(cfg, tmp_path / "run")


def test_a_measure_of_pairs_cannot_be_live(tmp_path):
    cfg = tiny.__wrapped__()
    cfg.probe.measures = "barrier"
    with pytest.raises(ConfigError, match="barrier compares two states"):
        loop.run(cfg, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.long_except("noise_scale")
@pytest.mark.parametrize("name", ["curvature", "noise_scale"])
def test_blocks_with_an_optimizer_each_are_measured(name, tmp_path):
    """Every block of a credit run has its own Adam; the moments are those of all parameters."""
    cfg = digits.get_config("method=dir,quick")
    cfg.seeds, cfg.steps, cfg.chunk_steps, cfg.eval_every = (0,), 10, 10, 0
    cfg.probe.every, cfg.checkpoint.every, cfg.probe.measures = 5, 10, name
    loop.run(cfg, tmp_path / "run")
    quantity = {"curvature": "preconditioned_top", "noise_scale": "along_moment"}[name]
    assert np.isfinite(open_run(tmp_path / "run").array(name, quantity)[:, 1:]).all()
