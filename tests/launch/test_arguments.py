import subprocess
import sys

import pytest

from launch.arguments import problem
from tapjax.config.schema import defaults, flatten


@pytest.mark.parametrize(
    "argument,said",
    [
        ("--config.lr=.1", "did you mean 'optimizer.lr'?"),
        ("--config.optim.lr=.1", "did you mean 'optimizer.lr'?"),
        ("--config.credt.lr=.1", "did you mean 'credit.lr'?"),
        ("--config.optimizer.learning_rate=.1", "did you mean 'optimizer.lr'?"),
        ("--config.batch_size=4", "did you mean 'data.batch_size'?"),
        ("-config.batch_size=4", "did you mean 'data.batch_size'?"),
        ("--config.epochs=3", "did you mean 'steps'?"),
        ("--config.seed=1", "did you mean 'seeds'?"),
        ("--config.model=mlp_wide", "is a group of fields, such as --config.model."),
        ("--config.seeds=5", "--config.seeds='(5,)' for that seed"),
        ("--config.nothing_like_it=5", "is no field"),
        ("--config=configs/tap/calibratoin.py", "did you mean 'configs/tap/calibration.py'?"),
        ("--config=nowhere.py:quick", "--config=nowhere.py: there is no such file"),
    ],
)
def test_what_cannot_work_is_said_with_what_was_meant(argument, said):
    assert said in problem(["--workdir=a", argument])
    name, equals, value = argument.partition("=")
    assert said in problem([name, value])


def test_what_can_work_passes():
    fields = [f"--config.{name}=(1,)" for name in flatten(defaults()) if name != "family"]
    assert problem([*fields, "--config=configs/tap/calibration.py:quick", "config.lr=3"]) == ""
    assert problem([]) == problem(["--config"]) == problem(["--config.seeds=(5,)"]) == ""


@pytest.mark.parametrize(
    "arguments,said",
    [
        (["--config.lr=1"], "error: --config.lr is no field; did you mean 'optimizer.lr'?"),
        (
            [],
            "error: --workdir=... is missing: Run directory to write in; required unless "
            "--dry_run is given.",
        ),
    ],
)
def test_a_script_says_it_before_jax_is_loaded(arguments, said):
    code = (
        "import sys\n"
        "sys.modules['jax'] = None\n"
        "import launch.run\n"
        "sys.argv = ['run', '--config=configs/tap/calibration.py:quick', *sys.argv[1:]]\n"
        "launch.run.main(launch.run.body)\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr.strip()) == (2, said)


@pytest.mark.slow
def test_a_tilde_is_the_home_folder(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "launch.run", "--config=configs/tap/calibration.py:quick",
         "--workdir=~/there", "--resume=must"],
        capture_output=True, text=True, timeout=120, env={"HOME": str(tmp_path), "PATH": "/bin"},
    )  # fmt: skip
    assert f"{tmp_path}/there holds no run to resume" in result.stderr
