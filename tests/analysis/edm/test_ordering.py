"""Which quantities move together: planted leads are found after the correction, nulls are not."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from analysis.edm import ordering
from analysis.runs.quantities import quantities
from analysis.runs.reader import RunError, open_run
from tapjax.contract.layout import write_npz
from tests.analysis.made_runs import EVERY, write_run

SEEDS, POINTS, LAG = 6, 361, 8


def wandering(rng):
    noise = gaussian_filter1d(rng.standard_normal((SEEDS, POINTS + LAG)), 2, axis=1)
    return np.cumsum(noise, 1)


def run_with(path, seed=0, lead=True):
    """A run in which D leads the accuracy by 8 measurements, or in which all are independent."""
    rng = np.random.default_rng(seed)
    source, loss, other = wandering(rng), wandering(rng), wandering(rng)
    noise = 0.1 * np.cumsum(rng.standard_normal((SEEDS, POINTS)), 1)
    accuracy = source[:, :POINTS] + noise if lead else other[:, :POINTS]
    more = {"probe/accuracy": accuracy, "probe/loss": loss[:, :POINTS]}
    write_run(path, 100 + 0.1 * source[:, LAG:], chunk=(POINTS - 1) * EVERY, **more)
    return open_run(path)


def test_a_planted_lead_comes_first(tmp_path):
    rows, _ = ordering.ordering(run_with(tmp_path / "run"), ["loss", "accuracy", "D"])
    first = rows[0]
    assert (first["first"], first["second"], first["verdict"]) == ("D", "accuracy", "leads")
    assert first["q"] <= 0.05 and abs(first["lag"] - LAG * EVERY) <= 2 * EVERY
    assert first["lag_low"] <= LAG * EVERY <= first["lag_high"]


def test_independent_quantities_do_not_move_together(tmp_path):
    claims = 0
    for seed in range(12):
        run = run_with(tmp_path / str(seed), seed, lead=False)
        rows, _ = ordering.ordering(run, ["loss", "accuracy", "D"])
        claims += sum(row["verdict"] != "no evidence" for row in rows)
    assert claims <= 2  # of 36 pairs, corrected within each run


def test_what_is_compared_by_default(tmp_path):
    run = run_with(tmp_path / "run")
    folder = run.path / "measures" / "noise_scale"
    folder.mkdir(parents=True)
    steps = np.arange(POINTS) * EVERY
    values = wandering(np.random.default_rng(9))[:, :POINTS]
    write_npz(folder / "000000000.npz", {"step": steps, "trace": values})
    few = run.path / "measures" / "curvature"
    few.mkdir()
    write_npz(few / "000000000.npz", {"step": steps[:20], "trace": values[:, :20]})
    found, left_out = quantities(open_run(run.path))
    names = ordering.comparable(run, found)
    assert names == ["D", "loss", "accuracy", "grad_norm", "noise_scale/trace"]
    assert {("curvature", "trace"), ("probe", "D")} <= {(q.group, q.name) for q in found}
    layers = next(q for q in found if q.name == "participation_ratio")
    assert layers.parts == ("a", "b", "head") and not left_out


def test_what_cannot_be_compared(tmp_path):
    run = run_with(tmp_path / "run")
    with pytest.raises(RunError, match="fewer than two quantities"):
        ordering.ordering(run, ["D"])
    with pytest.raises(RunError, match="grad_norm: a series never changes"):
        ordering.ordering(run, ["D", "grad_norm"])
    rows, left_out = ordering.ordering(run, ["D", "accuracy", "grad_norm"])
    assert len(rows) == 1 and len(left_out) == 1 and "grad_norm" in left_out[0]
