"""Write the page docs/commands.md: the help of every script and every analysis.

python -m launch.reference > docs/commands.md
"""

import os
import subprocess
import sys

from analysis.__main__ import parser
from analysis.commands import COMMANDS
from launch.cli import SCRIPTS

HEAD = """# Commands

Made by `python -m launch.reference` from the help texts. `tapjax tap` and `tapjax monitor` are
scripts if flags follow, and analyses of recorded runs if a run directory follows.
"""


def markdown() -> str:
    """Return the content of the page."""
    os.environ["COLUMNS"] = "100"  # width of argparse's help texts
    parts = [HEAD, "## Experiments\n"]
    for name, text in SCRIPTS.items():
        parts.append(_section(f"tapjax {name}", text, _help_of_script(name)))
    parts.append("## Analyses of recorded runs\n")
    for name, (_, text) in COMMANDS.items():
        title = f"tapjax {name} RUNS" if name in SCRIPTS else f"tapjax {name}"
        parts.append(_section(title, text, parser("tapjax", name).format_help()))
    return "\n".join(parts)


def _section(title, text, help_text):
    return f"### {title}\n\n{text[0].upper()}{text[1:]}.\n\n```text\n{help_text.strip()}\n```\n"


def _help_of_script(name):
    """Return the help of a script, which only its own process can hold: flags are global."""
    command = [sys.executable, "-m", f"launch.{name}", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    print(markdown(), end="")
