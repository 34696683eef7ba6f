import numpy as np
import pytest

from analysis import open_run
from analysis.commands.emergence import find_emergence
from analysis.runs.reader import RunError
from analysis.tap import emergence
from tests.analysis.made_runs import EVERY, write_run

LENGTH = 301
T = EVERY * np.arange(LENGTH)


def grokking(path, seeds=6, rho=0.0, lag=4):
    """D that turns before accuracy rises, sooner in some seeds; D's noise may lead accuracy's."""
    rng = np.random.default_rng(0)
    turn = np.linspace(300, 600, seeds)[:, None]
    x, y = rng.standard_normal((2, seeds, LENGTH))
    y = rho * np.roll(x, lag, 1) + np.sqrt(1 - rho**2) * y
    d = 10 - 4 * np.exp(-T / 50) - np.abs(T - turn) / 300 + 0.05 * x
    accuracy = 0.05 + 0.9 / (1 + np.exp(-(T - turn - 400) / 30)) + 0.01 * y
    fitted = np.repeat(np.minimum(T / 200, 1.0)[None], seeds, 0)
    classes = np.stack([accuracy, accuracy / 2, np.full_like(accuracy, np.nan)], -1)
    return write_run(
        path,
        d,
        **{
            "probe/accuracy": accuracy,
            "probe/loss": -np.log(np.clip(accuracy, 0.01, 0.99)),
            "probe/class_accuracy": classes,
            "scalar/accuracy": np.repeat(fitted[:, :-1], EVERY, 1),
        },
    )


def test_landmarks_are_where_they_were_put(tmp_path):
    run = open_run(grokking(tmp_path / "a"))
    rows = emergence.landmarks(run)
    turns = np.linspace(300, 600, 6)
    assert [row["capability_step"] for row in rows] == pytest.approx(turns + 400, abs=25)
    assert [row["D_peak_step"] for row in rows] == pytest.approx(turns, abs=60)
    assert all(row["D_trough_step"] is None for row in rows)  # at the start, where D is lowest
    order = emergence.order(rows)
    assert order["late"] and "D_trough_step" not in order
    peak = order["D_peak_step"]
    assert peak["precedes"] == peak["seeds"] == 6 and peak["lead"] == pytest.approx(400, abs=50)
    assert peak["rho"] > 0.9 and peak["p"] < 0.05


def test_few_seeds_have_no_rank_correlation(tmp_path):
    order = emergence.order(emergence.landmarks(open_run(grokking(tmp_path / "a", seeds=3))))
    assert order["D_peak_step"]["rho"] is None


@pytest.mark.slow
def test_a_planted_lead_is_the_verdict_and_its_lag_is_in_steps(tmp_path):
    paths = [grokking(tmp_path / "lead", rho=0.6), grokking(tmp_path / "null")]
    result, table = find_emergence(paths, tmp_path / "out")
    assert table.loc["lead"].set_index("capability")["verdict"]["accuracy"] == "leads"
    lag = table.loc["lead"].set_index("capability")["best_lag_steps"]["accuracy"]
    assert abs(lag - 4 * EVERY) <= EVERY
    assert set(table.loc["null"]["verdict"]) == {"no evidence"}
    assert "2 runs of 301 measurements" in table.index
    assert set(result["power"]["lead"]) == {str(s) for s in emergence.STRENGTHS}
    assert result["weakest_classes"]["null"][0]["class"] == 1
    text = (tmp_path / "out" / "phase4_summary.md").read_text()
    assert "| lead | accuracy | leads |" in text and "peak" in text
    for name in ("emergence.png", "lead_emergence.png", "emergence.csv", "emergence.json"):
        assert (tmp_path / "out" / name).stat().st_size > 100


def test_one_seed_and_only_a_training_loss_will_do(tmp_path):
    rng = np.random.default_rng(0)
    d = np.exp(0.1 * rng.standard_normal((1, LENGTH)))
    loss = np.exp(-np.arange(EVERY * (LENGTH - 1)) / 500)[None]
    loss = loss * np.exp(0.1 * rng.standard_normal(loss.shape))
    run = open_run(write_run(tmp_path / "a", 10 * d, loss))
    assert list(emergence.capabilities(run)) == ["-ln loss"]
    assert emergence.landmarks(run) == [] and emergence.class_table(run) == []
    result, _ = find_emergence([run.path], tmp_path / "out")
    assert result["verdicts"] == {"no evidence": 1}


def test_what_cannot_be_tested_is_refused(tmp_path):
    short = write_run(tmp_path / "short", 5 + np.random.default_rng(0).random((2, 40)))
    with pytest.raises(RunError, match="too few for lags"):
        find_emergence([short], tmp_path / "out")
    still = write_run(tmp_path / "still", np.full((2, 200), 5.0))
    with pytest.raises(RunError, match="never changes"):
        find_emergence([still], tmp_path / "out")


def test_too_few_measurements_for_the_correction_are_refused_with_the_numbers(tmp_path):
    rng = np.random.default_rng(0)
    draw = lambda: np.exp(0.1 * rng.standard_normal((2, 100)))  # noqa: E731
    paths = [write_run(tmp_path / f"r{i}", draw(), **{"probe/loss": draw()}) for i in range(20)]
    with pytest.raises(RunError, match=r"100 measurements allow no p below .* 21 tests"):
        find_emergence(paths, tmp_path / "out")
