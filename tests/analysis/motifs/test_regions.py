import time

import numpy as np
import pytest

from analysis.motifs import regions

pytest.importorskip("skimage", reason="scikit-image is not installed (extra `motifs`)")
CENTRES = np.array([[-5, -5], [-5, 5], [5, -5], [5, 5]])


def blobs(each=700, seed=0):
    z = np.random.default_rng(seed).standard_normal((4, each, 2)) + CENTRES[:, None]
    return z.reshape(-1, 2), np.repeat(range(4), each)


def test_separate_blobs_are_separate_basins_and_soon():
    z, blob = blobs()
    start = time.process_time()
    found = regions.watershed(z, sigma=1.5)
    assert time.process_time() - start < 5  # watershed_line=True would take minutes
    assert found.count == 4
    labels = found.of(z)
    assert (labels > 0).all()
    for i in range(4):
        assert len(set(labels[blob == i])) == 1
    assert len(set(labels)) == 4
    assert found.density.sum() == pytest.approx(1)


def test_the_finer_the_density_the_more_basins():
    found = regions.counts(blobs()[0], fractions=(80, 40, 10))
    assert found[80] > found[40] > found[10] >= 4


def test_points_beyond_the_map_belong_to_the_nearest_basin():
    z, _ = blobs()
    found = regions.watershed(z, sigma=1.5)
    near, far = found.of(np.array([[5.0, 5.0]])), found.of(np.array([[40.0, 40.0]]))
    assert near == far


def test_visits_their_lengths_and_where_they_lead():
    label = np.array([1] * 10 + [2] * 2 + [1] * 6 + [3] * 7 + [1] * 5)
    stay = regions.stays(label)
    np.testing.assert_array_equal(stay[10:12], 0)
    assert {k: v.tolist() for k, v in regions.dwell_times(stay).items()} == {1: [10, 6, 5], 3: [7]}
    moves = regions.moves(stay, 3)
    np.testing.assert_array_equal(moves, [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(regions.moves(np.zeros(4, int), 2), np.zeros((2, 2)))
    np.testing.assert_array_equal(
        regions.transitions(np.array([[0.0, 3, 1], [0, 0, 0], [2, 0, 0]])),
        [[0, 0.75, 0.25], [0, 0, 0], [1, 0, 0]],
    )
