"""Variables of runs, and the command over them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from analysis import open_run
from analysis.edm import study, variables
from analysis.edm.coupled_maps import coupled_maps
from analysis.edm.links import UNPROVEN, UNTESTED
from analysis.runs.reader import RunError
from tapjax.contract.layout import write_json
from tests.analysis.command import analysis
from tests.analysis.made_runs import EVERY, write_run

POINTS = 401


def coupled_run(path, seeds=5):
    """A run in which the loss, constant between measurements, drives D."""
    pairs = [coupled_maps(POINTS, 0.0, 0.1, noise=0.003, seed=s) for s in range(seeds)]
    loss, d = (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
    return write_run(path, d + 2, np.repeat(loss, EVERY, 1)[:, : (POINTS - 1) * EVERY])


def test_finer_series_are_averaged_over_the_steps_since_the_last_point(tmp_path):
    loss = np.arange(2000.0)[None]
    run = open_run(write_run(tmp_path / "run", np.ones((1, POINTS)), loss))
    steps, series = variables.variables(run, ["loss", "D", "D/b", "participation_ratio"])
    np.testing.assert_array_equal(steps, np.arange(0, 2001, 5))
    np.testing.assert_allclose(series["loss"][0, :3], [0, 2, 7])  # 0; mean of 0 to 4; of 5 to 9
    np.testing.assert_allclose(series["D"], 1) and np.testing.assert_allclose(series["D/b"], 2)
    fine, scalars = variables.variables(run, ["loss", "grad_norm"])
    assert len(fine) == 2000 and scalars["loss"][0, -1] == 1999


def test_a_scalar_of_weight_matrices(tmp_path):
    steps = (POINTS - 1) * EVERY
    norms = np.arange(2.0 * steps).reshape(1, steps, 2)
    path = write_run(tmp_path / "run", np.ones((1, POINTS)), **{"scalar/weight_norm": norms})
    run = open_run(path)
    write_json(path / "model.json", run.model | {"weight_names": ["a/kernel", "b/kernel"]})
    run = open_run(path)
    _, series = variables.variables(run, ["weight_norm", "weight_norm/b/kernel"])
    np.testing.assert_array_equal(series["weight_norm/b/kernel"], norms[..., 1])
    np.testing.assert_array_equal(series["weight_norm"], norms.mean(-1))
    with pytest.raises(RunError, match="no weight matrix 'c'"):
        variables.variables(run, ["weight_norm/c"])
    with pytest.raises(RunError, match="not one value per step or matrix"):
        variables.variables(run, ["loss/a"])


@pytest.mark.slow
def test_no_claim_where_a_known_link_is_not_recovered(tmp_path, monkeypatch):
    settings = {"surrogates": 79, "samples": 3, "lags": [-1, 0]}
    assert study.known(300, 5, 2, **settings)["recovered"]
    monkeypatch.setattr(study, "KNOWN", 0.0)
    assert not study.known(300, 5, 2, **settings)["recovered"]
    arguments = ("--variables=loss,D", "--prepare=raw", "--samples=3", "--lags=1", "--json")
    run, out = coupled_run(tmp_path / "run"), tmp_path / "out"
    result = analysis("edm", run, *arguments, "--no-power", "--out", out)
    assert result.returncode == 0, result.stderr
    (one,) = json.loads(result.stdout)["runs"]
    assert not one["known"]["recovered"] and one["surrogates"] == 79
    assert {row["verdict"] for row in one["links"]} == {UNPROVEN}


@pytest.mark.slow
def test_all_runs_are_corrected_together_and_untested_together(tmp_path):
    """Of four runs eight links are tested: five seeds are too few for that, six are not."""
    runs = [coupled_run(tmp_path / f"run{i}") for i in range(4)]
    arguments = ("--variables=loss,D", "--prepare=raw", "--samples=3", "--lags=0", "--no-power")
    arguments += ("--json", "--out", tmp_path / "out")
    result = analysis("edm", *runs, *arguments)
    assert result.returncode == 0, result.stderr
    assert "5 seeds" in result.stderr and "8 links" in result.stderr
    assert "take 6 seeds or a single run and 3 variables" in result.stderr
    printed = json.loads(result.stdout)
    assert printed["links_tested"] == 0 and len(printed["notes"]) == 4
    links = [row for run in printed["runs"] for row in run["links"]]
    assert {(row["verdict"], row["q"], row["p_runs"]) for row in links} == {(UNTESTED, None, None)}
    result = analysis("edm", *runs[:2], *arguments)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["links_tested"] == 4


def test_a_run_of_too_few_seeds_keeps_its_forecasts_and_leaves_the_correction(tmp_path):
    runs = coupled_run(tmp_path / "five"), coupled_run(tmp_path / "one", seeds=1)
    arguments = ("--variables=loss,D", "--prepare=raw", "--samples=3", "--lags=1", "--no-power")
    result = analysis("edm", *runs, *arguments, "--json", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "note: one: links untested: 1 seed can" in result.stderr and "5 seeds" in result.stderr
    printed = json.loads(result.stdout)
    five, one = printed["runs"]
    assert printed["links_tested"] == 2 and five["known"]["recovered"] and one["known"] is None
    assert {row["verdict"] for row in one["links"]} == {UNTESTED}
    assert {row["model"] for row in one["forecasts"]} >= {"AR", "simplex"}
    assert "drives" in {row["verdict"] for row in five["links"]}


@pytest.mark.parametrize(
    "asked, said", [("loss,loss", "fewer than two"), ("D,participation_ratio", "the same series")]
)
def test_one_variable_under_two_names_is_refused(tmp_path, asked, said):
    result = analysis(
        "edm", coupled_run(tmp_path / "run"), f"--variables={asked}", "--out", tmp_path
    )
    assert result.returncode == 2 and said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["los", "D/c", "stable_rank"])
def test_what_was_not_recorded_is_named(tmp_path, name):
    run = open_run(write_run(tmp_path / "run", np.ones((1, POINTS))))
    with pytest.raises(RunError, match=name.rpartition("/")[2]):
        variables.variables(run, ["loss", name])


def test_detrending_uses_the_past_alone():
    x = np.cumsum(np.random.default_rng(0).standard_normal((2, 300)), 1)
    changed = x.copy()
    changed[:, 200:] += 5
    before, after = (variables.detrended(v, 30) for v in (x, changed))
    np.testing.assert_array_equal(before[:, :200], after[:, :200])
    assert np.isnan(before[:, :30]).all() and np.isfinite(before[:, 30:]).all()
    line = variables.detrended(np.arange(100.0)[None], 10)
    np.testing.assert_allclose(line[0, 10:], line[0, 10])


def test_forecasts_beat_persistence_where_there_is_something_to_know():
    x, _ = coupled_maps(900, 0.0, 0.0)
    noise = np.random.default_rng(0).standard_normal(900)
    found = {
        (row["variable"], row["model"], row["horizon"]): row
        for row in study.forecasts({"map": x[None], "noise": noise[None]}, horizons=(1, 10))
    }
    assert found["map", "simplex", 1]["rho"] > 0.99 > found["map", "AR", 1]["rho"]
    assert found["map", "S-map", 1]["rho"] > found["map", "S-map, linear", 1]["rho"] + 0.1
    assert abs(found["noise", "simplex", 1]["rho"]) < 0.2
    assert found["noise", "persistence", 1]["relative_rmse"] == 1


def test_power_says_which_links_would_be_claimed():
    x, y = np.random.default_rng(0).standard_normal((2, 6, 400))
    settings = {"surrogates": 79, "samples": 10, "lags": [-1, 0]}
    found = study.power({"x": x, "y": y}, tests=2, **settings)
    assert set(found.values()) <= set(study.STRENGTHS)
    with pytest.raises(ValueError, match="at least 119 surrogates"):
        study.power({"x": x, "y": y}, tests=6, **settings)
    with pytest.raises(ValueError, match="at least 119 surrogates"):
        study.known(400, 5, 6, **settings)


def edm(*args):
    return subprocess.run(
        [sys.executable, "-m", "analysis", "edm", *map(str, args)], capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_planted_link_between_variables_of_a_run_is_reported(tmp_path):
    run, out = coupled_run(tmp_path / "coupled"), tmp_path / "out"
    arguments = ("--variables=loss,D", "--prepare=raw", "--samples=5", "--lags=1", "--json")
    arguments += ("--out", out)
    result = edm(run, *arguments)
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed == json.loads((out / "edm.json").read_text())
    links = {(row["cause"], row["effect"]): row for row in printed["runs"][0]["links"]}
    assert links["loss", "D"]["verdict"] == "drives" and links["loss", "D"]["lag"] <= 0
    assert links["D", "loss"]["verdict"] == "no evidence"
    assert "found_from" in links["D", "loss"]
    assert {row["model"] for row in printed["runs"][0]["forecasts"]} >= {"AR", "simplex"}
    for name in (
        "edm.csv",
        "coupled/links.png",
        "coupled/convergence.png",
        "coupled/forecasts.png",
    ):
        assert (out / name).stat().st_size > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variables=loss"], "fewer than two"),
        (["--variables=loss,los"], "los"),
        (["--variables=D,grad_norm"], "grad_norm is constant"),
        (["--variables=loss,D", "--start=1500"], "at least 200"),
        (["--null=phase"], "invalid choice"),
        (["--variables=loss,D", "--surrogates=19"], "at least 39 surrogates"),
    ],
)
def test_bad_usage_is_one_line(tmp_path, arguments, message):
    result = analysis("edm", coupled_run(tmp_path / "run", seeds=1), *arguments)
    assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr
