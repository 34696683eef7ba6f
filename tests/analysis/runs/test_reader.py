import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from analysis import open_run
from analysis.commands.summary import summarise
from analysis.runs.finding import find_runs
from analysis.runs.reader import RunError, open_runs
from tapjax.contract.layout import write_json, write_npz
from tests.analysis.command import analysis
from tests.analysis.made_runs import set_status, write_run

D = np.linspace(5, 9, 121)[None] + np.arange(2)[:, None]


def test_chunks_are_joined_and_the_head_stays_out_of_d(tmp_path):
    run = open_run(write_run(tmp_path / "r", D, chunk=100))
    np.testing.assert_array_equal(run.steps("scalar"), np.arange(600))
    np.testing.assert_array_equal(run.steps("probe"), np.arange(0, 601, 5))
    np.testing.assert_allclose(run.dimension(), D)
    np.testing.assert_allclose(run.gradient_integral()[0], np.arange(0, 601, 5))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (0, "000000100.npz: a gap, starts at step 100 instead of 0; no record precedes it"),
        (500, "000000400.npz: the records end at step 500 of 600; --partial"),
    ],
)
def test_a_missing_first_or_last_record_is_noticed(tmp_path, lost, message):
    path = write_run(tmp_path / "r", D, chunk=100)
    (path / "records" / f"{lost:09d}.npz").unlink()
    with pytest.raises(RunError, match=message):
        open_run(path)


@pytest.mark.fault
def test_a_record_of_other_seeds_is_refused(tmp_path):
    path = write_run(tmp_path / "r", D, chunk=100)
    other = write_run(tmp_path / "s", np.concatenate([D, D]), chunk=100)
    shutil.copy(other / "records" / "000000300.npz", path / "records")
    with pytest.raises(
        RunError, match=r"000000300.npz: 'scalar/loss' has 4 seeds, but the run has 2"
    ):
        open_run(path).array("scalar", "loss")


@pytest.mark.fault
def test_another_schema_is_refused(tmp_path):
    path = write_run(tmp_path / "r", D)
    write_json(path / "env.json", {"schema": 0})
    with pytest.raises(RunError, match="has schema 0; this reader knows 1"):
        open_run(path)


@pytest.mark.fault
def test_a_missing_record_is_a_gap(tmp_path):
    path = write_run(tmp_path / "r", D, chunk=100)
    (path / "records" / "000000200.npz").unlink()
    with pytest.raises(RunError, match="000000300.npz: a gap, starts at step 300 instead of 200"):
        open_run(path)
    assert open_run(path, partial=True).steps("scalar")[-1] == 199


@pytest.mark.fault
def test_a_repeated_record_is_an_overlap(tmp_path):
    path = write_run(tmp_path / "r", D, chunk=100)
    (path / "records" / "000000150.npz").write_bytes(
        (path / "records" / "000000100.npz").read_bytes()
    )
    with pytest.raises(RunError, match="an overlap"):
        open_run(path)


def test_a_record_named_wrongly_is_refused(tmp_path):
    path = write_run(tmp_path / "r", D)
    record = path / "records" / "000000000.npz"
    with np.load(record) as arrays:
        write_npz(record, {**arrays, "step": arrays["step"] + 5})
    with pytest.raises(RunError, match="000000000.npz is named wrongly: it starts at step 5"):
        open_run(path)


@pytest.mark.fault
def test_a_truncated_record_names_the_file(tmp_path):
    path = write_run(tmp_path / "r", D, chunk=100)
    record = path / "records" / "000000300.npz"
    record.write_bytes(record.read_bytes()[:200])
    with pytest.raises(RunError, match="000000300.npz is damaged"):
        open_run(path)


def test_unfinished_runs_need_partial(tmp_path):
    path = write_run(tmp_path / "r", D, status="RUNNING")
    with pytest.raises(RunError, match="RUNNING at step 600.*--partial"):
        open_run(path)
    assert open_run(path, partial=True).dimension().shape == D.shape


@pytest.mark.fault
def test_diverged_seeds_are_left_out(tmp_path):
    path = write_run(tmp_path / "r", D)
    set_status(path, diverged={"0": 7})
    run = open_run(path)
    assert run.seeds == [1] and run.diverged == {"0": 7}
    np.testing.assert_allclose(run.dimension(), D[1:])


@pytest.mark.fault
def test_a_run_without_finite_seeds_is_left_out_of_its_folder(tmp_path):
    for name in ("good", "lost"):
        write_run(tmp_path / name, D)
    set_status(tmp_path / "lost", status="DIVERGED", diverged={"0": 7, "1": 9})
    runs, left_out = open_runs([tmp_path])
    assert [run.name for run in runs] == ["good"]
    assert len(left_out) == 1 and "lost: every seed diverged" in left_out[0]
    with pytest.raises(RunError, match="every seed diverged"):
        open_runs([tmp_path / "lost"])
    rows = json.loads(analysis("summary", tmp_path, "--json").stdout)["runs"]
    assert [(row["run"], row["seeds"], row["diverged"]) for row in rows] == [
        ("good", 2, 0),
        ("lost", 0, 2),
    ]
    assert rows[0]["D_last"] == D[:, -1].mean() and "D_last" not in rows[1]
    found = json.loads(analysis("jumps", tmp_path, "--json").stdout)
    assert [row["run"] for row in found["runs"]] == ["good"] and found["refused"] == left_out


