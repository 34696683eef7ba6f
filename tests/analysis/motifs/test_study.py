import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from analysis.motifs.controls import controls
from analysis.motifs.stages import evidence_of_order
from analysis.motifs.study import Settings, choose, mapped, summary
from tests.analysis.motifs.planted import passing

pytest.importorskip("openTSNE", reason="openTSNE is not installed (extra `motifs`)")
pytest.importorskip("skimage", reason="scikit-image is not installed (extra `motifs`)")

SETTINGS = Settings(slowest=30, train=600, every=2, sigma=1 / 20)


@pytest.fixture(scope="module")
def planted():
    x, states = passing()
    return mapped(list(x), SETTINGS), states


@pytest.fixture(scope="module")
def control():
    rng = np.random.default_rng(1)
    return mapped(
        [controls("increments", 120)["random phases"](x, rng) for x in passing()[0]], SETTINGS
    )


@pytest.mark.slow
def test_planted_states_are_found_in_both_series(planted):
    found, states = planted
    for i in range(2):
        assert adjusted_mutual_info_score(states[i][found.index[i]], found.label[i]) > 0.6
    # One joint map: a state is the same basins in either series.
    basins = [set(found.label[i][states[i][found.index[i]] == 0]) for i in range(2)]
    assert len(basins[0] & basins[1]) >= 1


@pytest.mark.slow
def test_they_are_not_in_surrogates_of_the_same_spectrum(planted, control):
    _, states = planted
    for i in range(2):
        assert adjusted_mutual_info_score(states[i][control.index[i]], control.label[i]) < 0.3


def test_a_summary_is_of_all_series(planted):
    found = summary(planted[0], SETTINGS)
    assert 0.5 < found["fidelity"] <= 1 and 0.7 < found["inside"] <= 1
    assert 3 <= found["hold_90"] <= found["states"]
    assert sum(row["share"] for row in found["by_state"]) == pytest.approx(
        np.mean(found["series"]["occupied"])
    )
    moves = np.array(found["transitions"])
    assert moves.shape == (found["states"],) * 2 and (np.diagonal(moves) == 0).all()


def test_points_near_the_ends_are_left_out(planted):
    found, _ = planted
    assert found.index[0][0] > 0 and found.index[0][-1] < 1999
    assert set(np.diff(found.index[0])) == {2}


def test_series_of_different_lengths_share_a_map():
    x, _ = passing(points=700)
    found = mapped([x[0], x[1, :500]], SETTINGS._replace(train=200))
    assert [len(p) for p in found.place] == [len(i) for i in found.index]
    assert len(found.index[1]) < len(found.index[0])


def test_too_short_a_series_is_refused():
    x, _ = passing(points=150)
    with pytest.raises(ValueError, match="at least 200 are needed"):
        mapped(list(x), SETTINGS)


def test_rare_states_are_among_the_training_points():
    rng = np.random.default_rng(0)
    kinds = np.r_[np.zeros(970, int), np.ones(30, int)]
    p = rng.dirichlet(np.ones(8), len(kinds)) * 0.2
    p[np.arange(len(kinds)), kinds] += 1
    picked = choose(p / p.sum(1, keepdims=True), 100)
    assert len(set(picked)) == 100
    assert 1 <= (kinds[picked] == 1).sum() <= 30


def test_stages_that_seeds_share_and_stages_that_they_do_not():
    """Passing once through 0, 1, 2 at the same times; at each seed's own; and without order."""
    shared = 1 + np.repeat([[0, 1, 2]], 400, axis=1).repeat(5, 0)
    found = evidence_of_order(shared, 3, 60, shuffles=199)
    assert found["ordered"] and found["agreement"] > 0.3
    rng = np.random.default_rng(0)
    apart = np.stack([np.roll(row, rng.integers(1200)) for row in shared])
    assert not evidence_of_order(apart, 3, 60, shuffles=199)["ordered"]
    four = evidence_of_order(shared[:4], 3, 60, shuffles=199)
    assert four["agreement_p"] <= 0.05 and four["ordered"] is None
    assert evidence_of_order(shared[:1], 3, 60, shuffles=199)["agreement"] is None
    few = evidence_of_order(shared, 3, 200)
    assert few["contiguity"] is None and few["ordered"] is None


@pytest.mark.slow
def test_states_without_order_make_no_stages():
    """Recurring states: contiguity is claimed no more often than its p allows."""
    p = []
    for seed in range(20):
        _, states = passing(5, 3000, seed=seed)
        found = evidence_of_order(states + 1, 3, 150, shuffles=99)
        p.append(found["contiguity_p"])
        assert not found["ordered"] or found["agreement_p"] <= 0.05
    assert np.mean(np.array(p) <= 0.05) <= 0.2


def test_transitions_are_of_the_series_that_leave(planted):
    moved = np.array(summary(planted[0], SETTINGS)["transitions"])
    total = moved.sum(1)
    np.testing.assert_allclose(total[total > 0], 1)
