"""Which quantities move together: planted leads are found after the correction, nulls are not."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from analysis.edm import ordering
from analysis.edm.variables import variables
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


def test_measures_of_different_periods_share_the_coarser_steps(tmp_path):
    """The same walk, stored every 5 and every 20 steps: neither leads the other."""
    run = run_with(tmp_path / "run")
    steps = np.arange(POINTS) * EVERY
    for seed in range(4):
        walk = wandering(np.random.default_rng(seed))[:, :POINTS]
        for name, every in (("aa", 4), ("zz", 1)):
            folder = run.path / "measures" / name
            folder.mkdir(parents=True, exist_ok=True)
            arrays = {"step": steps[::every], "x": walk[:, ::every]}
            write_npz(folder / "000000000.npz", arrays)
        at, series = variables(open_run(run.path), ["aa/x", "zz/x"])
        assert at.tolist() == steps[::4].tolist()
        assert np.corrcoef(series["aa/x"].ravel(), series["zz/x"].ravel())[0, 1] > 0.99
        rows, _ = ordering.ordering(open_run(run.path), ["aa/x", "zz/x"])
        assert rows[0]["verdict"] in ("simultaneous", "no evidence"), rows
    folder = run.path / "measures" / "late"
    folder.mkdir()
    write_npz(folder / "000000000.npz", {"step": steps[200:], "x": walk[:, 200:]})
    at, _ = variables(open_run(run.path), ["late/x", "zz/x", "loss"])
    assert at[0] == steps[200] and len(at) == POINTS - 200


def test_unevenly_measured_quantities_are_left_out(tmp_path):
    run = run_with(tmp_path / "run")
    folder = run.path / "measures" / "m"
    folder.mkdir(parents=True)
    steps = np.unique(np.append(np.arange(POINTS) * EVERY, 7))
    walk = wandering(np.random.default_rng(0))
    write_npz(folder / "000000000.npz", {"step": steps, "x": walk[:, : len(steps)]})
    found, _ = quantities(open_run(run.path))
    assert "m/x" not in ordering.comparable(run, found)
