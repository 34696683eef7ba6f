"""The wheel, installed in a fresh environment and used from folders of a user's own."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
SOURCE = ("tapjax", "analysis", "launch", "configs", "setup.cfg", "pyproject.toml")
SOURCE += ("README.md", "LICENSE")
RUN = ["run", "--config=configs/tap/calibration.py:quick,arch=mlp:widths=8,seeds=1"]
RUN += ["--config.steps=20", "--config.chunk_steps=10"]
OWN_MODEL = """
import flax.linen as nn


class Net(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        h = nn.Dense(6)(x.reshape(len(x), -1))
        logits = nn.Dense(self.classes)(nn.relu(h))
        return logits, {"first": h, "head": logits}


def net(shape, classes):
    return Net(classes)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel; its dependencies are those of this environment."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in SOURCE:  # a build/ folder of an older checkout would put its modules in the wheel
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, source], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    to = [*pip, "--python", venv / "bin" / "python", "install", "--no-deps", "--ignore-installed"]
    subprocess.run([*to, wheel], check=True, cwd=folder)
    return venv / "bin"


def environment():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def use(installed, cwd, *arguments):
    found = subprocess.run(
        [installed / "tapjax", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=240, env=environment(),
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_from_an_empty_folder(installed, tmp_path):
    code = "import tapjax, launch, configs, analysis as a; print(tapjax, launch, configs, a)"
    where = [installed / "python", "-c", code]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert found.stdout.count(str(installed.parent)) == 4, found.stderr
    assert use(installed, tmp_path, *RUN, "--workdir=a").strip() == "DONE at step 20"
    assert "a     DONE" in use(installed, tmp_path, "summary", "a")


def test_from_a_folder_with_names_like_ours(installed, tmp_path):
    for name in ("analysis.py", "launch.py", "tapjax.py", "configs/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('the wrong module')\n")
    (tmp_path / "mine.py").write_text(OWN_MODEL)
    own = ["--workdir=a", "--config.model.name=mine:net"]
    assert use(installed, tmp_path, *RUN, *own).strip() == "DONE at step 20"
    assert "a     DONE" in use(installed, tmp_path, "summary", "a")
