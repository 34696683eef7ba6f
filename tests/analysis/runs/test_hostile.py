"""Runs and arrays that are broken, or made to do harm: one line and exit code 2, and nothing else.

TAPJAX_FUZZ=2000 python -m pytest tests/analysis/runs/test_hostile.py tries 2000 inputs per test.
"""

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.figures import style
from analysis.runs.snapshots import read_snapshots
from tapjax.contract.files import RunError, read_npz
from tapjax.contract.layout import write_npz
from tests.analysis.command import analysis
from tests.analysis.made_runs import collapse_and_recovery, write_run
from tests.fuzzing import fuzzing

fuzz, unhurried = fuzzing(10)
pytestmark = [
    # What NumPy and SciPy say of extreme numbers is no concern of these tests.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore:.*:scipy.optimize.OptimizeWarning"),
    unhurried,
]
T = np.arange(0, 601, 5.0)
JSONS = ("config.json", "env.json", "data.json", "model.json", "STATUS.json")
COMMANDS = ("summary", "jumps", "tap", "monitor", "emergence", "alpha", "predictor", "edm")
ARRAYS = ("step", "probe_step", "scalar/loss", "scalar/grad_norm", "probe/participation_ratio")

texts = st.text(max_size=12) | st.sampled_from(
    ["../x", "/tmp/x", "$\\bar{x$", "\ud800", "a\nb", ""]
)
numbers = st.integers(-(2**70), 2**70) | st.floats()
junk = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Figures are drawn and not written, which would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style.plt.Figure, "savefig", lambda *args, **options: None)
        yield


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run in six records, two seeds."""
    d_SxT = np.stack([collapse_and_recovery(T), 1.1 * collapse_and_recovery(T)])
    return write_run(tmp_path_factory.mktemp("good") / "run", d_SxT, chunk=100)


@contextlib.contextmanager
def copied(run):
    """A copy of a run to break, in a folder where everything else is watched."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(run, Path(folder) / "run")
        yield copy
        assert {p.name for p in Path(folder).iterdir()} <= {"run", "out"}


def try_commands(run, commands=COMMANDS):
    """Every command ends in 0 or in 2 with one line; anything else is an exception here."""
    for command in commands:
        result = analysis(command, run, f"--out={run.parent / 'out'}", "--json")
        told = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert result.returncode in (0, 2), result.stderr
        assert len(told) == (result.returncode == 2), result.stderr


@fuzz
@given(st.sampled_from(JSONS), st.binary(max_size=60) | junk.map(lambda v: json.dumps(v).encode()))
def test_json_of_any_content(good, name, content):
    with copied(good) as run:
        (run / name).write_bytes(content)
        try_commands(run)


@pytest.mark.long
@fuzz
@given(st.data())
def test_json_with_any_field(good, data):
    with copied(good) as run:
        path = run / data.draw(st.sampled_from(JSONS))
        fields = json.loads(path.read_text())
        name = data.draw(st.sampled_from([*fields, "diverged", "scalar_bin", "structure"]))
        if data.draw(st.booleans()):
            fields.pop(name, None)
        else:
            fields[name] = data.draw(junk)
        path.write_text(json.dumps(fields))
        try_commands(run)


@fuzz
@given(st.data())
def test_damaged_bytes_are_noticed_or_do_not_matter(good, data):
    """A flip, a cut or a stretch of other bytes: the same numbers as before, or a refusal."""
    with copied(good) as run:
        path = run / "records" / f"{100 * data.draw(st.integers(0, 5)):09d}.npz"
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "overwrite"]))
        if how == "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del content[at:]
        else:
            other = data.draw(st.binary(min_size=1, max_size=40))
            content[at : at + len(other)] = other
        path.write_bytes(content)
        before, after = (analysis("summary", where, "--json") for where in (good, run))
        assert after.returncode == 2 or json.loads(after.stdout) == json.loads(before.stdout)


def any_array():
    dtypes = st.sampled_from(["f4", "f8", "i4", "u1", "?", "c8", "U3", "S2", "f2", "M8[s]"])
    return dtypes.flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3))
    )


@pytest.mark.long
@fuzz
@given(st.data())
def test_records_with_any_array(good, data):
    with copied(good) as run:
        path = run / "records" / f"{100 * data.draw(st.integers(0, 5)):09d}.npz"
        arrays = read_npz(path)
        name = data.draw(st.sampled_from(ARRAYS))
        how = data.draw(st.sampled_from(["other", "none", "cast", "fill", "swap", "short"]))
        if how == "none":
            del arrays[name]
        elif how == "other":
            arrays[name] = data.draw(any_array())
        elif how == "cast":
            arrays[name] = arrays[name].astype(data.draw(st.sampled_from(["U8", "c16", "?", "f2"])))
        elif how == "fill":
            value = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, 1e-300]))
            arrays[name] = np.full(arrays[name].shape, value)
        elif how == "swap":
            arrays[name] = np.swapaxes(arrays[name], 0, arrays[name].ndim - 1)[::-1]
        else:
            arrays[name] = arrays[name][..., :-1]
        write_npz(path, arrays)
        try_commands(run)


