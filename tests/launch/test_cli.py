"""Every launch script in a process of its own, as a user starts it."""

import json
import re
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
    # After notes on what is prepared once a machine.
    *_, announced, memory = result.stderr.splitlines()
    assert "610 parameters, 3 seeds" in announced and announced.endswith("MB of records")
    assert re.match(r"about [\d.]+ MB of memory a device \(data ", memory)
    assert open_run(tmp_path / "a").dimension().shape == (3, 21)
    more = launch("run", run, "--config.steps=200", f"--workdir={tmp_path / 'a'}")
    assert more.returncode == 0 and more.stdout.strip() == "DONE at step 200", more.stderr
    assert open_run(tmp_path / "a").dimension().shape == (3, 41)
    other = launch("run", run, "--config.probe.every=10", f"--workdir={tmp_path / 'a'}")
    assert other.returncode == 2 and "probe.every: 5 -> 10" in other.stderr


@pytest.mark.slow
def test_the_four_phases_one_after_another(tmp_path):
    args = ["--archs=mlp_narrow", "--quick", "--seeds=2", f"--workdir={tmp_path}"]
    early = launch("tap", *args, "--phase=2")
    assert early.returncode == 2 and "--phase=1 trains them" in early.stderr
    result = launch("tap", *args)
    assert result.returncode == 0, result.stderr
    # One architecture is too few for these questions, and that is said.
    for section in ("alpha", "predictor"):
        assert f"left out: {section}: " in result.stdout
    made = {str(p.relative_to(tmp_path / "analysis")) for p in tmp_path.rglob("analysis/**/*.*")}
    assert made >= {
        "report.html",
        "summary/summary.csv",
        "tap/tap.csv",
        "monitor/mlp_narrow__digits/seed_0/monitor_state.json",
        "monitor/mlp_narrow__digits/seed_1/monitor_visualization.png",
        "emergence/phase4_summary.md",
        "emergence/emergence.png",
    }
    assert "modular" in (tmp_path / "analysis/emergence/phase4_summary.md").read_text()
    fits = json.loads((tmp_path / "analysis" / "tap" / "tap.json").read_text())["fits"]
    assert {fit["seed"] for fit in fits} == {0, 1}
    again = launch("tap", *args, "--phase=3")
    assert again.returncode == 0 and "DONE" not in again.stdout
    page = (tmp_path / "analysis" / "report.html").read_text()
    assert "Which equation describes D(t)?" in page and "mlp_narrow__digits" in page


@pytest.mark.slow
def test_a_run_watched_live_and_from_outside(tmp_path):
    run = f"--config={CONFIG}:quick,arch=mlp:depth=1,width=8"
    result = launch("run", run, f"--workdir={tmp_path / 'a'}", "--monitor")
    assert result.returncode == 0, result.stderr
    assert "step 300: D" in result.stdout and result.stdout.endswith("DONE at step 300\n")
    outside = launch("monitor", f"--run={tmp_path / 'a'}", "--follow", f"--out={tmp_path / 'out'}")
    assert outside.returncode == 0, outside.stderr
    for seed in range(3):
        one, two = (
            json.loads((folder / f"seed_{seed}" / "monitor_state.json").read_text())
            for folder in (tmp_path / "a" / "monitor", tmp_path / "out")
        )
        assert one == two and one["history"]["step"][-1] == 300
    missing = launch("monitor", f"--run={tmp_path}")
    assert missing.returncode == 2 and "not a run directory" in missing.stderr


@pytest.mark.slow
def test_a_failed_run_ends_its_monitor(tmp_path):
    (tmp_path / "stranger").touch()
    result = launch("run", f"--config={CONFIG}:quick", f"--workdir={tmp_path}", "--monitor")
    assert result.returncode == 2 and "stranger" in result.stderr


