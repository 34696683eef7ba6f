"""The first commands of the README end with their question answered."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
TAPJAX = [sys.executable, "-c", "import sys; from launch.cli import main; sys.exit(main())"]
pytestmark = pytest.mark.long


def first_commands(family):
    """Return the commands of a family's row in the table of the README."""
    (row,) = [line for line in README.splitlines() if f"[{family}](docs/guides/" in line]
    return [shlex.split(command)[1:] for command in re.findall(r"`(tapjax [^`]+)`", row)]


def conclusion(family, folder):
    """Run the commands of a family in an empty folder, and return the last one's conclusion."""
    *train, analyse = first_commands(family)
    for command in train:
        result = subprocess.run([*TAPJAX, *command], cwd=folder, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    result = subprocess.run(
        [*TAPJAX, *analyse, "--json"], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["conclusion"]


def numbers(text):
    return [float(number) for number in re.findall(r"(?<![\w=])[-+]?\d+\.\d+", text)]


def test_mechanistic_names_the_planted_change(tmp_path):
    said = conclusion("mechanistic", tmp_path)
    assert "changed most" in said and "conv_1" in said, said


def test_edm_finds_that_the_learning_rate_drives_the_loss(tmp_path):
    assert re.search(r"lr (->|drives|acts on)", conclusion("motifs", tmp_path))


def test_credit_says_which_method_learns_more_and_why(tmp_path):
    said = conclusion("credit", tmp_path)
    best, gain, q, _, _, backprop, *gamma = numbers(said)
    assert "vector chain response reaches the highest test accuracy" in said
    assert best > 0.85 and gain > 0.1 and q < 0.05 and backprop > 0.9, said
    assert gamma[-1] > 0.6 and max(gamma[:-1]) < 0.2, said


def test_plasticity_shows_its_loss_and_what_prevents_it(tmp_path):
    said = conclusion("plasticity", tmp_path)
    kept, gain, q, early, late = numbers(said)
    assert "renewal=cbp" in said and "plain training went from" in said
    assert kept > 0.3 and gain > 0.15 and q < 0.05 and early > 0.35 and late < 0.2, said