@fuzz
@given(st.data())
def test_imported_arrays(data):
    """NaN, constants, few points, steps that go back, names twice: refused, or analysed."""
    t, layers = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 3))
    arrays = {
        "step": 5 * np.arange(t),
        "loss": np.exp(-np.arange(t) / 30),
        "grad_norm": np.ones(t),
        "layer_names": np.array([f"layer {i}" for i in range(layers)], dtype="U12"),
        "participation_ratio": np.full((t, layers), 3.0) + np.arange(t)[:, None] / 10,
    }
    for _ in range(data.draw(st.integers(0, 2))):
        name = data.draw(st.sampled_from([*arrays, "arch_name", "arch_depth", "stable_rank"]))
        value = data.draw(
            any_array()
            | st.sampled_from([np.nan, np.inf, -1.0, 0.5, 2**63]).map(
                lambda v, n=name: np.full(np.shape(arrays.get(n, ())), v)
            )
            | st.lists(
                texts.filter(lambda s: "\ud800" not in s), min_size=layers, max_size=layers
            ).map(lambda names: np.array(names, dtype="U12"))
        )
        arrays[name] = value
    with tempfile.TemporaryDirectory() as folder:
        source, run = Path(folder) / "mine.npz", Path(folder) / "run"
        np.savez(source, **arrays)
        made = analysis("import", source, f"--out={run}")
        assert made.returncode in (0, 2), made.stderr
        if made.returncode:
            assert made.stderr.startswith("error: ") and not run.exists()
        else:
            try_commands(run)
            assert {p.name for p in Path(folder).iterdir()} <= {"mine.npz", "run", "out"}


@fuzz
@given(st.data())
def test_snapshots_with_any_array(data):
    arrays = {
        "step": np.array(40),
        "seeds": np.arange(2),
        "probe_y": np.arange(6) % 3,
        "config": np.array("abc"),
        "weights/layer/kernel": np.ones((2, 4, 3)),
        "activations/layer": np.ones((2, 6, 4)),
    }
    name = data.draw(st.sampled_from(list(arrays)))
    if data.draw(st.booleans()):
        arrays[name] = data.draw(any_array())
    else:
        del arrays[name]
    with tempfile.TemporaryDirectory() as folder:
        write_npz(Path(folder) / "000000040.npz", arrays)
        try:
            found = read_snapshots(Path(folder), 40)
        except RunError as error:
            assert "000000040.npz" in str(error)
            return
        assert set(found) == set(np.unique(arrays["seeds"]).tolist())


class Evil:
    """Unpickled, it would leave a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (self.trace, "w"))


def test_pickles_are_not_opened(good, tmp_path):
    with copied(good) as run:
        path = run / "records" / "000000200.npz"
        evil = np.array([Evil(str(tmp_path / "trace"))])
        np.savez(path, allow_pickle=True, **read_npz(path) | {"scalar/grad_norm": evil})
        result = analysis("tap", run, "--out", tmp_path / "out")
        assert result.returncode == 2 and "holds Python objects" in result.stderr
        assert not (tmp_path / "trace").exists()


def bomb(path, size, promised):
    """A member of so many zeros, or with a header that promises more than there is."""
    header = {"descr": "<f8", "fortran_order": False, "shape": (promised,)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("step.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(size // 2**20):
                file.write(bytes(2**20))


def test_bombs_are_not_unpacked(tmp_path):
    bomb(tmp_path / "deep.npz", 200 * 2**20, 200 * 2**17)
    assert (tmp_path / "deep.npz").stat().st_size < 2**20
    with pytest.raises(RunError, match="'step.npy' would grow .*-fold to 2097.* B"):
        read_npz(tmp_path / "deep.npz")
    bomb(tmp_path / "wide.npz", 2**20, 10**14)
    with pytest.raises(RunError, match="wide.npz is damaged"):
        read_npz(tmp_path / "wide.npz")


@pytest.mark.slow_except("../../evil]")
@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../evil"])
def test_members_are_never_written_anywhere(good, name):
    with copied(good) as run:
        path = run / "records" / "000000200.npz"
        np.savez(path, **{**read_npz(path), name: np.ones(3)})
        try_commands(run)


@pytest.mark.parametrize("name", ["config.json", "STATUS.json", "records/000000200.npz"])
def test_pipes_do_not_hang(good, name):
    with copied(good) as run:
        (run / name).unlink()
        os.mkfifo(run / name)
        result = analysis("summary", run, "--json")
        assert result.returncode == 2
        (run / name).unlink()  # shutil would wait for it, too


def test_links_out_of_the_run_are_only_read(good, tmp_path):
    with copied(good) as run:
        outside = tmp_path / "outside.npz"
        shutil.move(run / "records" / "000000200.npz", outside)
        (run / "records" / "000000200.npz").symlink_to(outside)
        before = outside.read_bytes()
        same = [json.loads(analysis("summary", where, "--json").stdout) for where in (good, run)]
        assert same[0] == same[1] and outside.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["1e3", "00x", "000000200 copy", "000000200(1)", "0-1", "٠٠٠٠٠٠٠٠٠"]
)
def test_files_of_other_names_are_no_records(good, name):
    with copied(good) as run:
        shutil.copy(run / "records" / "000000200.npz", run / "records" / f"{name}.npz")
        same = [json.loads(analysis("summary", where, "--json").stdout) for where in (good, run)]
        assert same[0] == same[1]
