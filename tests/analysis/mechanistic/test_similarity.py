"""Similarity of representations whose truth is known."""

import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes

from analysis.mechanistic.metrics import linear_cka
from analysis.mechanistic.similarity import procrustes, procrustes_form, settled, similarity
from analysis.runs.reader import RunError, open_run
from tapjax.contract.layout import write_npz
from tests.analysis.command import analysis
from tests.analysis.made_runs import collapse_and_recovery, write_run

RNG = np.random.default_rng(0)
STEPS, P = np.arange(0, 600, 60), 40


def rotated(h):
    q, _ = np.linalg.qr(RNG.standard_normal((h.shape[1], h.shape[1])))
    return 3 * h @ q + 1


def planted(path, seeds=3):
    """Layer a is final from step 120, b never before the end; the seeds differ by a rotation."""
    t = np.arange(0, 601, 5.0)
    write_run(path, np.stack([collapse_and_recovery(t)] * seeds))
    first, last = RNG.standard_normal((2, P, 6))
    other = RNG.standard_normal((len(STEPS), P, 6))
    a = [first if step < 120 else last for step in STEPS]
    arrays = {
        "a": np.stack([[rotated(h) for h in a] for _ in range(seeds)]),
        "b": np.stack([[rotated(h) for h in other] for _ in range(seeds)]),
    }
    folder = path / "measures" / "representation"
    folder.mkdir(parents=True)
    write_npz(folder / "000000000.npz", arrays | {"step": STEPS})
    return open_run(path)


@pytest.mark.parametrize("metric", ["cka", "procrustes"])
def test_a_layer_is_final_when_only_rotations_follow(tmp_path, metric):
    run = planted(tmp_path / "run")
    found = similarity(run, metric)
    assert found.names == ("a", "b") and found.steps.tolist() == STEPS.tolist()
    assert settled(found) == [120, None]
    np.testing.assert_allclose(found.seeds, 1, atol=1e-6)
    assert (found.shuffled < 0.75).all()
    np.testing.assert_allclose(found.time[:, 3, 3], 1, atol=1e-6)
    np.testing.assert_allclose(np.diag(found.layers), 1, atol=1e-6)
    if metric == "cka":
        assert np.abs(found.shuffled.mean()) < 0.05 and abs(found.layers[0, 1]) < 0.2


def test_one_seed_and_constant_layers(tmp_path):
    run = planted(tmp_path / "run", seeds=1)
    assert np.isnan(similarity(run).seeds).all()
    constant = np.ones((10, 3))
    assert np.isnan(procrustes_form(constant)).all()
    assert np.isnan(procrustes(procrustes_form(constant), procrustes_form(constant)))
    assert np.isnan(linear_cka(constant, constant))


def test_procrustes_is_that_of_scipy():
    x, y = RNG.standard_normal((2, 30, 5))
    *_, disparity = scipy_procrustes(x, y)
    ours = procrustes(procrustes_form(x), procrustes_form(y))
    np.testing.assert_allclose(1 - ours**2, disparity, rtol=1e-10)


def test_the_command(tmp_path):
    planted(tmp_path / "runs" / "one")
    result = analysis("similarity", tmp_path / "runs", f"--out={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "a is final first, from step 120 (similarity" in said and "seeds agree with 1.00" in said
    for name in ("between_steps", "between_seeds", "between_layers"):
        assert (tmp_path / "out" / "one" / f"{name}.png").stat().st_size > 5000


def test_runs_without_the_measure_say_how_to_make_it(tmp_path):
    t = np.arange(0, 601, 5.0)
    write_run(tmp_path / "run", np.stack([collapse_and_recovery(t)] * 2))
    result = analysis("similarity", tmp_path / "run")
    assert result.returncode == 2
    assert "--measures=representation" in result.stderr and len(result.stderr.splitlines()) == 1
    with pytest.raises(RunError, match="no measure 'representation'"):
        similarity(open_run(tmp_path / "run"))
