"""What commands write is written whole, and does nothing in a spreadsheet."""

import errno
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.commands.output import write_csv
from analysis.figures.style import save
from tests.analysis.command import analysis
from tests.analysis.made_runs import collapse_and_recovery, write_run

T = np.arange(0, 601, 5.0)
OLD = b"an older result"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_names_are_no_formulas(name, tmp_path):
    table = pd.DataFrame({name: [name], "number": [-1.5]}, index=pd.Index([name], name="run"))
    write_csv(tmp_path / "a.csv", table)
    with open(tmp_path / "a.csv", newline="") as file:
        found = pd.read_csv(file, dtype=str, lineterminator="\n")
    assert list(found) == ["run", f"'{name}", "number"]
    assert found.iloc[0].tolist() == [f"'{name}", f"'{name}", "-1.5"]


def test_the_name_of_a_run_is_no_formula(tmp_path):
    write_run(tmp_path / "=cmd", np.stack([collapse_and_recovery(T)] * 2))
    analysis("summary", tmp_path / "=cmd", "--out", tmp_path / "out")
    assert "\n'=cmd," in (tmp_path / "out" / "summary.csv").read_text()


def test_a_figure_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "a"
    old = save(plt.figure(), out).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(plt.figure(), out)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [old]
    assert not plt.get_fignums()


@pytest.mark.slow
@pytest.mark.parametrize("command,file", [("jumps", ""), ("report", "report.html")])
def test_on_a_full_disk_every_file_is_the_old_one_or_the_new_one(
    command, file, tmp_path, monkeypatch
):
    write_run(tmp_path / "run", np.stack([collapse_and_recovery(T)] * 2))
    out = tmp_path / "out"
    analysis(command, tmp_path / "run", "--out", out / file)
    left, new = 0, {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert new
    sync = os.fsync

    def full(file):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    for room in range(len(new)):
        for path in new:
            path.write_bytes(OLD)
        left = room
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            result = analysis(command, tmp_path / "run", "--out", out / file)
        there = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert result.returncode == 1 and "No space left on device" in result.stderr
        assert there.keys() == new.keys() and OLD in there.values()
        assert all(content in (OLD, new[path]) for path, content in there.items())
