import errno
import json
import signal
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis import open_run
from tapjax.contract.files import RunError
from tapjax.contract.layout import DIMENSIONS, record_steps
from tapjax.live import Recorder, folder, recorder
from tapjax.live.dimensions import dimensions, matrix
from tapjax.measure import probes

N, D, STEPS, EVERY = 32, 8, 200, 5


def layers(step, seeds=()):
    rng = np.random.default_rng(step)
    return {
        "fc1": rng.standard_normal((*seeds, N, D)).astype(np.float32),
        "head": rng.standard_normal((*seeds, N, 3)).astype(np.float32),
    }


def loss(step):
    return float(np.exp(-step / 50))


def loop(record, first=0, last=STEPS):
    """A training loop without training, of one seed."""
    for step in range(first, last):
        if step % EVERY == 0:
            record.probe(step, layers=layers(step), accuracy=step / STEPS)
        record(step, loss=loss(step), grad_norm=1 + loss(step))


def opened(path, **fields):
    return Recorder(path, **{"chunk": 30, "quiet": True, **fields})


def same(a, b):
    """Whether two runs hold the same numbers."""
    for group in ("scalar", "probe"):
        assert a.names(group) == b.names(group)
        np.testing.assert_array_equal(a.steps(group), b.steps(group))
        for name in a.names(group):
            np.testing.assert_array_equal(a.array(group, name), b.array(group, name))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("recorder") / "whole"
    with opened(path, config={"lr": 0.1}) as record:
        loop(record)
    return open_run(path)


