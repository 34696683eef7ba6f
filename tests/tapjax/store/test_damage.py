"""Damaged, full and read-only disks: the run falls back or says so, and loses nothing."""

import contextlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from analysis import open_run
from tapjax.run import loop, replay
from tapjax.store import checkpoint, rundir
from tapjax.store.rundir import CheckpointError
from tests.tapjax.same import assert_same_run, unfinished_run

# Where Orbax itself refuses a damaged file, reads of other leaves may still be under way when it
# closes its event loop; their complaint is no concern of the run.
ignore_orphaned_reads = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
pytestmark = [pytest.mark.usefixtures("full_compile"), pytest.mark.fault, ignore_orphaned_reads]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An undisturbed run."""
    from tests.conftest import tiny

    path = tmp_path_factory.mktemp("damage") / "run"
    assert loop.run(tiny.__wrapped__(), path).status == "DONE"
    return path


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """A run that lacks only the word that it is done."""
    from tests.conftest import tiny

    path = tmp_path_factory.mktemp("damage") / "run"
    unfinished_run(tiny.__wrapped__(), path)
    return path


@pytest.fixture
def broken(broken_off, tmp_path):
    """A copy of it to damage."""
    return shutil.copytree(broken_off, tmp_path / "run")


def data_files(folder):
    return [p for p in sorted(folder.rglob("*")) if p.is_file()]


def largest(folder):
    """The file that starts with values; it ends in an index that is not read again."""
    return max(folder.rglob("ocdbt.process_*/d/*"), key=lambda path: path.stat().st_size)


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def flip_a_value(folder):
    flip(largest(folder), 2 * largest(folder).stat().st_size + 4)


def truncate(folder):
    """Cut among the values: what is lost behind them may not matter at all."""
    os.truncate(largest(folder), largest(folder).stat().st_size // 8)


@pytest.mark.long_except("truncate")
@pytest.mark.slow_except("truncate")
@pytest.mark.parametrize("damage", [flip_a_value, truncate])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage, tiny, finished, broken):
    damage(broken / "ckpt" / "40")
    assert loop.run(tiny, broken).status == "DONE"
    log = (broken / "log.txt").read_text()
    assert "checkpoint 40 is" in log and "falling back" in log and "start at step 30" in log
    assert_same_run(finished, broken)


@pytest.mark.slow_except("0")
@pytest.mark.parametrize("trial", range(10))
def test_a_bit_flipped_anywhere_in_a_checkpoint_changes_nothing(trial, tiny, finished, broken):
    rng = random.Random(trial)
    file = rng.choice([p for p in data_files(broken / "ckpt" / "40") if p.stat().st_size])
    flip(file, rng.randrange(8 * file.stat().st_size))
    assert loop.run(tiny, broken).status == "DONE"
    assert_same_run(finished, broken)


@pytest.mark.slow
def test_without_any_good_checkpoint_nothing_restarts_silently(tiny, broken):
    for path in (broken / "ckpt").glob("[0-9]*"):
        flip_a_value(path)
    with pytest.raises(CheckpointError, match="no checkpoint is usable.*40.*30"):
        loop.run(tiny, broken)
    assert json.loads((broken / "STATUS.json").read_text())["status"] == "FAILED"
    assert len(list((broken / "records").iterdir())) == 4


def rename_a_leaf(params):
    return {**{k: v for k, v in params.items() if k != "head"}, "tail": params["head"]}


def drop_a_leaf(params):
    return {name: leaf for name, leaf in params.items() if name != "head"}


@pytest.mark.slow
@pytest.mark.parametrize("edit", [rename_a_leaf, drop_a_leaf])
def test_a_leaf_missing_or_renamed_is_named(edit, tiny, broken):
    for step in sorted(int(p.name) for p in (broken / "ckpt").glob("[0-9]*")):
        save_again(broken, step, edit)
    with pytest.raises(CheckpointError, match="no checkpoint is usable.*head"):
        loop.run(tiny, broken)


def save_again(path, step, edit):
    """Replace a checkpoint by one with other leaves."""
    with replay.open_timeline(path) as timeline:
        states = checkpoint.restore(timeline.managers[0], step, timeline.assembly.like)
    shutil.rmtree(path / "ckpt" / str(step))
    with checkpoint.open_manager(path / "ckpt") as manager:
        checkpoint.save(manager, step, states._replace(params=edit(states.params)), force=True)


@contextlib.contextmanager
def small_disk(path):
    """A disk of two megabytes, and a function that fills it up."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(path)])
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")

    def fill():
        with open(path / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    try:
        yield fill
    finally:
        (path / "filler").unlink(missing_ok=True)


@contextlib.contextmanager
def small_files(path):
    """A limit on the size of any file, reached as soon as the function is called."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [small_disk, small_files])
@pytest.mark.parametrize("place", ["record", "checkpoint"])
def test_a_full_disk(limit, place, tiny, finished, tmp_path, monkeypatch, capfd):
    """The third chunk meets a full disk: real ENOSPC, real EFBIG."""
    run = tmp_path / "run"
    write, save = rundir.RunDir.write_record, checkpoint.save
    try:
        with limit(tmp_path) as fill, monkeypatch.context() as patch:
            patch.setattr(
                rundir.RunDir,
                "write_record",
                lambda self, first, a: (
                    fill() if (place, first) == ("record", 20) else None,
                    write(self, first, a),
                ),
            )
            patch.setattr(
                checkpoint,
                "save",
                lambda manager, step, states: (
                    fill() if (place, step) == ("checkpoint", 30) else None,
                    save(manager, step, states),
                ),
            )
            with pytest.raises((OSError, CheckpointError), match="No space left|File too large"):
                loop.run(tiny, run)
        status = json.loads((run / "STATUS.json").read_text())
        assert (status["status"], status["step"]) == ("FAILED", 20)
        assert "No space left" in status["reason"] or "File too large" in status["reason"]
        records = sorted(p.name for p in (run / "records").iterdir())
        expected = ["000000000.npz", "000000010.npz", "000000020.npz"]
        assert records == expected[: 2 if place == "record" else 3]
        assert "Traceback" not in capfd.readouterr().err
        assert loop.run(tiny, run).status == "DONE"
        assert_same_run(finished, run)
        assert not (run / "reserve").exists()
    finally:
        if os.path.ismount(tmp_path):
            subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_is_said_once(tmp_path, capfd):
    """Orbax writes leaves at once; of those that fail after the first one nothing is heard."""
    states = {str(i): np.random.default_rng(i).normal(size=50_000) for i in range(60)}
    try:
        with small_disk(tmp_path), checkpoint.open_manager(tmp_path / "ckpt") as manager:
            said = "checkpoint of step 1 could not be written in .*ckpt: No space left on device$"
            with pytest.raises(CheckpointError, match=said):
                checkpoint.save(manager, 1, states)
        assert capfd.readouterr().err == ""
    finally:
        if os.path.ismount(tmp_path):
            subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture
def read_only(finished, tmp_path):
    """A copy of a run where nothing can be written, not even by root."""
    place = tmp_path / "elsewhere"
    shutil.copytree(finished, place / "moved")
    commands = [["mount", "--bind", place, place], ["mount", "-o", "remount,bind,ro", place]]
    if os.geteuid() == 0:
        for command in commands:
            if subprocess.run(command).returncode:
                pytest.skip("cannot mount read-only here")
        yield place / "moved"
        subprocess.run(["umount", place], check=True)
    else:
        folders = [place / "moved", *(p for p in (place / "moved").rglob("*") if p.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        yield place / "moved"
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.slow
def test_a_run_moved_and_read_only_is_analysed_and_not_resumed(tiny, finished, read_only, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "analysis", "tap", read_only, f"--out={out}", "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    # Forty steps are too few for a fit, and that is said; the run itself was read.
    assert result.returncode in (0, 2) and "Traceback" not in result.stderr
    summary = subprocess.run(
        [sys.executable, "-m", "analysis", "summary", read_only, "--json"],
        capture_output=True,
        text=True,
    )
    assert summary.returncode == 0, summary.stderr
    np.testing.assert_array_equal(open_run(read_only).dimension(), open_run(finished).dimension())
    with pytest.raises(rundir.RunDirError, match="cannot write in .*moved: (Read-only|Permission)"):
        loop.run(tiny, read_only)
