"""A resumed run has the bits of an undisturbed one, or is refused: the difference is named."""

import contextlib
import importlib
import json
import shutil
import sys

import jax
import numpy as np
import pytest

from tapjax.config import schema
from tapjax.run import loop, replay
from tapjax.store import checkpoint, environment, identity
from tapjax.store.rundir import RunDirError
from tests.tapjax.same import assert_same_run

SETTINGS = {
    "x64": lambda: jax.enable_x64(True),
    "threefry": lambda: jax.threefry_partitionable(False),
    "keys": lambda: jax.default_prng_impl("rbg"),
    "precision": lambda: jax.default_matmul_precision("bfloat16"),
    "promotion": lambda: jax.numpy_dtype_promotion("strict"),
}
RECORDED = {
    "jaxlib": "0.0.1", "device_kind": "gpu H200", "cores": 77, "cpu_features": "sse2",
    "xla_flags": ["--xla_cpu_enable_fast_math=true"], "source": "0", "own_code": {"a.b": "0"},
    "jax_settings": {"jax_disable_jit": True}, "versions": {"optax": "0.0.1"},
}  # fmt: skip


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """A config, and a run of it that was killed after half of its steps."""
    path, save = tmp_path_factory.mktemp("identity") / "run", checkpoint.save
    tiny = schema.defaults()
    tiny.seeds, tiny.steps, tiny.chunk_steps, tiny.checkpoint.every = (0, 1), 40, 10, 10
    tiny.model.name, tiny.data.batch_size, tiny.probe.size = "mlp:depth=2,width=8", 16, 64

    def save_and_die(manager, step, states, **options):
        save(manager, step, states, **options)
        if step == 20:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(checkpoint, "save", save_and_die)
        loop.run(tiny, path)
    return tiny, path


@pytest.fixture
def stopped(stopped_run, tmp_path):
    """A copy of it."""
    tiny, path = stopped_run
    return tiny, shutil.copytree(path, tmp_path / "run")


@pytest.mark.slow
def test_settings_that_change_numbers_do_not_reach_a_run(tiny, tmp_path):
    loop.run(tiny, tmp_path / "plain")
    with contextlib.ExitStack() as stack:
        for setting in SETTINGS.values():
            stack.enter_context(setting())
        loop.run(tiny, tmp_path / "changed")
    assert_same_run(tmp_path / "plain", tmp_path / "changed")


@pytest.mark.slow
def test_a_run_goes_on_under_another_setting_of_the_user(stopped, tmp_path):
    tiny, path = stopped
    loop.run(tiny, tmp_path / "undisturbed")
    with SETTINGS["threefry"](), SETTINGS["x64"]():
        assert loop.run(tiny, path).status == "DONE"
    assert_same_run(tmp_path / "undisturbed", path)


@pytest.mark.parametrize("field", RECORDED)
def test_what_differs_is_named(field):
    now = environment.environment(schema.defaults(), "vmap")
    (said,) = identity.differences(now | {field: RECORDED[field]}, now)[:1]
    assert said.startswith(field) and " -> " in said


@pytest.mark.slow
def test_a_run_of_another_machine_needs_permission(stopped):
    tiny, path = stopped
    env = json.loads((path / "env.json").read_text())
    (path / "env.json").write_text(json.dumps(env | {"cores": 77}))
    with pytest.raises(RunDirError, match="bit for bit .cores: 77 -> .*allow_numeric_drift"):
        loop.run(tiny, path)
    with pytest.raises(RunDirError, match="bit for bit .cores"):
        with replay.open_timeline(path):
            pass
    assert loop.run(tiny, path, allow_numeric_drift=True).status == "DONE"


def test_what_was_not_recorded_is_not_compared():
    now = environment.environment(schema.defaults(), "vmap")
    assert identity.differences(now, now) == []
    older = {name: now[name] for name in ("seeds", "over_seeds", "devices", "jaxlib")}
    assert identity.differences(older, now) == []
    assert identity.differences(now | {"argv": ["other"], "python": "3"}, now) == []


def test_harmless_flags_make_no_difference(monkeypatch):
    def seen(flags):
        monkeypatch.setenv("XLA_FLAGS", flags)
        return environment.environment(schema.defaults(), "vmap")["xla_flags"]

    assert seen("--xla_dump_to=/tmp/a --xla_force_host_platform_device_count=2") == []
    assert seen("--b --a=1") == seen("--a=1  --b") == ["--a=1", "--b"]


def test_comments_are_no_code_and_numbers_are(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    cfg = schema.defaults()
    cfg.model.name = "their_model:make"

    def digest(source):
        (tmp_path / "their_model.py").write_text(source)
        importlib.import_module("their_model")
        return environment.environment(cfg, "vmap")["own_code"]["their_model"]

    plain = digest('def make():\n    """One."""\n    return 1\n')
    assert digest('"""Two."""\n\ndef make():  # one\n    return (1)\n') == plain
    assert digest("def make():\n    return 2\n") != plain
    monkeypatch.delitem(sys.modules, "their_model")


@pytest.mark.slow
def test_before_it_goes_on_a_run_is_tried_against_its_record(stopped):
    tiny, path = stopped
    record = path / "records" / "000000010.npz"
    with np.load(record) as file:
        arrays = dict(file)
    off = arrays["scalar/loss"].copy()
    off[1, 3] = np.nextafter(off[1, 3], np.float32(9))
    np.savez(record, **arrays | {"scalar/loss": off})
    with pytest.raises(
        RunDirError, match="steps 10 to 20, trained again, differ from the record by .* of loss"
    ):
        loop.run(tiny, path)
    assert loop.run(tiny, path, allow_numeric_drift=True).status == "DONE"
    assert "trained from step 10 once more: relative drift" in (path / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 10])
def test_a_lost_record_is_noticed_before_going_on(stopped, lost):
    tiny, path = stopped
    (path / "records" / f"{lost:09d}.npz").unlink()
    with pytest.raises(RunDirError, match=f"a record is missing, that of step {lost}"):
        loop.run(tiny, path)


@pytest.mark.slow
def test_a_lost_record_of_a_finished_run_is_noticed(tiny, tmp_path):
    loop.run(tiny, tmp_path)
    (tmp_path / "records" / "000000030.npz").unlink()
    with pytest.raises(RunDirError, match="a record is missing, that of step 30"):
        loop.run(tiny, tmp_path)
