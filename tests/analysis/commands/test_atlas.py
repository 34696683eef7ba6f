"""The atlas: every quantity is on the page, and pictures of snapshots are under a slider."""

import json

import numpy as np
import pytest

from analysis.commands.atlas import marks, pictures
from analysis.figures.atlas import mosaic
from analysis.runs.reader import open_run
from tapjax.contract.layout import record_name, write_npz
from tests.analysis.command import analysis
from tests.analysis.made_runs import collapse_and_recovery, write_run

RNG = np.random.default_rng(0)
T = np.arange(0, 601, 5.0)


@pytest.fixture
def run(tmp_path):
    d = np.stack([collapse_and_recovery(T)] * 3) + 0.01 * RNG.standard_normal((3, len(T))).cumsum(1)
    path = tmp_path / "runs" / "one"
    write_run(path, d, **{"probe/accuracy": RNG.random((3, len(T))).cumsum(1)})
    folder = path / "measures" / "examples"
    folder.mkdir(parents=True)
    write_npz(folder / "000000000.npz", {"step": np.arange(3), "loss": np.ones((3, 3, 200))})
    for step in (0, 300):
        shot = {"step": np.array(step), "seeds": np.arange(3), "probe_y": np.arange(4)}
        shot |= {"config": np.array("x"), "filters/a": RNG.random((3, 3, 3, 2, 8))}
        shot |= {"attention/b": RNG.random((3, 4, 2, 5, 5)), "maps/a": RNG.random((3, 4, 6, 6, 3))}
        (path / "snapshots").mkdir(exist_ok=True)
        write_npz(path / "snapshots" / record_name(step), shot)
    return path


def test_the_page_holds_every_quantity(run, tmp_path):
    result = analysis("atlas", run.parent, f"--out={tmp_path / 'out'}", "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    drawn = {"probe/D", "probe/accuracy", "probe/participation_ratio", "scalar/loss"}
    assert drawn <= set(printed["quantities"]["one"])
    page = (tmp_path / "out" / "atlas.html").read_text()
    for name in (*drawn, "filters: a", "attention: b", "maps: a", "SYNTHETIC"):
        assert name in page or name == "probe/D", name
    assert "Too many numbers per step: examples/loss" in page
    assert "<script src" not in page and "<link" not in page and "What moves together" in page


def test_two_runs_share_their_panels(run, tmp_path):
    write_run(run.parent / "two", np.stack([collapse_and_recovery(T)] * 2))
    result = analysis("atlas", run.parent, f"--out={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    assert "of 2 runs" in result.stdout and "Not compared: two" in result.stderr
    assert "two" in (tmp_path / "out" / "atlas.html").read_text()


def test_pictures_are_those_of_the_snapshots(run):
    found = pictures(open_run(run))
    assert set(found) == {"filters: a", "attention: b", "maps: a"}
    steps, made = found["filters: a"]
    assert steps == [0, 300] and made[0].shape == (11, 11)


def test_a_mosaic_keeps_the_order():
    pictures_NxHxW = np.arange(3)[:, None, None] * np.ones((3, 2, 2))
    made = mosaic(pictures_NxHxW)
    assert made.shape == (5, 5)
    assert (made[0, 0], made[0, 3], made[3, 0]) == (0, 1, 2) and np.isnan(made[2]).all()
    assert mosaic(np.ones((40, 2, 2))).shape == (11, 11)  # 16 at most


def test_variables_of_ones_own(run, tmp_path):
    args = (run, f"--out={tmp_path / 'out'}")
    result = analysis("atlas", *args, "--variables=D,accuracy")
    assert result.returncode == 0 and "of 1 pair " in " ".join(result.stdout.split()) + " "
    result = analysis("atlas", *args, "--variables=D,speed")
    assert result.returncode == 2 and "has no 'speed'" in result.stderr


def test_pinned_checkpoints_are_no_changes_of_the_config(run):
    (run / "pins" / "120").mkdir(parents=True)
    config = json.loads((run / "config.json").read_text())
    reset = {"step": 200, "layer": "a", "unit": -1}
    (run / "config.json").write_text(json.dumps(config | {"reset": reset}))
    assert [pair for pair in marks(open_run(run)) if pair[1] == "change"] == [(200, "change")]
