"""What real loops do to a Recorder, as a hostile user found."""

import argparse
import atexit
import dataclasses
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis import open_run
from tapjax.live import Recorder, folder, recorder
from tapjax.live.dimensions import dimensions
from tests.tapjax.live.test_recorder import opened


def test_buffers_may_be_donated_to_the_next_step(tmp_path):
    step = jax.jit(lambda state: {"lr": state["lr"] * 0.5}, donate_argnums=0)
    state = {"lr": jnp.float32(1)}
    with opened(tmp_path) as record:
        for i in range(5):
            record(i, loss=1.0, lr=state["lr"])
            state = step(state)
    np.testing.assert_array_equal(open_run(tmp_path).array("scalar", "lr")[0], 0.5 ** np.arange(5))


@pytest.mark.parametrize("seconds", [60, -1])
def test_a_step_may_be_completed_at_any_time(tmp_path, monkeypatch, seconds):
    """Between its two calls a minute may pass, for example with a validation."""
    monkeypatch.setattr(recorder, "SECONDS", seconds)
    with opened(tmp_path, chunk=7) as record:
        for step in range(30):
            record.probe(step, layers={"a": 3.0})
            record(step, loss=1.0)
            record.evaluate(step, accuracy=0.5)
            record(step, lr=step)
            record.probe(step, accuracy=0.1)
    run = open_run(tmp_path)
    np.testing.assert_array_equal(run.array("scalar", "lr")[0], np.arange(30))
    assert not np.isnan(run.array("probe", "accuracy")).any() and len(run.steps("eval")) == 30


def test_a_probe_before_the_first_step_can_be_flushed(tmp_path):
    with opened(tmp_path) as record:
        record.probe(0, layers={"a": 3.0})
        record.flush()
        for step in range(5):
            record(step, loss=1.0)
    assert open_run(tmp_path).steps("probe").tolist() == [0]


def test_a_loop_that_records_probes_only_is_written_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "SECONDS", -1)
    with opened(tmp_path) as record:
        for step in range(0, 100, 5):
            record.probe(step, layers={"a": 3.0})
        assert len(list((tmp_path / "records").glob("*.npz"))) > 3
    assert open_run(tmp_path).steps("probe").tolist() == list(range(0, 100, 5))


def evaluated(record, first, last):
    for step in range(first, last):
        record(step, loss=1.0)
        if (step + 1) % 100 == 0:
            record.evaluate(step + 1, accuracy=(step + 1) / 1000)


@pytest.mark.parametrize("first", [500, 499, 430])
def test_an_evaluation_at_the_step_of_a_resume_is_kept(tmp_path, first):
    record = opened(tmp_path)
    evaluated(record, 0, 550)
    record._close("PREEMPTED", "")
    with opened(tmp_path) as record:
        if first == 500:
            record.evaluate(500, accuracy=0.5)  # some loops evaluate before they continue
        evaluated(record, first, 700)
    run = open_run(tmp_path)
    assert run.steps("eval").tolist() == list(range(100, 701, 100))
    np.testing.assert_allclose(run.array("eval", "accuracy")[0], run.steps("eval") / 1000)
    assert run.steps("scalar").tolist() == list(range(700))


class KilledError(BaseException):
    """Stands for SIGKILL: nothing is written after it."""


def loop_until_killed(path, first, at, monkeypatch):
    """Run a loop whose process is killed at a file operation; return the number of operations."""
    done = 0

    def counted(write):
        def writes(*args):
            nonlocal done
            done += 1
            if done == at:
                raise KilledError
            return write(*args)

        return writes

    record = None
    with monkeypatch.context() as patch:
        for name in ("write_npz", "write_json"):
            patch.setattr(folder, name, counted(getattr(folder, name)))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        try:
            record = opened(path, chunk=20)
            for step in range(first, 70):
                if step % 5 == 0:
                    record.probe(step, layers={"a": float(step + 1), "head": 1.0})
                if step >= 12:  # its first probes come before its first scalars
                    record(step, loss=1.0 + step)
                if step % 10 == 9:
                    record.evaluate(step + 1, accuracy=step / 100)
            record.close()
        except KilledError:
            if record is not None:
                atexit.unregister(record._end_of_process)
                record._folder = None
                record._stack.close()
    return done


