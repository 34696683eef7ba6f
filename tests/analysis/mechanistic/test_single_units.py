"""A single unit that moves beyond its layer is found and named; drift alone is not."""

import numpy as np
import pytest

from analysis.mechanistic import changes, single_units
from launch.benchmarks.validity.mechanistic import drifting, judged

STEPS = np.linspace(200, 2000, 40)


def layer(rng, width):
    habit = np.exp(0.4 * rng.standard_normal(width))
    return 0.02 * habit * np.exp(0.2 * rng.standard_normal((41, width)))


@pytest.mark.parametrize("width", [64, 16, 4, 2])
def test_the_unit_that_moved_by_a_tenth_is_named(width):
    moved = layer(np.random.default_rng(width), width)
    moved[0, 1] = np.hypot(moved[0, 1], 0.1)
    z_U = single_units.unit_z(moved[0], 1000, moved[1:], STEPS)
    top, top_N = single_units.largest(moved[0], 1000, moved[1:], STEPS)
    assert z_U.argmax() == 1 and top > top_N.max()


def test_a_dead_unit_and_a_layer_of_one_unit_are_no_findings():
    moved = layer(np.random.default_rng(0), 8)
    moved[:, 2], moved[:, 3] = np.nan, 0.0  # no weights; weights that rest
    assert 2 not in single_units.live(moved) and 3 in single_units.live(moved)
    top, top_N = single_units.largest(moved[0], 1000, moved[1:], STEPS)
    assert np.isfinite(top) and np.isfinite(top_N).all() and top < 4
    top, top_N = single_units.largest(moved[0, :1], 1000, moved[1:, :1], STEPS)
    assert top == 0 and not top_N.any()


def test_a_layer_that_moves_as_a_whole_names_no_unit():
    moved = layer(np.random.default_rng(1), 32)
    moved[0] *= 3
    assert single_units.largest(moved[0], 1000, moved[1:], STEPS)[0] < 3


def test_through_the_correction_over_all_quantities():
    found = [judged(drifting(np.random.default_rng(i)), planted=5) for i in range(4)]
    assert all(p <= changes.ALPHA and named for p, named in found)
    assert sum(judged(drifting(np.random.default_rng(i)))[0] <= 0.05 for i in range(6)) <= 1
