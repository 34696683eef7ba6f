import numpy as np
import pytest

from analysis.motifs import maps

pytest.importorskip("openTSNE", reason="openTSNE is not installed (extra `motifs`)")


def states(each=200, seed=0):
    """Shares around three states."""
    rng = np.random.default_rng(seed)
    kinds = 0.2 + 10 * np.eye(3).repeat(5, 1)
    p = (
        rng.dirichlet(np.ones(15), size=(3, each)) * 0.1
        + (kinds / kinds.sum(1, keepdims=True))[:, None]
    )
    p = (p / p.sum(-1, keepdims=True)).reshape(-1, 15)
    return p, np.repeat(range(3), each)


@pytest.fixture(scope="module")
def fitted():
    return maps.fit(states()[0])


def test_states_are_apart_on_the_map(fitted):
    _, kind = states()
    centre = np.array([fitted.place[kind == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(fitted.place[:, None] - centre, axis=-1).argmin(1)
    assert (nearest == kind).mean() > 0.99


def test_training_points_are_put_back_where_they_are(fitted):
    found = maps.place(fitted, fitted.shares)
    apart = np.linalg.norm(fitted.place[:, None] - fitted.place, axis=-1)
    fifth = np.median(np.sort(apart, 1)[:, 5])
    moved = np.linalg.norm(found.place - fitted.place, axis=1)
    assert (moved < fifth).mean() >= 0.95
    assert found.inside.mean() > 0.7


def test_new_points_come_to_their_own_kind_and_the_same_alone(fitted):
    p, kind = states(40, seed=1)
    found = maps.place(fitted, p)
    _, trained = states()
    near = np.linalg.norm(found.place[:, None] - fitted.place, axis=-1).argmin(1)
    assert (trained[near] == kind).mean() > 0.99
    np.testing.assert_allclose(maps.place(fitted, p[7:8]).place[0], found.place[7], atol=1e-9)


def test_the_hull_of_neighbours():
    square = np.array([[[0.0, 0], [1, 0], [1, 1], [0, 1]]])
    assert maps._in_hull(square, np.array([[0.5, 0.4]]))
    assert not maps._in_hull(square, np.array([[1.5, 0.4]]))


def test_too_many_points_are_refused():
    with pytest.raises(ValueError, match="at most 5000"):
        maps.fit(np.ones((5001, 2)))
