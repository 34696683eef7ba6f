import numpy as np

from analysis.motifs import stages


def test_occupancy_counts_only_states():
    found = stages.occupancy([1, 1, 2, 0, 0, 2, 2, 2], 2, 3)
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3, 0], [0, 1, 0]])
    np.testing.assert_array_equal(stages.occupancy([0, 0], 1, 2), [[0, 0]])


def test_a_map_that_shows_nothing_but_the_epoch():
    step = np.arange(3000)
    rng = np.random.default_rng(0)
    by_epoch = np.tile(1 + (step % 100 >= 50), (2, 1))
    found = stages.epoch_information(by_epoch, step, 100, shuffles=99)
    assert found["bits"] > 0.9 and found["p"] == 0.01
    # States of about the same length that keep to no epoch.
    free = 1 + (np.repeat(rng.integers(0, 2, (2, 60)), rng.integers(30, 70, 60), axis=1) > 0)
    found = stages.epoch_information(free[:, : len(step)], step[: free.shape[1]], 100, shuffles=99)
    assert found["p"] > 0.05 and found["bits"] < 0.1
    assert stages.epoch_information(by_epoch[:, :150], step[:150], 100)["p"] is None
