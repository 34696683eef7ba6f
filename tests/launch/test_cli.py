"""Every launch script in a process of its own, as a user starts it."""

import json
import subprocess
import sys

import pytest

from analysis import open_run

CONFIG = "configs/tap/calibration.py"


def launch(script, *args):
    return subprocess.run(
        [sys.executable, "-m", f"launch.{script}", *map(str, args)], capture_output=True, text=True
    )


def test_a_quick_run(tmp_path):
    run = f"--config={CONFIG}:quick,arch=mlp:depth=1,width=8"
    result = launch("run", run, "--config.steps=100", f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "DONE at step 100"
    assert result.stderr == ""
    assert open_run(tmp_path / "a").dimension().shape == (3, 21)
    again = launch("run", run, "--config.steps=200", f"--workdir={tmp_path / 'a'}")
    assert again.returncode == 2 and "steps: 100 -> 200" in again.stderr


def test_a_quick_calibration(tmp_path):
    args = ["--quick", "--archs=mlp_narrow", "--steps=100", "--seeds=2", f"--workdir={tmp_path}"]
    result = launch("tap", *args)
    assert result.returncode == 0, result.stderr
    page = tmp_path / "analysis" / "report.html"
    assert page.exists() and "report:" in result.stdout
    fits = json.loads((tmp_path / "analysis" / "tap.json").read_text())["fits"]
    assert {fit["seed"] for fit in fits} == {0, 1}


def test_a_failing_run_is_reported_and_the_rest_go_on(tmp_path):
    blocked = tmp_path / "runs" / "mlp_narrow__digits"
    blocked.mkdir(parents=True)
    (blocked / "stranger").touch()
    args = ["--archs=mlp_narrow,mlp:depth=1,width=8", "--steps=100", "--seeds=1"]
    result = launch("tap", *args, f"--workdir={tmp_path}")
    assert result.returncode == 1
    assert "failed: mlp_narrow on digits" in result.stderr and "stranger" in result.stderr
    assert (tmp_path / "analysis" / "report.html").exists()


def test_an_unknown_architecture_starts_nothing(tmp_path):
    result = launch("tap", "--archs=mlp_narrow,mlp_wid", f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 2 and "did you mean 'mlp_wide'" in result.stderr
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "args,message",
    [
        ([f"--config={CONFIG}", "--config.optimizer.lrr=1", "--workdir=x"], "lr"),
        ([f"--config={CONFIG}", "--config.steps=many", "--workdir=x"], "steps"),
        ([f"--config={CONFIG}", "--config.steps=7", "--workdir=x"], "multiple of probe.every"),
        ([f"--config={CONFIG}:arch=mlp_wid", "--workdir=x"], "did you mean 'mlp_wide'"),
        ([f"--config={CONFIG}:quik", "--workdir=x"], "did you mean 'quick'"),
        (["--config=configs/nothing.py", "--workdir=x"], "configs/nothing.py"),
        ([f"--config={CONFIG}"], "workdir"),
        (["--workdir=x"], "--config"),
        ([f"--config={CONFIG}", "--workdir=x", "stray"], "stray"),
        ([f"--config={CONFIG}", "--workdir=x", "--confg=y"], "confg"),
    ],
)
def test_bad_usage_exits_with_2_before_jax_is_imported(args, message, tmp_path):
    code = (
        "import sys, runpy, atexit\n"
        "atexit.register(lambda: print('jax' in sys.modules))\n"
        f"sys.argv = ['launch.run', *{args!r}]\n"
        "runpy.run_module('launch.run', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert result.stdout.strip() == "False"
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_missing_data_exits_with_2(tmp_path):
    args = [f"--config={CONFIG}:dataset=nosuchset", f"--workdir={tmp_path / 'a'}"]
    result = launch("run", *args)
    assert result.returncode == 2 and "'nosuchset' is not in" in result.stderr
    assert not (tmp_path / "a").exists()
