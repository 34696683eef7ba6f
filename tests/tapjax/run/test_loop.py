import json
import logging
import types

import jax
import numpy as np
import pytest

from analysis import open_run
from tapjax.config.schema import ConfigError
from tapjax.contract.files import RunError
from tapjax.run import loop
from tapjax.store.rundir import RunDirError
from tests.tapjax.same import assert_same_run, unfinished_run

pytestmark = pytest.mark.usefixtures("full_compile")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An undisturbed run and its config."""
    from tests.conftest import tiny

    cfg = tiny.__wrapped__()
    path = tmp_path_factory.mktemp("loop") / "run"
    assert loop.run(cfg, path).status == "DONE"
    return cfg, path


def test_a_run_leaves_every_step_and_measurement(finished):
    cfg, path = finished
    run = open_run(path)
    np.testing.assert_array_equal(run.steps("scalar"), np.arange(40))
    np.testing.assert_array_equal(run.steps("probe"), np.arange(0, 41, 5))
    np.testing.assert_array_equal(run.steps("eval"), [20, 40])
    assert run.array("scalar", "loss").shape == (2, 40)
    assert run.array("probe", "participation_ratio").shape == (2, 9, 3)
    assert run.array("probe", "class_accuracy").shape == (2, 9, 10)
    assert run.layer_names == ["hidden_0", "hidden_1", "head"] and run.hidden == [0, 1]
    hidden = run.array("probe", "participation_ratio")[:, :, :2].mean(-1)
    np.testing.assert_array_equal(run.dimension(), hidden)
    assert run.array("scalar", "loss")[:, -5:].mean() < run.array("scalar", "loss")[:, :5].mean()


def test_evaluation_covers_the_whole_test_split(finished):
    cfg, path = finished
    accuracy = open_run(path).array("eval", "accuracy")
    n = json.loads((path / "data.json").read_text())["test_examples"]
    assert n > 300
    np.testing.assert_allclose(accuracy * n, np.round(accuracy * n), atol=1e-3)


@pytest.mark.fault
def test_the_manifest_holds_no_absolute_path(finished):
    _, path = finished
    for file in path.glob("*.json"):
        assert str(path) not in file.read_text()


def test_a_finished_run_is_not_touched(finished):
    cfg, path = finished
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*.npz")}
    assert loop.run(cfg, path) == loop.Outcome("DONE", 40, "")
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*.npz")} == before


def test_one_compilation_of_the_chunk(tiny, tmp_path, caplog):
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        loop.run(tiny, tmp_path / "run")
    compiled = [
        r.getMessage() for r in caplog.records if "Finished XLA compilation" in r.getMessage()
    ]
    assert sum("jit(chunk)" in message for message in compiled) == 1


@pytest.mark.fault
def test_another_config_is_refused_with_its_difference(finished):
    cfg, path = finished
    other = cfg.copy_and_resolve_references()
    other.optimizer.lr = 2e-3
    with pytest.raises(RunDirError, match="optimizer.lr: 0.001 -> 0.002"):
        loop.run(other, path)


@pytest.mark.fault
def test_another_number_of_seeds_is_refused(finished):
    cfg, path = finished
    other = cfg.copy_and_resolve_references()
    other.seeds = (0, 1, 2)
    with pytest.raises(RunDirError, match="seeds"):
        loop.run(other, path)


@pytest.mark.fault
def test_resume_modes(finished, tmp_path):
    cfg, path = finished
    with pytest.raises(RunDirError, match="already holds a run"):
        loop.run(cfg, path, resume="never")
    with pytest.raises(RunDirError, match="no run to resume"):
        loop.run(cfg, tmp_path / "new", resume="must")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(RunDirError, match="thesis.tex"):
        loop.run(cfg, tmp_path / "full")


def poison(monkeypatch, seeds):
    """Plant NaN in the initial parameters of some seeds."""
    restore = loop._restore_or_init

    def poisoned(*args):
        states, first = restore(*args)
        params = jax.tree.map(lambda a: a.at[np.array(seeds)].set(np.nan), states.params)
        return states._replace(params=params), first

    monkeypatch.setattr(loop, "_restore_or_init", poisoned)


@pytest.mark.fault
def test_one_diverging_seed_leaves_the_others_untouched(tiny, finished, tmp_path, monkeypatch):
    """A NaN planted in seed 1's parameters; seed 0 must equal the undisturbed run, bit for bit."""
    poison(monkeypatch, seeds=[1])
    assert loop.run(tiny, tmp_path / "run").status == "DONE"
    bad, good = open_run(tmp_path / "run"), open_run(finished[1])
    assert bad.diverged == {"1": 0} and bad.seeds == [0]
    for name in ("loss", "grad_norm"):
        np.testing.assert_array_equal(bad.array("scalar", name)[0], good.array("scalar", name)[0])
    np.testing.assert_array_equal(bad.dimension()[0], good.dimension()[0])