@pytest.mark.parametrize("first", [0, 10, 30, 41])
def test_a_kill_at_any_file_operation_loses_nothing_that_is_not_repeated(
    tmp_path, monkeypatch, first
):
    """A run that was interrupted is reopened, killed at every operation in turn, and completed."""
    whole = tmp_path / "whole"
    loop_until_killed(whole, 0, -1, monkeypatch)
    wanted = open_run(whole)
    begun = tmp_path / "begun"
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "close", lambda self: self._close("PREEMPTED", ""))
        loop_until_killed(begun, 0, -1, patch)
    operations = loop_until_killed(shutil.copytree(begun, tmp_path / "n"), first, -1, monkeypatch)
    assert operations > 10
    for at in range(1, operations + 1):
        path = shutil.copytree(begun, tmp_path / str(at))
        loop_until_killed(path, first, at, monkeypatch)
        if "DONE" not in (path / "STATUS.json").read_text():
            loop_until_killed(path, first, -1, monkeypatch)
        found = open_run(path)
        for group in ("scalar", "probe", "eval"):
            np.testing.assert_array_equal(found.steps(group), wanted.steps(group), f"{at} {group}")
            for name in wanted.names(group):
                np.testing.assert_array_equal(
                    found.array(group, name), wanted.array(group, name), f"{at} {group} {name}"
                )


def test_a_kill_at_any_file_operation_of_a_new_run(tmp_path, monkeypatch):
    operations = loop_until_killed(tmp_path / "whole", 0, -1, monkeypatch)
    wanted = open_run(tmp_path / "whole")
    for at in range(1, operations + 1):
        path = tmp_path / str(at)
        loop_until_killed(path, 0, at, monkeypatch)
        if not (path / "STATUS.json").exists() or "DONE" not in (path / "STATUS.json").read_text():
            loop_until_killed(path, 0, -1, monkeypatch)
        found = open_run(path)
        for group in ("scalar", "probe", "eval"):
            np.testing.assert_array_equal(found.steps(group), wanted.steps(group), f"{at} {group}")


def test_probes_before_the_first_scalar_survive_a_resume(tmp_path):
    record = opened(tmp_path)
    for step in range(0, 60, 5):
        record.probe(step, layers={"a": 3.0})
        if step >= 20:
            record(step, loss=1.0)
    record._close("PREEMPTED", "")
    with opened(tmp_path) as record:
        for step in range(15, 60, 5):
            record.probe(step, layers={"a": 3.0})
            record(step, loss=1.0)
    assert open_run(tmp_path).steps("probe").tolist() == list(range(0, 60, 5))


def test_a_single_nan_at_the_end_is_no_divergence(tmp_path):
    for last, diverged in ((1, False), (3, True)):
        with opened(tmp_path / str(last), chunk=20) as record:
            for step in range(60):
                record(step, loss=np.nan if step >= 60 - last else 1.0)
        status = "DIVERGED" if diverged else "DONE"
        assert f'"{status}"' in (tmp_path / str(last) / "STATUS.json").read_text()
    assert open_run(tmp_path / "1").array("scalar", "loss")[0, -1] == 1


def test_large_numbers_keep_their_digits(tmp_path):
    with opened(tmp_path) as record:
        for step in range(3):
            record(step, loss=1e39, tokens=2**25 + step)
    run = open_run(tmp_path)
    np.testing.assert_array_equal(run.array("scalar", "tokens")[0], 2**25 + np.arange(3))
    np.testing.assert_array_equal(run.array("scalar", "loss")[0], 1e39)


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    sizes: tuple = (64, 32)


