"""The scripts of docs/examples, with fewer steps, leave runs that the analyses can read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import open_run
from tests.analysis.command import analysis

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "docs/examples").glob("*.py"))
LIBRARIES = {"torch": "torch", "equinox": "equinox", "keras": "keras"}
LINES = 60  # largest length of a script, without empty lines
MARKED = 10  # largest number of its lines that are ours


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short(path):
    lines = [line for line in path.read_text().splitlines() if line]
    assert len(lines) <= LINES
    assert 4 <= sum("# tapjax" in line for line in lines) <= MARKED


def train(path, folder, steps):
    pytest.importorskip(LIBRARIES.get(path.stem.rpartition("_")[2], "numpy"))
    args = [str(ROOT / "README.md")] * path.stem.startswith("gpt") + [str(steps)]
    done = subprocess.run(
        [sys.executable, path, folder, *args], capture_output=True, text=True,
        env=os.environ | {"KERAS_BACKEND": "jax"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{steps} steps and {steps // 5} probes" in done.stderr and "accuracy" in done.stdout
    return open_run(folder)


@pytest.mark.slow
@pytest.mark.long_except("linen", "vmap")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_leaves_a_run(path, tmp_path):
    run = train(path, tmp_path / "run", 60)
    assert run.model["head"] == "head" and len(run.hidden) == 2
    assert run.dimension().shape == (len(run.seeds), 12)
    result = analysis("curves", run.path, f"--out={tmp_path / 'curves.png'}")
    assert result.returncode == 0, result.stderr


COMMANDS = ("summary", "tap", "jumps", "monitor", "emergence", "spectra")


@pytest.mark.long
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_analysis_takes_the_run_of_a_script(path, tmp_path):
    run = train(path, tmp_path / "run", 800)
    for command in (*COMMANDS, "edm --variables=loss,D,accuracy"):
        name, *flags = command.split()
        result = analysis(name, run.path, *flags, f"--out={tmp_path / name}")
        assert result.returncode == 0, (command, result.stderr)
    result = analysis("report", run.path, f"--out={tmp_path / 'report.html'}")
    assert result.returncode == 0, result.stderr