def test_a_run_that_measures_no_d_has_a_row_of_the_summary(tmp_path):
    path = write_run(tmp_path / "r", D)
    for record in (path / "records").iterdir():
        arrays = dict(np.load(record))
        del arrays["probe/participation_ratio"]
        write_npz(record, arrays)
    row = summarise(open_run(path))
    assert row["last_step"] == 600 and "D_last" not in row and row["loss_last"] > 0


def test_copied_runs_are_read_elsewhere_and_folders_are_searched(tmp_path):
    write_run(tmp_path / "all" / "one", D)
    write_run(tmp_path / "all" / "two", D)
    (tmp_path / "all").rename(tmp_path / "moved")
    found = find_runs([tmp_path / "moved"])
    assert [p.name for p in found] == ["one", "two"]
    assert open_run(found[0]).name == "one"
    with pytest.raises(RunError, match="holds none"):
        find_runs([tmp_path / "moved" / "one" / "records"])


def test_a_run_counts_once_and_two_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        write_run(tmp_path / folder / "run", D)
    first = tmp_path / "a" / "run"
    assert find_runs([first, tmp_path / "a", first]) == [first]
    with pytest.raises(RunError, match="two runs are named 'run', .*a/run and .*b/run: rename"):
        find_runs([tmp_path / "a", tmp_path / "b"])


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(RunError, match=f"{tmp_path} cannot be read: name the runs themselves"):
        find_runs([tmp_path])


def test_an_unknown_array_lists_what_there_is(tmp_path):
    run = open_run(write_run(tmp_path / "r", D))
    with pytest.raises(RunError, match="recorded are grad_norm, loss"):
        run.array("scalar", "accuracy")


def test_a_run_of_many_records_is_read_in_two_passes(tmp_path, monkeypatch):
    """Opening a file costs more than reading from it: a table of 200 runs opens thousands."""
    path = write_run(tmp_path / "run", D, np.random.default_rng(0).normal(size=(2, 600)), chunk=60)
    records, opened = len(list((path / "records").iterdir())), []
    read = zipfile.ZipFile.__init__

    def noted(self, file, *rest):
        opened.append(file)
        read(self, file, *rest)

    monkeypatch.setattr(zipfile.ZipFile, "__init__", noted)
    row = summarise(open_run(path))
    assert records >= 5 and len(opened) <= 2 * records + 2
    monkeypatch.undo()
    run = open_run(path)
    assert row["loss_last"] == run.array("scalar", "loss")[:, -50:].mean()
    for length in (1, 130, 10**6):
        whole = run.array("scalar", "loss")[:, -length:]
        np.testing.assert_array_equal(run.tail("scalar", "loss", length), whole)


def test_a_run_whose_name_is_no_text_is_refused(tmp_path):
    path = write_run(tmp_path / os.fsdecode(b"r\xff"), D)
    with pytest.raises(RunError, match=r"r\\udcff': the name is not UTF-8: rename the folder"):
        open_run(path)


def test_a_seed_without_any_finite_d_leaves_the_rest_of_the_row(tmp_path):
    d = D.copy()
    d[1] = np.nan
    run = open_run(write_run(tmp_path / "r", d))
    assert run.known_dimension() is None and summarise(run)["loss_last"] > 0
    d = D.copy()
    d[1, 3] = np.nan
    run = open_run(write_run(tmp_path / "s", d))
    assert summarise(run)["D_last"] == D[:, -1].mean()


def test_a_damaged_name_of_the_dimensionality_is_refused(tmp_path):
    path = write_run(tmp_path / "r", D)
    file = path / "model.json"
    file.write_text(file.read_text().replace("participation_ratio", "parthcipation_ratio"))
    with pytest.raises(RunError, match="'parthcipation_ratio' was not recorded, unlike"):
        open_run(path).known_dimension()


def test_a_damaged_name_of_an_array_is_refused(tmp_path):
    """A flip in the directory of a record must not turn D into a quantity that was not recorded."""
    run = write_run(tmp_path / "r", D)
    path, expected = run / "records" / "000000000.npz", summarise(open_run(run))
    good = path.read_bytes()
    refused = 0
    for at in range(good.index(b"PK\x01\x02"), len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        try:
            assert summarise(open_run(run)) == expected, at
        except RunError:
            refused += 1
    assert refused > 100


def test_a_record_that_lacks_d_is_refused(tmp_path):
    run = write_run(tmp_path / "r", D, chunk=100)
    path = run / "records" / "000000100.npz"
    arrays = dict(np.load(path))
    del arrays["probe/participation_ratio"]
    np.savez(path, **arrays)
    with pytest.raises(RunError, match="lacks 'probe/participation_ratio'"):
        summarise(open_run(run))


def test_runs_are_found_in_folders_of_folders(tmp_path):
    write_run(tmp_path / "quick" / "runs" / "b", D)
    write_run(tmp_path / "a", D)
    shutil.copytree(tmp_path / "a", tmp_path / "a" / "orphaned" / "old")  # is part of run a
    assert [run.name for run in find_runs([tmp_path])] == ["a", "b"]
    deep = tmp_path / "1" / "2" / "3" / "4" / "5"
    shutil.copytree(tmp_path / "a", deep)
    assert [run.name for run in find_runs([tmp_path])] == ["a", "b"]
    (tmp_path / "quick" / "loop").symlink_to(tmp_path)
    assert [run.name for run in find_runs([tmp_path])] == ["a", "b"]
    shutil.copytree(tmp_path / "a", tmp_path / "quick" / "a")
    with pytest.raises(RunError, match="two runs are named 'a'"):
        find_runs([tmp_path])