@pytest.mark.slow
def test_a_divergence_is_known_again_from_the_records(tiny, tmp_path):
    """STATUS.json is written after the checkpoint: a kill in between must not hide it."""
    path = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, seeds=[1])
        unfinished_run(tiny, path)
    status = json.loads((path / "STATUS.json").read_text())
    (path / "STATUS.json").write_text(json.dumps(status | {"diverged": {}}))
    assert loop.run(tiny, path).status == "DONE"
    assert open_run(path).diverged == {"1": 0}


@pytest.mark.slow
def test_a_damaged_record_is_named(tiny, tmp_path):
    path = tmp_path / "run"
    unfinished_run(tiny, path)
    (path / "records" / "000000010.npz").write_bytes(b"PK nonsense")
    with pytest.raises(RunError, match="000000010.npz is damaged"):
        loop.run(tiny, path)


@pytest.mark.fault
def test_when_every_seed_diverges_the_run_stops(tiny, tmp_path, monkeypatch):
    poison(monkeypatch, seeds=[0, 1])
    outcome = loop.run(tiny, tmp_path / "run")
    assert outcome.status == "DIVERGED" and outcome.step == 10
    assert loop.run(tiny, tmp_path / "run").status == "DIVERGED"
    with pytest.raises(Exception, match="every seed diverged"):
        open_run(tmp_path / "run")


def test_stopping_and_resuming_changes_nothing(tiny, finished, tmp_path, monkeypatch):
    write = loop.rundir.RunDir.write_record
    calls = []

    def stop_after_two(self, first, arrays):
        if len(calls) == 2:
            raise OSError("disk full")
        calls.append(first)
        write(self, first, arrays)

    monkeypatch.setattr(loop.rundir.RunDir, "write_record", stop_after_two)
    with pytest.raises(OSError):
        loop.run(tiny, tmp_path / "run")
    status = json.loads((tmp_path / "run" / "STATUS.json").read_text())
    assert status["status"] == "FAILED" and "disk full" in status["reason"]
    monkeypatch.setattr(loop.rundir.RunDir, "write_record", write)
    assert loop.run(tiny, tmp_path / "run").status == "DONE"
    assert_same_run(finished[1], tmp_path / "run")


@pytest.mark.slow
def test_a_run_killed_after_its_last_checkpoint_only_has_to_be_declared_done(
    tiny, finished, tmp_path
):
    path = tmp_path / "run"
    unfinished_run(tiny, path)
    assert loop.run(tiny, path) == loop.Outcome("DONE", 40, "")
    assert_same_run(finished[1], path)


def test_more_batch_than_data_is_refused(tiny, tmp_path):
    tiny.data.batch_size = 5000
    with pytest.raises(ConfigError, match="data.batch_size=5000"):
        loop.run(tiny, tmp_path / "run")


def own_model(shape, classes):
    """A user's own network: two linen layers, outside the zoo."""
    import flax.linen as nn

    class Own(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            z = nn.Dense(4)(x.reshape(len(x), -1))
            logits = nn.Dense(classes)(nn.tanh(z))
            return logits, {"first": z, "out": logits}

    return Own()


def own_probe(model, loss, classes):
    """A user's own measurement."""
    return lambda state, data: {"step_twice": 2.0 * state.step}


@pytest.mark.slow
def test_models_and_probes_of_ones_own(tiny, tmp_path):
    jax.config.update("jax_numpy_rank_promotion", "allow")
    try:
        tiny.model.name = "tests.tapjax.run.test_loop:own_model"
        tiny.probe.extra = "tests.tapjax.run.test_loop:own_probe"
        assert loop.run(tiny, tmp_path / "run").status == "DONE"
    finally:
        jax.config.update("jax_numpy_rank_promotion", "raise")
    run = open_run(tmp_path / "run")
    assert run.layer_names == ["first", "out"]
    np.testing.assert_array_equal(run.array("probe", "step_twice")[0], 2 * run.steps("probe"))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(59, None), (61, "1 minute left"), (290, "5 minutes left"), (9000, "2.5 hours left")],
)
def test_the_time_left_is_told_in_minutes(seconds, said):
    lines = loop.time_left(seconds)
    assert lines == [] if said is None else said in lines[0]


def test_a_long_run_says_how_long_it_will_take(tiny, tmp_path, monkeypatch):
    now = iter(range(0, 10**6, 1000))
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    loop.run(tiny, tmp_path / "a")
    assert "about 33 minutes left" in (tmp_path / "a" / "log.txt").read_text()


def test_the_time_of_a_run_is_measured_without_writing(tiny, tmp_path, monkeypatch):
    now = iter((0, 10, 12, 14))  # the first call compiles, each one trains 5 steps
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.chdir(tmp_path)
    told = loop.time_needed(tiny)
    assert "10.0 s to compile and start, 400 ms per step" in told
    assert "about 26 seconds for 40 steps" in told
    assert not list(tmp_path.iterdir())
