"""The README promises commands and code: they have to be the ones that are checked."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
INDENTED = [line[4:] for line in README.splitlines() if line.startswith("    ")]


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = [line for line in INDENTED if "'.[test]'" in line]
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_modules_and_configs_in_commands_exist():
    for module in re.findall(r"python -m ((?:launch|analysis)[.\w]*)", README):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    for path in re.findall(r"(?:configs|docs|tapjax|tests)/[\w/]+\.\w+", README):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("script", ["run", "tap", "monitor", "replay", "bench", "sweep", "status"])
def test_flags_in_commands_exist(script):
    text = README.replace("\\\n", " ")
    used = re.findall(rf"python -m launch\.{script}\b([^\n`]*)", text)
    flags = {flag for args in used for flag in re.findall(r"--(\w+)", args)}
    flags -= {"config"} if script == "run" else set()
    assert used
    known = (ROOT / "launch" / f"{script}.py").read_text()
    for flag in flags:
        assert re.search(rf'DEFINE_\w+\(\s*"{flag}"', known), flag


def test_the_python_example_runs(tmp_path):
    start = INDENTED.index("from configs.tap import calibration")
    length = next(i for i, line in enumerate(INDENTED[start:]) if "python -m" in line)
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


def test_the_fault_matrix_names_tests_that_exist():
    table = (ROOT / "docs" / "results" / "reliability" / "faults.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", table))
    defined = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    missing = [name for name in named if f"def {name}(" not in defined]
    assert len(named) > 30 and not missing
