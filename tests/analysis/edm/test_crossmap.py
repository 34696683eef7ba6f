"""Cross mapping: known couplings, nulls, and one answer from every path."""

import numpy as np
import pytest

from analysis import edm
from analysis.edm import crossmap, scan
from analysis.edm.coupled_maps import coupled_maps

SIZES = [20, 100, 990]


@pytest.mark.parametrize(
    ("x_by_y", "y_by_x", "x_drives_y", "y_drives_x"),
    [(0.02, 0.1, 0.981, 0.703), (0.0, 0.1, 0.972, -0.083)],
)
def test_directions_of_coupled_maps(x_by_y, y_by_x, x_drives_y, y_drives_x):
    x, y = coupled_maps(1000, x_by_y, y_by_x)
    found = edm.ccm(x, y, dimension=2, sizes=SIZES, samples=30)
    assert found.x_drives_y.mean[0, -1] == pytest.approx(x_drives_y, abs=0.01)
    assert found.y_drives_x.mean[0, -1] == pytest.approx(y_drives_x, abs=0.02)
    assert (np.diff(found.x_drives_y.mean[0]) > 0.1).all()


def test_synchrony_is_a_trap():
    """Strongly driven, the states of x seem to know y, which has no effect on x."""
    x, y = coupled_maps(1000, 0.0, 0.32)
    found = edm.ccm(x, y, dimension=2, sizes=SIZES)
    assert found.x_drives_y.mean[0, -1] > 0.97
    assert 0.3 < found.y_drives_x.mean[0, 0] < found.y_drives_x.mean[0, -1]


def test_independent_autoregressions_are_not_linked():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 1000))
    x = np.zeros((2, 1000))
    for t in range(1, 1000):
        x[:, t] = 0.9 * x[:, t - 1] + noise[:, t]
    found = edm.ccm(*x, dimension=3, theiler=20)
    assert max(abs(found.x_drives_y.mean[0, -1]), abs(found.y_drives_x.mean[0, -1])) < 0.2


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("theiler", [0, 7])
@pytest.mark.parametrize("listed", [30, 400])
def test_every_path_gives_the_same(rounded, theiler, listed, monkeypatch):
    """Walked along lists or swept, compiled or not; short lists leave some states to a search."""
    x, y = coupled_maps(300, 0.02, 0.1, noise=0.01)
    x, y = (x.round(1), y.round(1)) if rounded else (x, y)
    monkeypatch.setattr(crossmap, "LISTED", listed)
    if scan.AVAILABLE:
        monkeypatch.setattr("analysis.edm.kernels.WORD", 4)
    settings = {"dimension": 3, "theiler": theiler, "sizes": [20, 60, 290], "samples": 5}
    found = edm.ccm(x, y, **settings)
    monkeypatch.setattr(scan, "AVAILABLE", False)
    slow = edm.ccm(x, y, **settings)
    for a, b in zip(found, slow, strict=True):
        np.testing.assert_allclose(a.rho, b.rho, atol=1e-12)


def test_compiled_by_numba():
    pytest.importorskip("numba", reason="numba is not installed (extra `edm`)")
    assert scan.AVAILABLE


def test_many_targets_are_estimated_like_one():
    x, y = coupled_maps(300, 0.02, 0.1, noise=0.01)
    both = np.stack([x, y], 1)
    together = edm.cross_map(x, both, dimension=2, sizes=[30, 200], seed=5)
    alone = edm.cross_map(x, y, dimension=2, sizes=[30, 200], seed=5)
    np.testing.assert_allclose(together.rho[1], alone.rho[0], atol=1e-13)
    matrix = edm.cross_maps(both, dimensions=[2, 3], sizes=[30, 200], samples=4)
    assert matrix.shape == (2, 2, 2, 4)
    assert (matrix[0, 0] > 0.8).all()


def test_libraries_do_not_depend_on_each_other():
    one = crossmap.random_libraries(100, [10, 20], 3, seed=1)
    more = crossmap.random_libraries(100, [10, 20, 40], 3, seed=1)
    np.testing.assert_array_equal(one[1], more[1])
    assert all(len(set(row)) == 20 for row in one[1])


def test_constant_series_have_no_skill():
    x = np.random.default_rng(0).standard_normal(100)
    found = edm.cross_map(x, np.ones(100), dimension=2)
    assert np.isnan(found.rho).all()


def test_sizes_must_fit():
    x = np.random.default_rng(0).standard_normal(100)
    with pytest.raises(ValueError, match="library sizes"):
        edm.cross_map(x, x, dimension=2, sizes=[3, 50])
    with pytest.raises(ValueError, match="too few for 3 neighbours"):
        edm.cross_map(x[:10], x[:10], dimension=2, theiler=5)