@pytest.mark.slow
def test_a_failing_run_is_reported_and_the_rest_go_on(tmp_path):
    blocked = tmp_path / "runs" / "mlp_narrow__digits"
    blocked.mkdir(parents=True)
    (blocked / "stranger").touch()
    args = ["--archs=mlp_narrow,mlp:depth=1,width=8", "--steps=100", "--seeds=1", "--phase=1"]
    result = launch("tap", *args, f"--workdir={tmp_path}")
    assert result.returncode == 1
    assert "failed: mlp_narrow__digits" in result.stderr and "stranger" in result.stderr
    assert (tmp_path / "analysis" / "report.html").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--datasets=a/x.npz,b/x.npz"], "have the same name"),
        (["--archs="], "need a name each"),
        (["--archs=mlp_narrow", "--steps=0"], "steps=0 must be at least 1"),
    ],
)
def test_what_is_ambiguous_starts_nothing(tmp_path, args, message):
    result = launch("tap", *args, f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 2 and message in result.stderr
    assert not (tmp_path / "a").exists()


def test_an_unknown_data_set_starts_nothing(tmp_path):
    result = launch("tap", "--datasets=digits,nothing", f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 2 and "data set 'nothing' is not in" in result.stderr
    assert not (tmp_path / "a").exists()


def test_an_unknown_architecture_starts_nothing(tmp_path):
    result = launch("tap", "--archs=mlp_narrow,mlp_wid", f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 2 and "did you mean 'mlp_wide'" in result.stderr
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "args,message",
    [
        ([f"--config={CONFIG}", "--config.optimizer.lrr=1", "--workdir=x"], "lr"),
        ([f"--config={CONFIG}", "--config.steps=many", "--workdir=x"], "=many must be an integer"),
        ([f"--config={CONFIG}", "--config.optimizer.lr=x", "--workdir=x"], "=x must be a number"),
        ([f"--config={CONFIG}", "--workdir=x", "--extend=5"], "--extend=5 must be true or false"),
        ([f"--config={CONFIG}", "--workdir=x", "--resume=atuo"], "did you mean 'auto'"),
        ([f"--config={CONFIG}", "--config.family=credit", "--workdir=x"], "choose a config file"),
        ([f"--config={CONFIG}", "--config.steps=7", "--workdir=x"], "multiple of probe.every"),
        ([f"--config={CONFIG}:arch=mlp_wid", "--workdir=x"], "did you mean 'mlp_wide'"),
        ([f"--config={CONFIG}:quik", "--workdir=x"], "did you mean 'quick'"),
        (["--config=configs/nothing.py", "--workdir=x"], "configs/nothing.py"),
        ([f"--config={CONFIG}"], "workdir"),
        (["--workdir=x"], "--config"),
        ([f"--config={CONFIG}", "--workdir=x", "stray"], "stray"),
        ([f"--config={CONFIG}", "--workdir=x", "--confg=y"], "did you mean '--config'"),
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


@pytest.mark.slow
@pytest.mark.fault
def test_a_run_that_diverges_exits_with_3_and_keeps_its_last_good_state(tmp_path):
    run = f"--config={CONFIG}:quick,arch=mlp:depth=1,width=8"
    args = ("--config.optimizer.name=sgd", "--config.optimizer.lr=1e30", "--config.chunk_steps=20")
    result = launch("run", run, *args, f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 3, result.stderr
    assert result.stdout.strip() == "DIVERGED at step 20 the loss is not finite"
    assert not list((tmp_path / "a" / "ckpt").iterdir())  # there never was a good one
    assert launch("run", run, *args, f"--workdir={tmp_path / 'a'}").returncode == 3


def test_missing_data_exits_with_2(tmp_path):
    args = [f"--config={CONFIG}:dataset=nosuchset", f"--workdir={tmp_path / 'a'}"]
    result = launch("run", *args)
    assert result.returncode == 2 and "'nosuchset' is not in" in result.stderr
    assert not (tmp_path / "a").exists()
