"""Every command and file of docs/first-hour.md, in a folder that holds nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "first-hour.md").read_text()
BLOCKS = r"^```python\n(.*?)^```|^    (tapjax [^\n]*)$"
CODE = "import sys; from launch.cli import main; sys.exit(main())"


@pytest.mark.slow
def test_the_first_hour(tmp_path):
    parts = re.findall(BLOCKS, PAGE, re.MULTILINE | re.DOTALL)
    assert [bool(code) for code, _ in parts] == [False] * 3 + [True, False, True]
    for code, line in parts:
        command = ["-c", CODE, *line.split()[1:]] if line else ["-c", code]
        if "def net" in code:
            (tmp_path / "mine.py").write_text(code)
            continue
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, (line or code, done.stderr)
        assert not line.startswith("tapjax run") or done.stdout == "DONE at step 300\n"
    assert re.fullmatch(r"300 \(3, 61, 4\) \[\S+ \S+ \S+\]\n", done.stdout)
