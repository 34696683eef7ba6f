"""The command that tests what moves before an ability, on runs in which it was planted."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tapjax.contract.layout import write_npz
from tests.analysis.command import analysis
from tests.analysis.made_runs import write_run

T = np.arange(0, 1001, 5.0)
SEEDS = 12


def rise(at, width=20.0):
    return 1 / (1 + np.exp(-(T[None] - np.asarray(at)[:, None]) / width))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """D rises 150 steps before the accuracy; in the control neither rises."""
    folder, rng = tmp_path_factory.mktemp("precursors"), np.random.default_rng(0)

    def noise(scale):
        return scale * rng.standard_normal((SEEDS, len(T)))

    able = rng.uniform(500, 800, SEEDS)
    accuracy = {"probe/accuracy": 0.1 + 0.9 * rise(able) + noise(0.01)}
    write_run(folder / "run", 3 + rise(able - 150, 40) + noise(0.02), **accuracy)
    still = {"probe/accuracy": 0.1 + noise(0.01)}
    write_run(folder / "control", 3 + noise(0.02), **still)
    return folder


def found(*args):
    ran = analysis("precursors", *args, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_planted_precursor_warns_and_tells_the_order(runs, tmp_path):
    tmp_path = tmp_path / "new" / "folder"
    result = found(runs / "run", "--control", runs / "control", "--out", tmp_path)
    (about,) = result["abilities"]
    assert about["ability"] == "accuracy" and about["emerges"] == SEEDS
    rows = {row["signal"]: row for row in result["signals"]}
    assert rows["D"]["lead"] == pytest.approx(150, abs=30)
    assert rows["D"]["q_warning"] <= 0.05 and rows["D"]["area"] > 0.9
    assert rows["D"]["q"] <= 0.05 and rows["D"]["rho"] > 0.7
    assert "probe/accuracy" not in rows
    assert rows["D"]["q_next"] <= 0.05 and rows["D"]["next"] > 0.8
    assert rows["probe/jumps"]["hits"] <= 0.1
    said = result["conclusions"][0]
    assert "signals move farther than in controls: D" in said and "the next: D" in said
    areas = {row["ahead"]: row["area"] for row in result["distances"] if row["signal"] == "D"}
    assert areas[0] >= areas[0.4] and areas[0.05] > 0.9
    low, high = about["step_interval"]
    assert low <= about["step"] <= high and len(about["of_seeds"]) == SEEDS
    assert all(each["low"] <= each["half"] <= each["high"] for each in about["of_seeds"])
    least = about["found_with_80_percent"]
    assert 0.7 < least["area"] < 1 and 0.7 < least["rho"] < 1
    alarms = {each["signal"]: each for each in result["alarms"]}
    assert "D" in alarms and alarms["D"]["hits"] == rows["D"]["hits"] > 0.8
    assert len(pd.read_csv(tmp_path / "precursors_distance.csv")) == len(result["distances"])
    assert len(pd.read_csv(tmp_path / "precursors.csv")) == len(rows)
    assert (tmp_path / "run_precursors.png").stat().st_size > 5000


def test_what_is_not_finite_is_left_out_by_name(runs, tmp_path):
    folder = tmp_path / "gap"
    shutil.copytree(runs / "run", folder)
    record = min((folder / "records").iterdir())
    arrays = dict(np.load(record))
    arrays["probe/participation_ratio"][2, 40] = np.nan
    write_npz(record, arrays)
    said = found(folder, "--out", tmp_path / "out")["conclusions"][0]
    assert "Left out" in said and "D" in said.partition("Left out")[2]


def test_without_controls_no_warning_is_tested(runs, tmp_path):
    result = found(runs / "run", "--out", tmp_path)
    assert all(row["p_warning"] is None for row in result["signals"])
    assert "Warnings are not tested" in result["conclusions"][0]


def test_what_does_not_emerge_and_unknown_abilities_are_said(runs, tmp_path):
    ran = analysis("precursors", runs / "control", "--out", tmp_path)
    assert ran.returncode == 2 and "accuracy emerges in 0 of 12 seeds" in ran.stderr
    ran = analysis("precursors", runs / "run", "--ability=acuracy", "--out", tmp_path)
    assert ran.returncode == 2 and "no ability 'acuracy'" in ran.stderr
    assert "did you mean" in ran.stderr
    for flags, said in (
        ((runs / "run", "--control", runs / "run"), "is its own control"),
        ((runs / "run", "--ahead=2"), "--ahead=2 must be a share"),
        ((runs / "run", "--ahead=-1"), "--ahead=-1 must be a share"),
    ):
        ran = analysis("precursors", *flags, "--out", tmp_path)
        assert ran.returncode == 2 and said in ran.stderr, ran.stderr
