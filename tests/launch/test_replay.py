"""From a run to what changed in it, as a user goes: replay, then analysis mechanistic."""

import json
import subprocess
import sys

import numpy as np
import pytest

from launch.flags import parse_steps
from tapjax.config.schema import ConfigError
from tapjax.contract.layout import SNAPSHOT
from tapjax.run import loop
from tests.conftest import RESET

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("full_compile")]


def python(*args):
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished run of 40 steps of a small transformer."""
    from tests.conftest import tiny

    cfg = tiny.__wrapped__()
    cfg.model.name, cfg.over_seeds = "transformer:depth=1,width=8,heads=2", "loop"
    path = tmp_path_factory.mktemp("replay") / "run"
    loop.run(cfg, path)
    return path


@pytest.mark.long
def test_snapshots_of_a_transformer(small):
    result = python(
        "launch.replay", f"--run={small}", "--steps=0,7,12:40:14", "--examples=4",
        "--record=weights,optimizer,gradients,activations,maps,attention",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    first, last = result.stdout.strip().splitlines()
    assert first.startswith("23 steps to run again, 4 files, ") and first.endswith("MB to write")
    assert last.endswith("equal to the record bit for bit over 23 steps")
    size = float(first.split(", ")[2].split()[0])
    files = sorted((small / "snapshots").glob("*.npz"))
    assert [int(f.stem) for f in files] == [0, 7, 12, 26]
    assert sum(f.stat().st_size for f in files) / 1e6 == pytest.approx(size, abs=0.15)
    with np.load(files[1]) as a:
        assert a["step"] == 7 and a["seeds"].tolist() == [0, 1] and a["probe_y"].shape == (64,)
        p = a["attention/block_0_attention"]
        assert p.shape == (2, 4, 2, 16, 16)
        np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
        assert a["activations/block_0_linear_0"].shape == (2, 64, 32)
        assert a["class_mean/head"].shape == (2, 10, 10)
        assert a["maps/embed"].shape == (2, 4, 16, 8) and "maps/head" not in a.files
        assert a["positive/block_0_linear_0"].shape == (2, 32)
        kernel = "block_0/attention/query/kernel"
        assert a[f"weights/{kernel}"].shape == a[f"gradients/{kernel}"].shape == (2, 8, 8)
        assert any(name.startswith("optimizer/") and name.endswith(kernel) for name in a.files)
        of_class = a["activations/head"][0][a["probe_y"] == 3].mean(0)
        np.testing.assert_allclose(a["class_mean/head"][0, 3], of_class, rtol=1e-4)


def test_a_later_record_is_put_beside_the_earlier_one(small, tmp_path):
    for record in ("weights", "attention"):
        args = (f"--run={small}", "--steps=10", f"--record={record}", f"--out={tmp_path}")
        assert python("launch.replay", *args).returncode == 0
    with np.load(tmp_path / "000000010.npz") as arrays:
        groups = {name.split("/")[0] for name in arrays.files}
    assert groups == {"weights", "attention", *SNAPSHOT}


def test_a_dry_run_writes_nothing(small, tmp_path):
    args = ("launch.replay", f"--run={small}", "--steps=3", "--dry_run", f"--out={tmp_path / 'o'}")
    result = python(*args)
    assert result.returncode == 0 and "3 steps to run again, 1 files" in result.stdout
    assert not (tmp_path / "o").exists()


def test_a_run_without_moments_shows_nothing_beyond_the_null(small, tmp_path):
    assert python("launch.replay", f"--run={small}", "--moments").returncode == 0
    result = python("analysis", "mechanistic", small, f"--out={tmp_path}")
    assert result.returncode == 0, result.stderr
    report = (tmp_path / "run" / "comparison_report.md").read_text()
    assert "No critical step was found. Nothing beyond the null." in report
    assert (tmp_path / "run" / "entropy_evolution.png").stat().st_size > 10_000


def test_the_planted_change_is_ranked_first_and_ordinary_training_is_not(planted_run, tmp_path):
    shots = tmp_path / "snapshots"
    result = python(
        "launch.replay", f"--run={planted_run}", "--moments", "--most=1", f"--out={shots}"
    )
    assert result.returncode == 0, result.stderr
    args = ("analysis", "mechanistic", planted_run, f"--snapshots={shots}")
    result = python(*args, f"--out={tmp_path / 'a'}", "--json")
    assert result.returncode == 0, result.stderr
    (moment,) = json.loads(result.stdout)["runs"]["run"]["moments"]
    found = moment["measurements"]
    assert abs(found["steps"][1] - RESET) <= 4
    first = found["changes"][0]
    assert first["layer"] == "conv_1" and first["p"] <= 0.05 and first["z"] > 5
    assert (found["units"][0]["layer"], found["units"][0]["unit"]) == ("conv_1", 2)
    made = {p.name for p in (tmp_path / "a" / "run").iterdir()}
    assert made >= {"comparison_report.md", "analysis_results.json", "moment_1_filter_viz.png"}
    assert made >= {"moment_1_activation_heatmap.png", "change_map.png", "convergence.png"}

    ordinary = f"--steps={RESET // 2}"
    result = python(
        "launch.replay", f"--run={planted_run}", "--moments", ordinary, f"--out={shots}"
    )
    assert result.returncode == 0, result.stderr
    result = python(*args, f"--out={tmp_path / 'b'}", "--jump=1")
    assert result.returncode == 0 and "Nothing beyond the null" in result.stdout
    shown = result.stdout.strip().splitlines()
    assert shown[-1].startswith("written to ")
    conclusion = " ".join(" ".join(shown[3:-1]).split())  # after the head and the one row
    assert "1 critical step compared, 0 with changes beyond the null." in conclusion
    report = (tmp_path / "b" / "run" / "comparison_report.md").read_text()
    assert f"asked at step {RESET // 2}" in report and "Nothing beyond the null." in report
    result = python(*args, f"--out={tmp_path / 'b'}", "--jump=3")
    assert result.returncode == 2 and "has 2 critical steps" in result.stderr


def test_pinning_later(small):
    result = python("launch.replay", f"--run={small}", "--pin", "--steps=17")
    assert result.returncode == 0, result.stderr
    assert (small / "pins" / "17").is_dir() and "pinned 17" in result.stdout
    none = python("launch.replay", f"--run={small}", "--pin")
    assert none.returncode == 2 and "too few for jumps" in none.stderr


def test_steps():
    assert parse_steps("0,500,1200:1230:10") == [0, 500, 1200, 1210, 1220]
    assert parse_steps("3:6") == [3, 4, 5] and parse_steps("") == []
    for bad in ("a", "1:2:3:4", "-5", "9:3", "1:9:0"):
        with pytest.raises(ConfigError, match="--steps="):
            parse_steps(bad)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "nothing to do"),
        (("--steps=41",), "step 41 has not been reached: the run is DONE at step 40"),
        (("--steps=3", "--record=weight"), "did you mean 'weights'"),
        (("--steps=3", "--record=filters"), "has none of it"),
        (("--moments", "--pin"), "give one"),
    ],
)
def test_mistakes_are_explained(small, args, message):
    result = python("launch.replay", f"--run={small}", *args)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_missing_runs_and_snapshots_are_explained(small, tmp_path):
    result = python("launch.replay", f"--run={tmp_path}", "--steps=1")
    assert result.returncode == 2 and "is not a run directory" in result.stderr
    shots = f"--snapshots={tmp_path}"
    result = python("analysis", "mechanistic", small, shots, f"--out={tmp_path / 'out'}")
    assert result.returncode == 0 and "tapjax replay --run=" in result.stderr
