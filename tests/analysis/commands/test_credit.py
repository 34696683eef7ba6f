"""The command `credit` on runs with planted accuracies."""

import json

import numpy as np
import pandas as pd
import pytest

from tapjax.config import schema
from tapjax.contract.layout import write_json, write_npz
from tests.analysis.command import analysis
from tests.analysis.made_runs import write_run

SEEDS, POINTS = 8, 11
METHODS = {"dir": 0.3, "kolen_pollack": 0.5, "weight_mirror": 0.45, "sign_symmetry": 0.501}


def credit_run(path, method, accuracy_S, block_lr=1e-4):
    """Write a finished run of a credit method whose accuracy after training is given."""
    shape = (len(accuracy_S), POINTS, 3)
    measured = ("gamma", "dir_gamma", "rho", "nudge", "param_cosine", "hidden_rms", "fitted")
    probe = {f"probe/{name}": np.full(shape, 0.5) for name in measured}
    write_run(path, np.ones(shape[:2]), **probe)
    (record,) = (path / "records").iterdir()
    score = {"eval_step": np.array([50]), "eval/accuracy": np.asarray(accuracy_S)[:, None]}
    write_npz(record, dict(np.load(record)) | score)
    config = schema.defaults("credit")
    config.update(seeds=tuple(range(len(accuracy_S))), steps=50)
    config.rule.update(name="local", block_lr=block_lr)
    config.credit.name = method
    write_json(path / "config.json", json.loads(config.to_json()))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("credit")
    noise = 0.002 * np.random.default_rng(0).standard_normal((2, SEEDS))
    for name, mean in METHODS.items():
        credit_run(folder / name, name, mean + noise[0] + (name == "sign_symmetry") * noise[1])
    return folder


def test_methods_are_compared_with_the_one_that_is_named(runs, tmp_path):
    result = analysis(
        "credit", runs, f"--out={tmp_path}", "--json", "--against=kolen_pollack,weight_mirror"
    )
    assert result.returncode == 0, result.stderr
    rows = pd.DataFrame(json.loads(result.stdout)["rows"]).set_index("method")
    assert rows.over_kolen_pollack["dir"] == pytest.approx(-0.2)
    assert rows.over_weight_mirror["kolen_pollack"] == pytest.approx(0.05)
    # Three rows with p = 2 / 256 each; a difference within the noise has none.
    assert rows.over_kolen_pollack_q["dir"] < 0.05 and rows.over_weight_mirror_q["dir"] < 0.05
    assert rows.over_kolen_pollack_q["sign_symmetry"] > 0.05
    assert "over_dir" not in rows and np.isnan(rows.over_kolen_pollack["kolen_pollack"])


def test_a_search_is_reported_by_its_number_of_runs(tmp_path):
    for i, mean in enumerate((0.2, 0.4, 0.3)):
        credit_run(tmp_path / f"runs/{i}", "dfa", [mean, mean + 0.02], block_lr=10.0 ** (i - 4))
    result = analysis("credit", tmp_path / "runs", f"--out={tmp_path}", "--tuning", "--json")
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)["tuning"]
    assert row["variant"] == "block_lr=0.001" and row["accuracy"] == pytest.approx(0.41)
    assert row["best_of_1"] == pytest.approx(0.31)
    assert row["best_of_2"] == pytest.approx((0.41 * 2 + 0.31) / 3)
    assert pd.read_csv(tmp_path / "tuning.csv").run.tolist() == [1]


def test_a_reference_without_a_run_is_refused(runs, tmp_path):
    result = analysis("credit", runs, f"--out={tmp_path}", "--against=kolen_polack")
    assert result.returncode == 2 and "did you mean 'kolen_pollack'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
