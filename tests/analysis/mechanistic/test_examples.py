"""When examples are learned, and which ones a jump belongs to, where the truth is known."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.mechanistic.examples import (
    agreement,
    at_jumps,
    changes_of,
    compare,
    lapses,
    learned_for_good,
    learning,
)
from analysis.runs.reader import RunError, open_run
from tapjax.contract.layout import write_npz
from tests.analysis.command import analysis
from tests.analysis.made_runs import collapse_and_recovery, write_run

T, P = 41, 100
STEPS = 50 * np.arange(T)
JUMP = 1210  # between the measurements at 1200 and 1250


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def made(rng, seeds=3, moved=0):
    """Losses that fall with noise; `moved` examples of seed 0 rise at the jump."""
    fall = np.exp(-STEPS / 800)[None, :, None] * rng.uniform(1, 3, (1, 1, P))
    noise = 0.05 * rng.standard_normal((seeds, T, P)) * np.exp(-STEPS / 1500)[None, :, None]
    loss = np.abs(fall + noise)
    loss[0, 25:, :moved] += 2.0
    return loss, (loss < 1).astype(float)


def with_examples(path, loss, correct, jump=2.0):
    """A run in which D of seed 0 jumps at `JUMP`, with the measure `examples`."""
    t, rng = np.arange(0, 2001, 5.0), np.random.default_rng(1)
    d_SxT = np.stack([collapse_and_recovery(t)] * len(loss)) + 0.01 * rng.standard_normal(
        (len(loss), len(t))
    )
    d_SxT[0, t >= JUMP] += jump
    write_run(path, d_SxT)
    folder = path / "measures" / "examples"
    folder.mkdir(parents=True)
    write_npz(folder / "000000000.npz", {"loss": loss, "correct": correct, "step": STEPS})
    return open_run(path)


def test_learning_and_forgetting_by_hand():
    #  learned at once; relearned; never; forgotten at the end
    correct = np.array([[1, 0, 0, 1], [1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0]], float)[None]
    at = np.array([0, 10, 20, 30])
    np.testing.assert_array_equal(learned_for_good(correct, at), [[0, 30, np.nan, np.nan]])
    np.testing.assert_array_equal(lapses(correct), [[0, 1, 0, 1]])


def test_seeds_that_share_an_order_agree_and_others_do_not(rng):
    own = np.stack([rng.permutation(P) for _ in range(3)]).astype(float)
    shared = np.arange(P) + 30 * rng.standard_normal((3, P))
    assert agreement(shared)[0] > 0.3 and agreement(shared)[1] < 0.01
    assert agreement(own)[1] > 0.05
    assert np.isnan(agreement(own[:1])).all()
    assert np.isnan(agreement(np.full((2, P), np.nan))).all()
    same = np.stack([own[0]] * 2)
    same[:, :5] = np.nan  # never learned: last in both
    assert agreement(same)[0] == pytest.approx(1)


def test_a_planted_jump_belongs_to_its_examples(tmp_path, rng):
    run = with_examples(tmp_path / "run", *made(rng, moved=3))
    rows, listed = at_jumps(run)
    (row,) = [row for row in rows if row["from"] == 1200]
    assert (row["seed"], row["to"]) == (0, 1250) and abs(row["step"] - JUMP) <= 50
    assert row["p_example"] <= 0.05 and row["p_concentration"] <= 0.05, row
    top = [each["example"] for each in listed if each["step"] == row["step"]][:3]
    assert sorted(top) == [0, 1, 2]
    assert all(each["change"] > 1 for each in listed[:3])
    assert learning(run).forgotten[0, :3].sum() >= 1


def test_a_jump_that_no_example_makes_is_not_attributed():
    """Under the null at most as many ordinary pairs are unusual as p says."""
    below = []
    for seed in range(60):
        loss, correct = made(np.random.default_rng(seed))
        row, _ = compare(changes_of(STEPS, loss, correct), 0, 10 + seed % 25, {(0, 10 + seed % 25)})
        below.append(min(row["p_turned"], row["p_concentration"], row["p_example"]) <= 0.05)
    assert np.mean(below) <= 0.1, np.mean(below)


def test_p_is_corrected_for_the_number_of_jumps(rng):
    changes = changes_of(STEPS, *made(rng, moved=3))
    one, _ = compare(changes, 0, 24, {(0, 24)})
    four, _ = compare(changes, 0, 24, {(0, 24), (0, 10), (1, 10), (2, 30)})
    assert four["p_example"] > 3 * one["p_example"]


def test_few_measurements_are_refused_and_few_pairs_are_told(tmp_path, rng):
    loss, correct = made(rng, seeds=1)
    changes = changes_of(STEPS[:8], loss[:, :8], correct[:, :8])
    row, listed = compare(changes, 0, 3, {(0, 3)})
    assert "too few" in row["why"] and not listed and "p_turned" not in row
    run = with_examples(tmp_path / "run", loss, correct)
    folder = tmp_path / "run" / "measures" / "examples"
    write_npz(
        folder / "000000000.npz", {"loss": loss[:, :2], "correct": correct[:, :2], "step": [0, 50]}
    )
    with pytest.raises(RunError, match="at 2 steps, and needs 3"):
        learning(run)


def test_the_command(tmp_path, rng):
    with_examples(tmp_path / "run", *made(rng, moved=3))
    ran = analysis("examples", tmp_path / "run", "--out", tmp_path / "out", "--json")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert any("1 change a single example unusually" in text for text in result["conclusions"])
    assert {row["seed"] for row in result["rows"]} == {0, 1, 2}
    listed = pd.read_csv(tmp_path / "out" / "run" / "jumps.csv")
    assert set(listed.columns) == {"seed", "step", "example", "z", "change"}
    assert len(pd.read_csv(tmp_path / "out" / "run" / "each_example.csv")) == P
    assert (tmp_path / "out" / "run" / "examples.png").stat().st_size > 5000
