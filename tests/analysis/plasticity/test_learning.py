"""Learning task after task: what is computed of runs whose course is known."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import open_run
from analysis.commands.plasticity import compare
from analysis.figures.plasticity import cloning
from analysis.plasticity import learning
from analysis.runs.reader import RunError
from analysis.runs.seeds import open_family, settings
from tapjax.config import schema as tapjax_config
from tapjax.contract.files import read_npz
from tapjax.contract.layout import write_json, write_npz
from tests.analysis.made_runs import EVERY, set_status, write_run

TASKS, PER_TASK = 40, 20


def planted(path, online_SxK, dimension_SxK=None, eval=(), **fields):
    """A run with that online accuracy and D in every step of every task, and these evaluations."""
    seeds, tasks = online_SxK.shape
    dimension_SxK = np.ones_like(online_SxK) if dimension_SxK is None else dimension_SxK
    d_SxT = np.repeat(dimension_SxK, PER_TASK // EVERY, 1)
    d_SxT = np.concatenate([d_SxT, d_SxT[:, -1:]], 1)
    accuracy = {"scalar/accuracy": np.repeat(online_SxK, PER_TASK, 1)}
    write_run(path, d_SxT, **accuracy, **{"probe/class_accuracy": np.ones((*d_SxT.shape, 2))})
    last = max((path / "records").iterdir())
    write_npz(last, read_npz(last) | dict(eval))
    config = tapjax_config.defaults("plasticity")
    config.update(seeds=tuple(range(seeds)), steps=tasks * PER_TASK)
    config.tasks.steps = PER_TASK
    config.update_from_flattened_dict(fields)
    write_json(path / "config.json", json.loads(config.to_json()))
    return open_run(path)


def test_a_single_run_is_named_by_its_remedies(tmp_path):
    online = np.ones((2, 2))
    run = planted(tmp_path / "a", online, **{"renewal.name": "cbp", "tasks.reset": True})
    assert learning.labels([run]) == ["renewal=cbp, reset=True"]
    assert learning.labels([planted(tmp_path / "b", online)]) == ["plain"]


def test_what_is_remembered_of_a_known_matrix():
    matrix = np.array([[0.9, 0.5, 0.4], [0.7, 0.8, 0.6], [0.6, 0.85, 1.0]])[None]
    found = learning.remembered(matrix, 0.5)
    assert found["average_accuracy"][0] == pytest.approx((0.6 + 0.85 + 1) / 3)
    assert found["forgetting"][0] == pytest.approx((0.3 - 0.05) / 2)
    assert found["backward_transfer"][0] == pytest.approx((-0.3 + 0.05) / 2)
    assert found["forward_transfer"][0] == pytest.approx((0.0 + 0.1) / 2)


def test_forgetting_is_that_of_its_citation():
    """Chaudhry et al. 2018, eq. 3: max over l < k of a_lj less a_kj, a mean over j < k."""
    matrix = np.random.default_rng(0).uniform(size=(3, 5, 5))
    k = 4
    for seed, found in zip(matrix, learning.remembered(matrix, 0.1)["forgetting"], strict=True):
        lost = [max(seed[i, j] for i in range(k)) - seed[k, j] for j in range(k)]
        assert found == pytest.approx(np.mean(lost))


def test_forgetting_is_negative_where_the_last_task_helps():
    matrix = np.array([[0.6, 0.1, 0.1], [0.5, 0.7, 0.1], [0.9, 0.9, 0.9]])[None]
    found = learning.remembered(matrix, 0.1)
    assert found["forgetting"][0] == pytest.approx(-(0.3 + 0.2) / 2)
    assert found["backward_transfer"][0] == pytest.approx((0.3 + 0.2) / 2)


def test_forgetting_counts_what_a_task_was_before_it_was_trained():
    matrix = np.array([[0.6, 0.8, 0.1], [0.5, 0.7, 0.1], [0.4, 0.3, 0.9]])[None]
    found = learning.remembered(matrix, 0.1)
    assert found["forgetting"][0] == pytest.approx((0.2 + 0.5) / 2)
    assert found["backward_transfer"][0] == pytest.approx((-0.2 - 0.4) / 2)


@hypothesis.given(arrays(float, (2, 4, 4), elements=st.floats(0, 1)))
def test_forgetting_is_never_less_than_backward_transfer_lost(matrix):
    found = learning.remembered(matrix, 0.1)
    assert (found["forgetting"] >= -found["backward_transfer"] - 1e-12).all()
    assert (np.abs(found["forgetting"]) <= 1).all()


@pytest.mark.parametrize("every", [PER_TASK, PER_TASK // 2, 3 * PER_TASK // 2])
def test_only_evaluations_at_ends_of_tasks_make_the_matrix(tmp_path, every):
    online = np.random.default_rng(0).uniform(size=(2, 6))
    at = np.arange(every, 6 * PER_TASK + 1, every)
    matrix = np.random.default_rng(1).uniform(size=(2, len(at), 6))
    run = planted(tmp_path / "run", online, eval={"eval_step": at, "eval/task_accuracy": matrix})
    if every > PER_TASK:
        result, _ = compare([tmp_path], tmp_path / "out")
        assert "average_accuracy" not in result["rows"][0]
        assert "eval_every=500 does not divide tasks.steps=20" in result["refused"][0]
        return
    ends = np.searchsorted(at, PER_TASK * np.arange(1, 7))
    expected = learning.remembered(matrix[:, ends], 0.5)
    measured = learning.measure(run)
    for name, values in expected.items():
        if name != "forward_transfer":
            np.testing.assert_allclose(measured[name], values, rtol=1e-6)


def test_a_single_task_forgets_nothing():
    assert set(learning.remembered(np.ones((2, 1, 1)), 0.1)) == {"average_accuracy"}


def test_early_is_the_second_tenth_and_late_the_last():
    early, late = learning.early_and_late(np.arange(40.0)[None])
    assert early == [5.5] and late == [37.5]
    early, late = learning.early_and_late(np.array([[0.3, 0.7]]))
    assert early == late == [0.7]


def test_courses_are_of_the_right_task(tmp_path):
    online = np.random.default_rng(0).uniform(size=(2, TASKS))
    run = planted(tmp_path / "run", online, 3 * online)
    np.testing.assert_allclose(learning.score(run), online)
    np.testing.assert_allclose(learning.unit_courses(run)["dimension"], 3 * online)
    assert learning.score_name(run) == "accuracy"


def test_an_unfinished_run_shows_its_finished_tasks(tmp_path):
    online = np.random.default_rng(0).uniform(size=(2, TASKS))
    path = planted(tmp_path / "run", online).path
    config = json.loads((path / "config.json").read_text())
    write_json(path / "config.json", config | {"steps": 10 * config["steps"]})
    set_status(path, status="RUNNING")
    run = open_run(path, partial=True)
    np.testing.assert_allclose(learning.score(run), online)
    assert learning.table([run])[0]["n"] == 2
    config["tasks"]["steps"] = 10 * config["steps"]
    write_json(path / "config.json", config)
    with pytest.raises(RunError, match="no task is finished at step 800"):
        learning.score(open_run(path, partial=True))


def test_methods_are_compared_seed_by_seed_with_the_plain_one(tmp_path):
    rng = np.random.default_rng(1)
    base = np.linspace(0.9, 0.7, TASKS)[None] + rng.normal(0, 0.05, (5, 1))
    cbp = {"renewal.name": "cbp"}
    planted(tmp_path / "a", base)
    planted(tmp_path / "b", base + 0.02, **cbp)
    planted(tmp_path / "c", base, **{"optimizer.lr": 0.5})
    planted(tmp_path / "d", base - 0.01, **cbp | {"optimizer.lr": 0.5})
    runs, _ = open_family([tmp_path], "plasticity")
    (name, members), *others = settings(runs, learning.setting)
    assert not others and "tasks.kind=single" in name
    rows = learning.table(members)
    lr = members[0].config["optimizer"]["lr"]
    assert [row["method"] for row in rows] == [
        f"lr={lr}", f"lr={lr}, renewal=cbp", "lr=0.5", "lr=0.5, renewal=cbp",
    ]  # fmt: skip
    assert rows[1]["over_plain"] == pytest.approx(0.02)
    assert rows[3]["over_plain"] == pytest.approx(-0.01)
    assert "over_plain" not in rows[0] and rows[0]["change"] < -0.1
    # The seeds differ by far more than the methods do.
    assert rows[1]["over_plain_half"] < 1e-6 < rows[1]["late_half"]


def losing(rng, early_weight, own_weight, runs=12, seeds=5):
    """Scores that fall late by as much as D, or the score itself, fell early."""
    t = np.linspace(0, 1, TASKS)[None]
    for _ in range(runs):
        d, own = rng.normal(size=(2, seeds, 1))
        early = np.minimum(t / 0.1, 1)
        late = np.maximum((t - 0.3) / 0.7, 0)
        online = 0.9 + 0.05 * own * early + late * (early_weight * d + own_weight * own)
        dimension = 10 + d * early + 0.05 * rng.normal(size=(seeds, TASKS))
        yield online + 0.005 * rng.normal(size=(seeds, TASKS)), dimension


@pytest.mark.parametrize(("d", "own"), [(0.1, 0.0), (0.0, 0.1), (0.0, 0.0)])
def test_an_early_sign_is_told_from_none(tmp_path, d, own):
    rng = np.random.default_rng(2)
    runs = [planted(tmp_path / str(i), *pair) for i, pair in enumerate(losing(rng, d, own))]
    rows = {row["quantity"]: row for row in learning.early_signs(runs)}
    of_d, of_score = rows["dimension"], rows["score"]
    assert (of_d["given_score_low"] > 0.5) == (d > 0)
    assert (of_score["rho_low"] > 0.5) == (own > 0)
    if not d:
        assert of_d["given_score_low"] < 0 < of_d["given_score_high"]
    if not d and not own:
        assert of_score["rho_low"] < 0 < of_score["rho_high"]
    assert "given_score" not in of_score


def test_few_tasks_tell_nothing(tmp_path):
    runs = [planted(tmp_path / str(i), np.ones((2, 10))) for i in range(12)]
    assert learning.early_signs(runs) == []


def test_clones_are_told_from_their_base(tmp_path):
    points = TASKS * PER_TASK // EVERY + 1
    shape = (2, points, 2)
    path = tmp_path / "run"
    more = {
        "probe/cloning_loss": np.broadcast_to(np.linspace(0, 0.5, points)[None, :, None], shape),
        "probe/hard_rank": np.full(shape, 6.0), "probe/x1_hard_rank": np.full(shape, 4.0),
        "scalar/x1_loss": np.full((2, TASKS * PER_TASK), 2.0),
    }  # fmt: skip
    write_run(path, np.ones((2, points)), **more)
    config = tapjax_config.defaults("plasticity")
    config.update(seeds=(0, 1), steps=TASKS * PER_TASK)
    write_json(path / "config.json", json.loads(config.to_json()))
    run = open_run(path)
    drawn = cloning([run], ["a clone"], "planted", tmp_path / "clone.png")
    assert drawn.stat().st_size > 10_000
    found = learning.measure(run)
    assert found["cloning_loss"].tolist() == [0.5, 0.5]
    assert found["x1_loss_late"].tolist() == [2, 2] and found["loss_late"].tolist() == [1, 1]
    assert found["hard_rank_end"].tolist() == [6, 6] and found["x1_hard_rank_end"][0] == 4