CONFIGS = {
    "dataclass": Settings(),
    "argparse": argparse.Namespace(lr=0.1, sizes=[64, 32]),
    "objects": {
        "act": {"tanh", "relu", "gelu"}, "f": lambda: 1, "np": np.float32(0.5), "o": object(),
        "array": jnp.arange(3), "nan": float("nan"), "inner": Settings(), "none": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_of_any_kind_are_the_same_in_the_next_process(tmp_path, name):
    def fresh():  # other objects, at other addresses
        config = CONFIGS[name]
        return config | {"o": object(), "f": lambda: 2} if name == "objects" else config

    with pytest.raises(ZeroDivisionError), opened(tmp_path, config=fresh()) as record:
        record(0, loss=1.0)
        raise ZeroDivisionError
    with opened(tmp_path, config=fresh()) as record:
        record(1, loss=1.0)
    settings = open_run(tmp_path).config["settings"]
    if name != "objects":
        assert settings == {"lr": 0.1, "sizes": [64, 32]}
    else:
        assert settings["array"] == [0, 1, 2] and settings["act"] == ["gelu", "relu", "tanh"]
        assert settings["np"] == 0.5 and settings["nan"] == "nan"


def test_settings_of_another_type_are_refused(tmp_path):
    with pytest.raises(ValueError, match="config is list, not a dict"):
        opened(tmp_path, config=["lr"])


def test_images_are_refused_unless_their_layout_is_named(tmp_path):
    images = np.random.default_rng(0).standard_normal((16, 8, 4, 5))
    with opened(tmp_path / "none") as record:
        with pytest.raises(ValueError, match=r"'c'\]: shape .* pass channels='first' or 'last'"):
            record.probe(0, layers={"c": images})
    for channels, axes in (("first", (2, 3)), ("last", (1, 2))):
        with opened(tmp_path / channels, channels=channels) as record:
            record.probe(0, layers={"c": images})
            record(0, loss=1.0)
        wanted = dimensions(images.mean(axes))["participation_ratio"]
        assert open_run(tmp_path / channels).dimension().item() == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(ValueError, match="channels='middle'"):
        opened(tmp_path / "bad", channels="middle")


def test_one_number_counts_for_all_seeds_and_seeds_may_be_of_numpy(tmp_path):
    with opened(tmp_path, seeds=np.int64(3)) as record:
        for step in range(3):
            record(step, loss=np.arange(3.0), lr=0.1)
            record.probe(step, layers={0: np.ones(3), 1: np.ones(3)})
    run = open_run(tmp_path)
    np.testing.assert_allclose(run.array("scalar", "lr"), 0.1)
    assert run.layer_names == ["0", "1"]


def test_a_value_inside_of_jit_is_refused_in_one_line(tmp_path):
    with opened(tmp_path) as record, pytest.raises(ValueError, match="return it from the compiled"):
        jax.jit(lambda x: record.probe(0, accuracy=x))(1.0)


def test_memory_stays_flat(tmp_path):
    import tracemalloc

    with Recorder(tmp_path, quiet=True, chunk=500) as record:
        for step in range(1000):
            record(step, loss=1.0, grad_norm=1.0)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for step in range(1000, 5000):
            record(step, loss=1.0, grad_norm=1.0)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert grown < 500_000


def test_a_divergence_that_is_repeated_with_other_numbers_is_forgotten(tmp_path):
    record = opened(tmp_path)
    for step in range(20):
        record(step, loss=np.nan if step > 9 else 1.0)
    record._close("PREEMPTED", "")
    with opened(tmp_path) as record:
        for step in range(5, 20):
            record(step, loss=1.0) if step < 15 else record(step, lr=0.1)
    run = open_run(tmp_path)
    assert not run.diverged and (run.array("scalar", "loss") == 1).all()