def test_what_was_recorded_is_read(whole):
    assert whole.status["status"] == "DONE" and whole.complete
    assert whole.layer_names == ["fc1", "head"] and whole.hidden == [0]
    np.testing.assert_allclose(whole.array("scalar", "loss")[0], [loss(t) for t in range(STEPS)])
    np.testing.assert_array_equal(whole.steps("probe"), np.arange(0, STEPS, EVERY))
    for i, step in enumerate(range(0, STEPS, EVERY)):
        wanted = dimensions(layers(step)["fc1"])["participation_ratio"]
        assert whole.dimension()[0, i] == pytest.approx(wanted, rel=1e-6)
    assert len(record_steps(whole.path / "records")) == -(-STEPS // 30)


@pytest.mark.parametrize(
    "a_NxD",
    [
        np.random.default_rng(0).standard_normal((40, 20)),
        np.random.default_rng(0).standard_normal((20, 40)) + 100,
        np.random.default_rng(0).standard_normal((60, 3)) @ np.ones((3, 30)),
        np.zeros((5, 4)),
        np.full((5, 4), np.nan),
        1e-30 * np.eye(6),
        1e30 * np.eye(6),
    ],
)
def test_dimensionalities_are_those_of_the_compiled_probe(a_NxD):
    a_NxD = a_NxD.astype(np.float32)
    found, wanted = dimensions(a_NxD), probes.dimensions([jnp.asarray(a_NxD)], centred=True)
    assert set(found) == set(wanted) and set(DIMENSIONS) < set(found)
    for name, value in wanted.items():
        # The spectrum of a constant matrix without its mean is rounding errors only.
        noise = name.startswith("centred") and not np.ptp(a_NxD, 0).any()
        if not noise:
            np.testing.assert_allclose(found[name], value[0], rtol=3e-6, err_msg=name)


def test_images_and_tokens_are_treated_as_in_the_compiled_probe():
    rng = np.random.default_rng(0)
    images, tokens = rng.standard_normal((4, 6, 5, 3)), rng.standard_normal((40, 64, 3))
    np.testing.assert_allclose(
        matrix(images), probes.pooled(jnp.asarray(images), "rows"), rtol=1e-5
    )
    np.testing.assert_array_equal(matrix(images.transpose(0, 3, 1, 2), "first"), matrix(images))
    np.testing.assert_array_equal(matrix(tokens), probes.as_matrix(tokens, 2048))


def test_seeds_are_the_leading_axis(tmp_path):
    with opened(tmp_path, seeds=[3, 5]) as record:
        for step in range(0, 50, EVERY):
            record.probe(step, layers=layers(step, (2,)), accuracy=np.array([0.1, 0.2]))
            record(step, loss=np.array([1.0, 2.0]), per_class=np.ones((2, 4)))
    run = open_run(tmp_path)
    assert run.seeds == [3, 5] and run.array("scalar", "per_class").shape == (2, 10, 4)
    np.testing.assert_array_equal(run.array("scalar", "loss")[:, 0], [1, 2])
    np.testing.assert_allclose(run.array("probe", "accuracy")[1], 0.2, rtol=1e-6)
    wanted = dimensions(layers(0, (2,))["fc1"][1])["participation_ratio"]
    assert run.dimension()[1, 0] == pytest.approx(wanted, rel=1e-6)


def test_irregular_steps_are_recorded_as_they_are(tmp_path):
    steps = np.unique(np.geomspace(1, 10_000, 100).astype(int))
    with opened(tmp_path) as record:
        for step in steps:
            record(step, loss=1.0)
            record.probe(step, layers=layers(step))
    run = open_run(tmp_path)
    np.testing.assert_array_equal(run.steps("scalar"), steps)
    np.testing.assert_array_equal(run.steps("probe"), steps)


def test_a_quantity_of_some_steps_is_nan_at_the_others(tmp_path):
    with opened(tmp_path, chunk=10) as record:
        for step in range(40):
            record(step, loss=1.0)
            if step % 20 == 15:
                record(step, late=step)
    late = open_run(tmp_path).array("scalar", "late")[0]
    assert late[15] == 15 and late[35] == 35 and np.isnan(late[:15]).all() and len(late) == 40


def test_a_seed_that_diverges_is_left_out_and_single_gaps_are_filled(tmp_path):
    with opened(tmp_path, seeds=2, chunk=10) as record:
        for step in range(40):
            value = np.array([step, np.nan if step == 7 or step >= 25 else step], float)
            record(step, loss=value, grad_norm=np.array([np.inf if step == 3 else 1.0, 1.0]))
    run = open_run(tmp_path)
    assert run.diverged == {"1": 25} and run.seeds == [0]
    np.testing.assert_array_equal(run.array("scalar", "grad_norm"), 1)  # a single infinite value
    status = json.loads((tmp_path / "STATUS.json").read_text())
    assert status["status"] == "DONE"
    with opened(tmp_path / "all", chunk=10) as record:
        for step in range(40):
            record(step, loss=np.nan if step > 9 else 1.0)
    assert json.loads((tmp_path / "all/STATUS.json").read_text())["status"] == "DIVERGED"


def test_arrays_of_jax_and_torch(tmp_path):
    torch = pytest.importorskip("torch")
    h, image = layers(0)["fc1"], np.random.default_rng(1).standard_normal((4, 6, 5, 3))
    grad = torch.ones((), requires_grad=True)
    running = torch.zeros(())
    with opened(tmp_path, channels="first") as record:
        for step in range(3):
            running += 1  # in place, after it was recorded
            given = {"numpy": h, "jax": jnp.asarray(h, jnp.bfloat16), "torch": torch.tensor(h)}
            given["image"] = torch.tensor(image.transpose(0, 3, 1, 2))
            given["half"] = torch.tensor(h).to(torch.bfloat16).requires_grad_()
            record.probe(step, layers=given)
            record(step, loss=jax.jit(jnp.sum)(jnp.ones(step)), torch=running, graph=grad * 2)
    run = open_run(tmp_path)
    np.testing.assert_array_equal(run.array("scalar", "torch")[0], [1, 2, 3])
    np.testing.assert_array_equal(run.array("scalar", "loss")[0], [0, 1, 2])
    d_L = run.array("probe", "participation_ratio")[0, 0]
    assert d_L[0] == d_L[2] and d_L[1] == d_L[4] == pytest.approx(d_L[0], rel=1e-2)
    assert d_L[3] == pytest.approx(dimensions(matrix(image))["participation_ratio"], rel=1e-5)


def test_measured_numbers_instead_of_activations(tmp_path):
    with opened(tmp_path) as record:
        for step in range(3):
            record.probe(step, layers={"a": 3.0, "b": jnp.float32(5)})
            record(step, loss=1.0)
    np.testing.assert_array_equal(open_run(tmp_path).dimension()[0], 4)
    with opened(tmp_path / "two") as record:
        record.probe(0, layers={"a": {"stable_rank": 2.0, "participation_ratio": 3.0}})
        record(0, loss=1.0)
    assert open_run(tmp_path / "two").array("probe", "stable_rank").item() == 2


LOOP = """
import os, signal, sys
from tapjax.live import Recorder
from tests.tapjax.live.test_recorder import loop, opened
record = opened(sys.argv[1], config={"lr": 0.1})
loop(record, 0, 107)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["kill", "forgotten"])
@pytest.mark.parametrize("checkpoint", [0, 60, 77, 90])
def test_a_killed_loop_continues_from_its_checkpoint(tmp_path, whole, end, checkpoint):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(LOOP), tmp_path, end])
    assert done.returncode == (-signal.SIGKILL if end == "kill" else 0)
    run = open_run(tmp_path, partial=True)
    # A kill loses at most a chunk; a loop that forgets close() loses nothing.
    assert run.steps("scalar")[-1] >= (107 - 31 if end == "kill" else 106)
    assert run.status["status"] == ("RUNNING" if end == "kill" else "PREEMPTED")
    with opened(tmp_path, config={"lr": 0.1}) as record:
        loop(record, checkpoint)
    same(open_run(tmp_path), whole)
    repeated = checkpoint < (90 if end == "kill" else 107)
    assert bool(list((tmp_path / "orphaned").glob("*.npz"))) == repeated  # nothing is deleted


def test_an_error_and_ctrl_c_are_noted(tmp_path):
    for error, status in ((ZeroDivisionError("x"), "FAILED"), (KeyboardInterrupt(), "PREEMPTED")):
        with pytest.raises(type(error)), opened(tmp_path / status) as record:
            loop(record, 0, 50)
            raise error
        run = open_run(tmp_path / status, partial=True)
        assert run.status["status"] == status and run.steps("scalar")[-1] == 49


def test_a_missing_record_is_noticed(tmp_path):
    with opened(tmp_path) as record:
        loop(record)
    paths = list(record_steps(tmp_path / "records").values())
    for path in (paths[0], paths[3], paths[-1]):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(RunError, match=r"is missing|the records end at step"):
            open_run(tmp_path)
        path.write_bytes(content)
    open_run(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, capsys, whole):
    def full(path, arrays):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with opened(tmp_path, config={"lr": 0.1}) as record:
        loop(record, 0, 50)
        with monkeypatch.context() as patch:
            patch.setattr(folder, "write_npz", full)
            loop(record, 50, 150)
        loop(record, 150)
    same(open_run(tmp_path), whole)
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and "No space left" in said


def test_chunks_are_written_after_a_minute(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "SECONDS", -1)
    with opened(tmp_path, chunk=10**6) as record:
        record.probe(0, layers=layers(0))  # a probe waits for the scalars of its step
        record(0, loss=1.0)
        record(1, loss=1.0)
        record(2, loss=1.0)
        assert len(record_steps(tmp_path / "records")) == 1
    assert open_run(tmp_path).steps("probe").tolist() == [0]


@pytest.mark.parametrize("scalars", [True, False])
def test_the_probe_of_the_final_state_belongs_to_the_last_record(tmp_path, scalars):
    with opened(tmp_path, chunk=10) as record:
        for step in range(20):
            record.probe(step, layers=layers(step))
            if scalars:
                record(step, loss=1.0)
        record.flush()
        record.probe(20, layers=layers(20), accuracy=1.0)
        record.evaluate(20, accuracy=0.5)
    run = open_run(tmp_path)
    assert run.steps("probe")[-1] == 20 and run.array("eval", "accuracy").item() == 0.5
    accuracy = run.array("probe", "accuracy")[0]
    assert accuracy[-1] == 1 and np.isnan(accuracy[:-1]).all()


def bad_uses():
    h = layers(0)
    yield "goes back", lambda r: r(5, loss=1.0), "step 5 does not come after step 9"
    yield "a probe goes back", lambda r: r.probe(3, layers=h), "step 3 does not come after step 5"
    yield "no step", lambda r: r(10.5, loss=1.0), "step=10.5 is not an integer"
    yield "text", lambda r: r(10, loss="low"), "loss: str of <U3 is not an array of real numbers"
    yield "shape", lambda r: r(10, loss=np.ones(2)), r"scalar/loss has the shape \(2,\), and had"
    yield "a new layer", lambda r: r.probe(10, layers=h | {"x": h["fc1"]}), "layers: 'x' is new"
    yield "no layer", lambda r: r.probe(10, layers={"fc1": h["fc1"]}), "'head' is missing"
    yield (
        "a vector",
        lambda r: r.probe(10, layers=h | {"fc1": np.ones(3)}),
        r"\['fc1'\]: shape \(3,",
    )
    yield "measured", lambda r: r.probe(10, layers=h | {"fc1": 3.0}), "'head'.* other measurements"


@pytest.mark.parametrize(("use", "message"), [case[1:] for case in bad_uses()])
def test_bad_use_is_told_and_nothing_is_lost(tmp_path, use, message):
    with opened(tmp_path) as record:
        loop(record, 0, 10)
        with pytest.raises(ValueError, match=message):
            use(record)
        loop(record, 10, 20)
    assert len(open_run(tmp_path).steps("scalar")) == 20


def test_folders_that_cannot_take_the_run(tmp_path, whole):
    with pytest.raises(RunError, match="holds a finished run"):
        opened(whole.path, config={"lr": 0.1})
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("")
    with pytest.raises(RunError, match="holds 'thesis.tex'"):
        opened(tmp_path / "full")
    first = opened(tmp_path / "mine", config={"lr": 0.1, "opt": {"name": "adam"}})
    with pytest.raises(RunError, match="is in use by process .* in the first process only"):
        opened(tmp_path / "mine")
    loop(first, 0, 50)
    first._close("PREEMPTED", "")
    with pytest.raises(RunError, match="lr: 0.1 -> 0.2"):
        opened(tmp_path / "mine", config={"lr": 0.2, "opt": {"name": "adam"}})
    with pytest.raises(RunError, match=r"seeds: \[0\] -> \[0, 1\]"):
        opened(tmp_path / "mine", seeds=2, config={"lr": 0.1, "opt": {"name": "adam"}})
    with pytest.raises(RunError, match="recorder is closed"):
        first(60, loss=1.0)
    with pytest.raises(ValueError, match="different integers"):
        opened(tmp_path / "two", seeds=[1, 1])


def test_settings_that_may_change_when_a_run_is_reopened(tmp_path):
    with pytest.raises(RuntimeError), opened(tmp_path, config={"resume": False, "lr": 1}) as record:
        record(0, loss=1.0)
        raise RuntimeError
    with pytest.raises(RunError, match=r"resume: False -> True\).*changing="):
        opened(tmp_path, config={"resume": True, "lr": 1})
    with pytest.raises(RunError, match=r"lr: 1 -> 2\)"):
        opened(tmp_path, config={"resume": True, "lr": 2}, changing=["resume"])
    with opened(tmp_path, config={"resume": True, "lr": 1}, changing=["resume"]) as record:
        record(1, loss=1.0)
    run = open_run(tmp_path)
    assert run.steps("scalar").tolist() == [0, 1] and run.config["settings"]["resume"] is True


def test_measurements_that_never_change_are_told_once(tmp_path, capsys):
    h = np.random.default_rng(0).standard_normal((9, 4))
    with opened(tmp_path) as record:
        for step in range(12):
            record.probe(step, layers={"a": h})
            record(step, loss=1.0 / (1 + step))
    said = capsys.readouterr().err
    assert said.count("warning: 5 probes have exactly the same values") == 1


def test_another_number_of_examples_is_told_once(tmp_path, capsys):
    rng = np.random.default_rng(0)
    with opened(tmp_path) as record:
        for step, rows in enumerate((32, 32, 20, 32, 8)):
            record.probe(step, layers={name: rng.standard_normal((rows, 4)) for name in "ab"})
            record(step, loss=1.0)
    assert capsys.readouterr().err == (
        "warning: layers['a'] has 20 rows, and had 32 before: D depends on their number, so "
        "measure the same examples every time\n"
    )


def test_its_cost_is_printed(tmp_path, capsys):
    with opened(tmp_path, quiet=False) as record:
        loop(record, 0, 10)
    assert "10 steps and 2 probes" in capsys.readouterr().err
