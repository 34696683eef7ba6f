import numpy as np
import pytest

from analysis import open_run
from analysis.figures import course
from analysis.figures.course import Curve, Curves
from analysis.report import sentences
from tests.analysis.made_runs import write_run

T = np.arange(0, 101, 10)


def curves(d, accuracy=None, name="a"):
    d = np.asarray(d, float)
    loss = Curve(T, T + 1.0, T, T)
    return Curves(name, {"D": Curve(T[: len(d)], d, d, d), "loss": loss}, ((), {}), [], accuracy)


@pytest.mark.parametrize(
    ("d", "said"),
    [
        (
            [10, 4, 6],
            "D falls from 10.00 to 4.00 (40%) by step 10, and ends at 6.00 at step 20",
        ),
        ([10, 6, 4], "D falls from 10.00 to 4.00 (40%) by step 20;"),
        ([4, 5, 6], "D rises, from 4.00 to 6.00 at step 20"),
        ([5, 5.05, 4.95], "D stays near its initial value, from 5.00 to 4.95 at step 20"),
    ],
)
def test_the_course_of_d_is_told(d, said):
    (line,) = sentences.what_happened([curves(d, 0.5)])
    assert line.startswith("a: ") and said in line
    assert line.endswith("the final test accuracy is 0.500.")
    (line,) = sentences.what_happened([curves(d)])
    assert line.endswith("the final training loss is 101.")


def test_many_runs_are_told_together():
    runs = [curves([10, 2 + i, 8], 0.1 * i) for i in range(7)] + [curves([1, 2, 3], 0.9)]
    lines = sentences.what_happened(runs)
    assert lines == [
        "D falls below its initial value in 7 of 8 runs, in the median of these to 0.50 of it by "
        "step 10. In the median run it ends at 0.80 of its initial value.",
        "The final test accuracy is 0.000 to 0.900.",
    ]


def test_what_was_run_is_said_in_words(tmp_path):
    paths = [write_run(tmp_path / name, np.ones((n, 11))) for name, n in (("a", 1), ("b", 3))]
    lines = sentences.what_was_run([open_run(path) for path in paths])
    assert lines == [
        "2 runs: toy on planted; 1 to 3 seeds per run, 50 steps.",
        "D is the participation ratio of the activations, averaged over the hidden layers, "
        "measured every 5 steps.",
        "SYNTHETIC data: 2 runs.",
    ]


def test_a_peak_is_no_stay_and_gaps_are_left_out(tmp_path):
    (line,) = sentences.what_happened([curves([10, 30, 10])])
    assert "D rises from 10.00 to 30.00 at step 10, and returns to 10.00 at step 20" in line
    d = np.ones((2, 11))
    d[:, :] = np.linspace(50, 10, 11)
    d[1, 4] = np.nan
    (line,) = sentences.what_happened([course.read(open_run(write_run(tmp_path / "gap", d)))])
    assert "D falls from 50.00 to 10.00 (20%) by step 50" in line


def test_the_last_point_is_kept_when_a_series_is_thinned(tmp_path):
    t = np.arange(0, 10_001, 5.0)
    run = course.read(open_run(write_run(tmp_path / "long", 5 + t[None] / 1e4)))
    assert run.quantities["D"].step[-1] == 10_000
    assert len(run.quantities["D"].step) <= course.MOST_POINTS
