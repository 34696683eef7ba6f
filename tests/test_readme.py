"""The README promises commands and code: they have to be the ones that are checked."""

import json
import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest

from analysis import open_run
from analysis.__main__ import parser
from analysis.commands import COMMANDS
from launch import cli
from tapjax.live.monitor import participation_ratio

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "guides").glob("*.md"))
TEXT = "\n".join(page.read_text() for page in PAGES).replace("\\\n", " ")
INDENTED = [line[4:] for line in README.splitlines() if line.startswith("    ")]


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = [line for line in INDENTED if "'.[test]'" in line]
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_modules_configs_and_links_exist():
    for module in re.findall(r"python -m ((?:launch|analysis)[.\w]*)", TEXT):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    for path in re.findall(r"(?<![\w/])(?:configs|docs|tapjax|tests)/[\w/]+\.\w+", TEXT):
        assert (ROOT / path).is_file(), path
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), (page, link)


def commands(name):
    """What follows `tapjax NAME`, or its longer form, in the pages."""
    return re.findall(rf"(?:tapjax |python -m launch\.|python -m analysis ){name}\b([^\n`]*)", TEXT)


@pytest.mark.parametrize("script", [name for name in cli.SCRIPTS if name != "fields"])
def test_flags_in_commands_exist(script):
    used = [args for args in commands(script) if script not in COMMANDS or " --" == args[:3]]
    flags = {flag for args in used for flag in re.findall(r"--(\w+)", args)}
    flags -= {"config"} if script == "run" else set()
    assert used
    known = (ROOT / "launch" / f"{script}.py").read_text()
    for flag in flags - {"help"}:
        assert re.search(rf'DEFINE_\w+\(\s*"{flag}"', known), flag


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_of_analyses_exist(command):
    used = [args for args in commands(command) if command not in cli.SCRIPTS or " --" != args[:3]]
    flags = {flag for args in used for flag in re.findall(r"(--[\w-]+)", args)}
    assert flags <= set(parser("tapjax", command)._option_string_actions)


@pytest.mark.slow
def test_the_python_example_runs(tmp_path):
    start = INDENTED.index("from configs.tap import calibration")
    length = next(
        i for i, line in enumerate(INDENTED[start:]) if re.match("tapjax |python -m", line)
    )
    code = "\n".join(INDENTED[start : start + length])
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        f"import sys; sys.path.append({str(ROOT)!r})\n{code}",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def run_example(page, pattern, folder, monkeypatch):
    """Run the first piece of Python on a page that matches, with the names that it needs."""
    (found,) = re.findall(pattern, (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)[:1]
    monkeypatch.chdir(folder)
    h1, h2, out = np.random.default_rng(0).normal(size=(3, 20, 5))
    layers = {"h1": h1, "h2": h2, "head": out}
    fake = types.ModuleType("tapjax.adapters.torch")
    fake.activations = lambda model, x: layers
    monkeypatch.setitem(sys.modules, "tapjax.adapters.torch", fake)
    names = {"batches": range(11), "train": lambda batch: (1.0, 0.5), "model": None}
    names |= {"x_probe": None, "accuracy": 0.5, "test_accuracy": 0.5, **layers, "out": out}
    exec(textwrap.dedent(found), names)
    return np.mean([participation_ratio(h) for h in (h1, h2)])


@pytest.mark.parametrize("page", ["README.md", "docs/guides/own-loop.md"])
def test_the_recorder_runs_in_the_loop_of_the_page(page, tmp_path, monkeypatch):
    pattern = r"^ *from tapjax.live import Recorder$.*?^ +record\(step, [^\n]*\n"
    d = run_example(page, pattern, tmp_path, monkeypatch)
    run = open_run(tmp_path / "runs/mine")
    assert run.steps("probe").tolist() == [0, 5, 10] and len(run.steps("scalar")) == 11
    np.testing.assert_allclose(run.dimension(), d, rtol=1e-6)


def test_the_monitor_runs_in_the_loop_of_the_page(tmp_path, monkeypatch):
    pattern = r'^ *from tapjax.live import Monitor$.*?monitor.save\("out/mine"\)$'
    d = run_example("docs/guides/own-loop.md", pattern, tmp_path, monkeypatch)
    state = json.loads((tmp_path / "out" / "mine" / "monitor_state.json").read_text())
    assert state["history"]["step"] == [0, 5, 10]
    np.testing.assert_allclose(state["history"]["d"], d)


def test_the_fault_matrix_names_tests_that_exist():
    table = (ROOT / "docs" / "results" / "reliability" / "faults.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", table))
    defined = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    missing = [name for name in named if f"def {name}(" not in defined]
    assert len(named) > 30 and not missing
