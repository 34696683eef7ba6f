"""The commands over movements: motif maps and spectra, as a user calls them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from analysis import open_run
from analysis.motifs import power_spectra
from analysis.motifs.controls import controls
from tapjax.contract.layout import write_json
from tests.analysis.command import analysis
from tests.analysis.made_runs import EVERY, write_run
from tests.analysis.motifs.planted import passing

POINTS = 241


def sketched(path, seeds=2):
    """A run whose sketched weights pass through planted states."""
    steps = (POINTS - 1) * EVERY
    x, _ = passing(seeds, steps, channels=4)
    sketch = {"scalar/sketch": x.cumsum(1).reshape(seeds, steps, 2, 2)}
    path = write_run(path, np.random.default_rng(0).random((seeds, POINTS)) + 1, **sketch)
    model = open_run(path).model | {"weight_names": ["first", "second"]}
    write_json(path / "model.json", model)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return sketched(tmp_path_factory.mktemp("sketched") / "run")


@pytest.mark.slow
def test_motifs_of_a_run_with_planted_states(run, tmp_path):
    pytest.importorskip("openTSNE", reason="openTSNE is not installed (extra `motifs`)")
    pytest.importorskip("skimage", reason="scikit-image is not installed (extra `motifs`)")
    out = tmp_path / "out"
    sizes = ("--slowest=30", "--train=200", "--every=8", "--sigma=0.05")
    command = [sys.executable, "-m", "analysis", "motifs", str(run), *sizes, "--json"]
    result = subprocess.run([*command, f"--out={out}"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed == json.loads((out / "motifs.json").read_text())
    assert printed["channels"] == "weights" and printed["series"] == ["run, seed 0", "run, seed 1"]
    rows = {row["map"]: row for row in printed["rows"]}
    assert set(rows) == {"recorded", *controls("increments", 120)}
    # What stands beyond controls takes many maps: test_verdict.py.
    assert all(0 <= row["separation"] < 1 and row["dwell"] > 0 for row in rows.values())
    assert printed["verdict"].startswith("states untested") and printed["judged"] == []
    for name in ("learning", "scalogram", "map", "controls", "ethogram", "transitions"):
        assert (out / f"{name}.png").stat().st_size > 1000
    with np.load(out / "map.npz") as arrays:
        assert arrays["place/1"].shape == (len(arrays["step/1"]), 2)
        assert len(arrays["state/1"]) == len(arrays["inside/1"]) == len(arrays["step/1"])


@pytest.mark.slow
def test_spectra_of_a_run_beside_a_random_walk(run, tmp_path):
    command = [sys.executable, "-m", "analysis", "spectra", str(run), "--segment=120", "--json"]
    result = subprocess.run([*command, f"--out={tmp_path}"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert [row["group"] for row in rows] == ["first", "second"]
    assert all(abs(row["slope_walk"] + 2) < 0.4 for row in rows)
    for name in ("power", "components", "shares"):
        assert (tmp_path / "run" / f"{name}.png").stat().st_size > 1000
    named = analysis("spectra", run, "--channels=D,D/a", "--out", tmp_path / "named")
    assert named.returncode == 0 and "D/a" in named.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["motifs", "--slowest=1000"], "--slowest=1000 is not between"),
        (["motifs", "--channels=D", "--slowest=60", "--every=2"], "at least 200 are needed"),
        (["motifs", "--modes=0"], "--modes"),
        (["motifs", "--channels=loss,D"], "loss never changes"),
        (["motifs", "--train=40"], "train=40 points are too few"),
        (["motifs", "--window=3"], "--window=3 is shorter"),
        (["motifs", "--repeats=-1"], "--repeats"),
        (["motifs", "--repeats=5"], "fewer than 19 maps"),
        (["spectra", "--channels=loss,D"], "loss never changes"),
        (["motifs", "--channels=units"], "has no 'unit_mean'"),
        (["motifs", "--channels=weights", "--start=5000"], "no points between"),
        (["spectra", "--segment=5000"], "segments of 5000 points"),
        (["spectra", "--modes=0"], "--modes=0"),
        (["spectra", "--of=nothing"], "invalid choice"),
    ],
)
def test_bad_usage_is_one_line(run, tmp_path, arguments, message):
    command, *rest = arguments
    result = analysis(command, run, *rest, "--out", tmp_path / "out")
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_slopes_of_white_noise_walks_and_integrated_walks():
    x = np.random.default_rng(0).standard_normal((8000, 1))
    frequency = power_spectra.frequencies(400)
    for times, slope in ((0, 0.0), (1, -2.0)):
        moved = power_spectra.movement(x if not times else x.cumsum(0), 1, 400)
        assert power_spectra.slope(frequency, moved.power_F) == pytest.approx(slope, abs=0.1)
    assert moved.share_K == pytest.approx([1.0])


def test_a_random_walk_has_cosines_for_components_and_white_noise_has_none():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3000, 60))
    assert power_spectra.movement(x.cumsum(0), 5, 300).cosine > 0.85
    assert power_spectra.movement(x, 5, 300).cosine < 0.05
    walk = power_spectra.random_walk(x, rng)
    np.testing.assert_allclose(np.abs(np.diff(walk, axis=0)), np.abs(np.diff(x, axis=0)))
