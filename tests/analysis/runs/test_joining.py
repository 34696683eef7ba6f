import numpy as np
import pytest

from analysis import open_run
from tapjax.contract.files import RunError
from tapjax.live import Recorder
from tests.analysis.command import analysis


def record(path, number, seeds=1, last=40, layers=("a", "b"), every=5, **config):
    """Record a run whose values tell which run and which seed they come from."""
    with Recorder(path, seeds=seeds, config=config, chunk=15, quiet=True) as run:
        for step in range(0, last, every):
            many = not isinstance(seeds, int)
            value = np.arange(len(seeds)) + 10.0 * number if many else 10.0 * number
            run.probe(step, layers={name: value + i for i, name in enumerate(layers)})
            run(step, loss=value + step)
    return path


def test_seeds_of_several_runs_become_one_run(tmp_path):
    record(tmp_path / "runs/x", 1, [4], lr=0.1, seed=4)
    record(tmp_path / "runs/y", 2, [7, 9], last=45, lr=0.1, seed=7)
    result = analysis("join", tmp_path / "runs", f"--out={tmp_path}/all")
    assert result.returncode == 0, result.stderr
    assert "the runs are cut to step 35" in result.stderr
    run = open_run(tmp_path / "all")
    assert run.seeds == [4, 7, 9] and run.complete
    np.testing.assert_array_equal(run.array("scalar", "loss")[:, 0], [10, 20, 21])
    np.testing.assert_array_equal(run.dimension()[:, -1], [10.5, 20.5, 21.5])
    assert run.steps("probe").tolist() == list(range(0, 40, 5))


def test_seeds_of_the_same_number_are_numbered_anew(tmp_path):
    for i in range(3):
        record(tmp_path / f"runs/{i}", i)
    result = analysis("join", tmp_path / "runs", f"--out={tmp_path}/all")
    assert "numbered in the order of the runs" in result.stderr
    run = open_run(tmp_path / "all")
    assert run.seeds == [0, 1, 2]
    np.testing.assert_array_equal(run.array("scalar", "loss")[:, 0], [0, 10, 20])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"lr": 0.2}, "settings.lr"),
        ({"layers": ("a", "c")}, "layer_names"),
        ({"every": 4}, "other steps"),
    ],
)
def test_runs_of_different_experiments_are_not_joined(tmp_path, other, message):
    record(tmp_path / "runs/x", 1, **{"lr": 0.1})
    record(tmp_path / "runs/y", 2, **{"lr": 0.1} | other)
    result = analysis("join", tmp_path / "runs", f"--out={tmp_path}/all")
    assert result.returncode == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "all").exists()


@pytest.mark.parametrize("ignored", ["name,paths", "settings.name,paths.out", "name,paths.out"])
def test_settings_that_may_differ_are_named(tmp_path, ignored):
    for i in range(2):
        record(tmp_path / f"runs/{i}", i, lr=0.1, name=f"run {i}", paths={"out": i, "in": 0})
    refused = analysis("join", tmp_path / "runs", f"--out={tmp_path}/all", "--ignore=paths")
    assert refused.returncode == 2 and "settings.name" in refused.stderr
    assert "paths" not in refused.stderr and "--ignore" in refused.stderr
    result = analysis("join", tmp_path / "runs", f"--out={tmp_path}/all", f"--ignore={ignored}")
    assert result.returncode == 0, result.stderr
    assert open_run(tmp_path / "all").seeds == [0, 1]


def test_an_ignored_setting_that_no_run_has_is_refused(tmp_path):
    for i in range(2):
        record(tmp_path / f"runs/{i}", i, name=f"run {i}")
    result = analysis("join", tmp_path / "runs", f"--out={tmp_path}/all", "--ignore=nme")
    assert result.returncode == 2 and "--ignore=nme: no run has such a setting" in result.stderr


def test_nothing_is_written_over(tmp_path):
    record(tmp_path / "runs/x", 1)
    assert "two runs or more" in analysis("join", tmp_path / "runs", "--out=o").stderr
    record(tmp_path / "runs/y", 2)
    result = analysis("join", tmp_path / "runs", f"--out={tmp_path}/runs/x")
    assert result.returncode == 2 and "already holds a run" in result.stderr
    with pytest.raises(RunError, match="no 'grad_norm'; recorded are loss"):
        open_run(tmp_path / "runs/x").array("scalar", "grad_norm")
