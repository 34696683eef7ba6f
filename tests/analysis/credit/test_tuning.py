import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.credit import tuning

SCORES = arrays(float, st.integers(1, 7), elements=st.floats(-10, 10))


@given(SCORES)
def test_the_expected_best_is_the_mean_over_all_subsets(scores):
    for n, found in enumerate(tuning.expected_best(scores), 1):
        subsets = [max(s) for s in itertools.combinations(scores, n)]
        assert found == pytest.approx(np.mean(subsets), abs=1e-9)


def test_a_run_that_diverged_counts_as_the_worst():
    found = tuning.expected_best([np.nan, 0.2, 0.4])
    np.testing.assert_allclose(found, tuning.expected_best([0.2, 0.2, 0.4]))
    with pytest.raises(ValueError, match="no run has a finite score"):
        tuning.expected_best([np.nan, np.inf])


def test_the_best_run_of_each_method_and_setting():
    rows = [
        {"setting": s, "method": m, "run": f"{s}{m}{i}", "variant": f"lr={i}",
         "gamma": 0.1, "accuracy": a}
        for s in "xy" for m in "pq" for i, a in enumerate((0.1, 0.5, 0.3))
    ]  # fmt: skip
    rows += [{"setting": "x", "method": "unscored", "run": "", "variant": "", "gamma": 0.1}]
    found = tuning.table(rows)
    assert [(row["setting"], row["method"]) for row in found] == [*itertools.product("xy", "pq")]
    assert all(row["variant"] == "lr=1" and row["runs"] == 3 for row in found)
    assert all("best_of_4" not in row for row in found)
    assert found[0]["best_of_1"] == pytest.approx(0.3)
    assert found[0]["best_of_2"] == pytest.approx((0.5 + 0.5 + 0.3) / 3)
