"""The command `tapjax`, help texts, and fields of a config as text and page."""

import subprocess
import sys
from pathlib import Path

import pytest

import launch
from analysis.__main__ import parser
from analysis.commands import COMMANDS
from launch import cli, reference
from tapjax import __version__

CODE = "import sys; from launch.cli import main; sys.exit(main())"
OWN_CONFIG = """
from configs import common


def get_config(arg=""):
    return common.base(steps=35)
"""


def tapjax(*arguments, **options):
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tapjax", *arguments])
    return cli.main()


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_alone_it_lists_every_command(arguments, monkeypatch, capsys):
    assert main(monkeypatch, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in (*cli.SCRIPTS, *COMMANDS):
        assert any(line.split()[:1] == [name] and len(line.split()) > 1 for line in lines)


def test_unknown_commands_get_a_suggestion(monkeypatch, capsys):
    assert main(monkeypatch, "sumary", "runs") == 2
    assert capsys.readouterr().err == "error: 'sumary' is no command; did you mean 'summary'?\n"
    assert main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"tapjax {__version__}\n"


@pytest.mark.slow
def test_the_page_of_commands_is_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "commands.md"
    assert page.read_text() == reference.markdown()


@pytest.mark.slow_except("run]")
@pytest.mark.parametrize("name", cli.SCRIPTS)
def test_help_of_a_script_names_every_flag(name):
    result = tapjax(name, "--help")
    assert result.returncode == 0 and result.stderr == ""
    source = (Path(cli.__file__).parent / f"{name}.py").read_text()
    _, _, flags = result.stdout.partition("flags:")
    defined = source.count("flags.DEFINE") + sum(
        source.count(f"= {f}()") for f in ("define_processes", "define_drift")
    )
    assert flags.count("\n  --") == defined
    assert all(line.startswith("  ") for line in flags.strip("\n").splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_an_analysis_explains_every_flag(name):
    made = parser("tapjax", name)
    assert made.format_help().startswith(f"usage: tapjax {name}")
    assert all(action.help for action in made._actions)


def test_tap_and_monitor_are_analyses_where_runs_follow(monkeypatch, capsys, tmp_path):
    for name in ("tap", "monitor"):
        assert main(monkeypatch, name, str(tmp_path / "none")) == 2
        assert "none" in capsys.readouterr().err
        script = tapjax(name)
        assert script.returncode == 2 and "is missing" in script.stderr


@pytest.mark.slow
def test_a_config_of_the_package_is_found_from_any_folder(tmp_path):
    run = ["run", "--config=configs/tap/calibration.py:quick,arch=mlp:widths=8", "--dry_run"]
    root = {"PYTHONPATH": str(Path(cli.__file__).parents[1]), "PATH": "/bin", "HOME": str(tmp_path)}
    result = tapjax(*run, cwd=tmp_path, env=root)
    assert result.returncode == 0 and "model.name = 'mlp:widths=8'" in result.stdout
    assert "610 parameters" in result.stdout and not list(tmp_path.glob("[!.]*"))
    own = tmp_path / "configs" / "tap" / "calibration.py"
    own.parent.mkdir(parents=True)
    own.write_text(
        "from configs import common\ndef get_config(arg=''):\n  return common.base(steps=35)"
    )
    result = tapjax(*run, cwd=tmp_path, env=root)
    assert "steps = 35" in result.stdout, result.stderr


def test_the_current_folder_comes_after_the_package(tmp_path, monkeypatch):
    """As in an editable install, whose finder is asked only after the search path."""
    root = str(Path(launch.__file__).parents[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "elsewhere", str(tmp_path)])
    launch.current_folder_last()
    assert sys.path == ["elsewhere", root, str(tmp_path)]
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", ["", "elsewhere"])
    launch.current_folder_last()
    assert sys.path == ["", "elsewhere"]
