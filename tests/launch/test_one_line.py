"""What a machine or a person does to a command is said in one line."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

QUICK = ["--config=configs/tap/calibration.py:quick,arch=mlp:widths=8", "--config.steps=20"]
QUICK += ["--config.chunk_steps=10", "--config.seeds=(0,)"]


def run(*arguments, script="launch.run", addresses=None, **environment):
    limit = f"ulimit -v {addresses // 1024};" if addresses else ""
    return subprocess.run(
        ["sh", "-c", f'{limit} exec "$0" "$@"', sys.executable, "-m", script,
         *map(os.fsencode, arguments)],
        capture_output=True, text=True, timeout=200, env=os.environ | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home_of_nobody(tmp_path_factory):
    path = tmp_path_factory.mktemp("one_line") / "run"
    nowhere = {"HOME": "/proc", "TAPJAX_CACHE": "", "JAX_COMPILATION_CACHE_DIR": ""}
    return path, run(*QUICK, f"--workdir={path}", **nowhere)


@pytest.mark.slow
def test_without_a_home_folder_a_run_trains(home_of_nobody):
    path, result = home_of_nobody
    assert result.returncode == 0 and "DONE at step 20" in result.stdout
    lines = [line for line in result.stderr.splitlines() if "cannot keep" in line]
    assert lines and "Traceback" not in result.stderr


def test_a_platform_that_is_not_here_is_named(tmp_path):
    result = run(*QUICK, f"--workdir={tmp_path / 'a'}", JAX_PLATFORMS="cuda")
    assert result.returncode == 2 and not (tmp_path / "a").exists()
    assert (
        result.stderr.strip()
        .splitlines()[-1]
        .startswith("error: JAX finds no device for JAX_PLATFORMS=cuda: unset it")
    )
    assert "Traceback" not in result.stderr


def test_a_path_that_is_no_text_is_refused(tmp_path):
    result = run(*QUICK, os.fsdecode(b"--workdir=" + bytes(tmp_path) + b"/\xff"))
    assert (result.returncode, result.stderr) == (2, "error: the arguments are not all UTF-8\n")


@pytest.mark.slow
def test_the_backend_of_a_notebook_need_not_be_installed(home_of_nobody, tmp_path):
    path, _ = home_of_nobody
    result = run(
        "jumps", str(path), f"--out={tmp_path}", script="analysis",
        MPLBACKEND="module://no_such_package.backend_inline",
    )  # fmt: skip
    assert "Traceback" not in result.stderr and "backend" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("out,said", [("{}/a", "is no folder"), ("", "--out= names no folder")])
def test_a_place_that_cannot_be_written_is_refused_first(home_of_nobody, tmp_path, out, said):
    (tmp_path / "a").touch()
    path, _ = home_of_nobody
    for given in ([f"--out={out.format(tmp_path)}"], ["--out", out.format(tmp_path)]):
        result = run("jumps", str(path), *given, script="analysis")
        assert result.returncode == 2 and said in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_says_where_a_run_stopped(tmp_path):
    path = tmp_path / "run"
    arguments = [*QUICK, "--config.steps=1000000", "--config.checkpoint.every=20"]
    # A shell lets what it starts in the background ignore SIGINT; here it has its meaning.
    code = (
        "import runpy, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "runpy.run_module('launch.run', run_name='__main__', alter_sys=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, f"--workdir={path}"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (path / "ckpt" / "40").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    status = json.loads((path / "STATUS.json").read_text())
    assert process.returncode == 130 and "Traceback" not in said
    assert f"stopped at step {status['step']}; the same command resumes" in said
    assert (status["status"], status["reason"]) == ("PREEMPTED", "Ctrl-C")


@pytest.mark.parametrize(
    "script,arguments",
    [
        ("launch.run", QUICK),
        ("launch.sweep", [QUICK[0].partition(":")[0], "--fixed=quick", "--grid=seed_block=0:2"]),
        ("launch.tap", ["--phase=1"]),
    ],
)
def test_too_few_addresses_for_anything_are_refused(script, arguments, tmp_path):
    where = f"--workdir={tmp_path / 'a'}"
    result = run(*arguments, where, script=script, addresses=1_500_000_000)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "error: ulimit -v lets a process have 1.5 GB of addresses" in result.stderr


@pytest.mark.slow
def test_too_few_addresses_for_a_run_are_refused(tmp_path):
    wide = "--config=configs/tap/calibration.py:quick,arch=mlp:depth=4,width=4096"
    result = run(wide, f"--workdir={tmp_path / 'a'}", addresses=4_000_000_000)
    assert result.returncode == 2 and "error: this run needs about" in result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "a").exists()
