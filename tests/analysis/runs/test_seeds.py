"""Statistics over seeds."""

import numpy as np
import pytest

from analysis.runs import seeds


def test_an_interval_is_that_of_students_t():
    mean, half = seeds.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)
    assert np.isnan(seeds.interval([1.0])[1])
