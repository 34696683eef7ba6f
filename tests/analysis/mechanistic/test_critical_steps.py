import numpy as np
import pytest

from analysis import open_run
from analysis.mechanistic import critical_steps, overview
from analysis.runs.reader import RunError
from tapjax.contract import detector
from tests.analysis.made_runs import EVERY, write_run

JUMP = 140


@pytest.fixture
def run(tmp_path):
    """Three seeds, measured every 5 steps; D of seed 1 jumps."""
    rng = np.random.default_rng(0)
    d_SxT = 10 + 0.1 * rng.standard_normal((3, 301))
    d_SxT[1, JUMP:] += 3
    return open_run(write_run(tmp_path / "run", d_SxT, loss_SxT=rng.random((3, 300 * EVERY)) + 1))


def test_a_jump_of_several_layers_is_one_moment(run):
    first, *others = critical_steps.critical_moments(run, 3, 25)
    assert [m.step for m in first] == [JUMP * EVERY - 25, JUMP * EVERY, JUMP * EVERY + 25]
    assert [m.moment_type for m in first] == ["before_jump", "during_jump", "after_jump"]
    assert first[1].jump_info["seed"] == 1
    assert set(first[1].jump_info["layers"]) == {detector.MEAN, "a", "b"}
    assert first[1].experiment == "run"
    steps = [triple[1].step for triple in (first, *others)]
    assert len(steps) <= 3 and (np.diff(np.sort(steps)) > 25).all()


def test_moments_that_are_asked_for(run):
    triples = critical_steps.critical_moments(run, 3, 50, asked=[300])
    assert [triple[1].jump_info["seed"] for triple in triples] == [0, 1, 2]
    triple = triples[0]
    assert [m.step for m in triple] == [250, 300, 350]
    assert triple[0].moment_type == "before_asked"
    with pytest.raises(RunError, match="step 1490 is nearer than 50 steps to an end"):
        critical_steps.critical_moments(run, 3, 50, asked=[1490])


def test_ordinary_pairs_are_as_far_apart_and_do_not_overlap(run):
    pairs = np.array(critical_steps.ordinary_pairs(run, 700, 25))
    assert len(pairs) * 3 <= critical_steps.NULL_PAIRS + 2
    assert (pairs[:, 1] - pairs[:, 0] == 50).all() and (pairs[1:, 0] >= pairs[:-1, 1]).all()
    assert ((pairs[:, 1] <= 675) | (pairs[:, 0] >= 725)).all()
    assert pairs.min() >= 0 and pairs.max() <= 1500


def test_a_plan_names_every_step_that_is_needed(run):
    planned = critical_steps.plan(run, 2)
    assert planned["window"] == 5 * critical_steps.WINDOW
    for moment in planned["moments"]:
        needed = {m["step"] for m in moment["triple"]}
        needed |= {step for pair in moment["null"] for step in pair}
        assert needed <= set(planned["steps"])
    assert planned["steps"] == sorted(planned["steps"])


def test_jumps_close_in_time_are_one_group_led_by_the_strongest():
    found = [{"step": s, "score": score} for s, score in ((100, 1), (110, 3), (300, 2), (120, 1))]
    groups = detector.strongest(found, 5, 15)
    assert [[j["step"] for j in group] for group in groups] == [[110, 100, 120], [300]]
    assert detector.strongest(found, 1, 5)[0][0]["step"] == 110


def test_what_is_not_finite_is_left_out(tmp_path):
    rng = np.random.default_rng(0)
    d_SxT = 10 + 0.1 * rng.standard_normal((2, 301))
    d_SxT[:, JUMP:] += 3
    d_SxT[1, 250] = np.nan
    d_SxT[0, 100:] = np.nan
    run = open_run(write_run(tmp_path / "run", d_SxT))
    assert {(j["seed"], j["step"]) for j in critical_steps.jumps_of_run(run)} == {(1, JUMP * EVERY)}
    assert {row[2] for row in critical_steps.together(run)} <= {
        "a series has values that are not finite",
        "coordination needs 3 layers and 100 measurements",
    }
    found = overview.describe(run)
    assert found["convergence"]["rho"] is None and len(found["jumps"]) > 0
    assert all(row["p"] is None for row in found["coordination"])
