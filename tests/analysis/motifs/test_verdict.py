import numpy as np
import pytest
from scipy.signal import lfilter

from analysis.motifs import verdict
from analysis.motifs.controls import JUDGES, controls
from analysis.motifs.study import Settings
from tests.analysis.motifs.planted import passing

DWELL = {"measure": "dwell", "p": 1.0}
BEYOND = [{"measure": "separation", "p": 0.05}, DWELL, {"measure": "separation", "p": 0.01}]
NOT = [{"measure": "separation", "p": 0.05}, DWELL, {"measure": "separation", "p": 0.2}]


@pytest.mark.parametrize(
    ("judged", "orders", "said"),
    [
        (BEYOND, [True], "distinct states; in an order that seeds share"),
        (NOT, [True, True], "no states beyond the controls; in an order that seeds share"),
        (BEYOND, [True, False], "distinct states; in no shared order"),
        (BEYOND, [None], "distinct states; order untested: 5 seeds and eight blocks of a run"),
        ([], [False], f"{verdict.UNTESTED}; in no shared order"),
    ],
)
def test_what_is_said(judged, orders, said):
    assert verdict.verdict(judged, orders) == said


def judge(x_SxTxC, repeats):
    pytest.importorskip("openTSNE", reason="openTSNE is not installed (extra `motifs`)")
    pytest.importorskip("skimage", reason="scikit-image is not installed (extra `motifs`)")
    settings = Settings(slowest=30, train=150, every=4, sigma=1 / 20)
    return verdict.judge(list(x_SxTxC), settings, controls("increments", 120), repeats)


@pytest.mark.slow
def test_planted_states_are_beyond_maps_of_controls():
    rows = judge(passing(1, 1500)[0], 2)
    assert [(row["control"], row["measure"]) for row in rows] == [
        (control, measure) for control in JUDGES for measure in ("separation", "dwell")
    ]
    for row in rows[::2]:
        assert row["recorded"] > row["high"] + 0.1 and row["p"] == 1 / 3
    assert rows[1]["recorded"] > 100  # points; planted states last 60 to 160


@pytest.mark.long
def test_noise_has_no_states():
    """Of ten series without states at most two are separated at .1, the least p of 9 maps."""
    found = []
    for seed in range(10):
        noise = np.random.default_rng(seed).standard_normal((1, 1500, 3))
        smooth = lfilter([1], [1, -0.6], noise, axis=1)
        found.append(max(row["p"] for row in judge(smooth, 9)[::2]) <= 0.1)
    assert sum(found) <= 2
