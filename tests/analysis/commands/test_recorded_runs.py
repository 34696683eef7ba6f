"""Every analysis takes runs of other loops, whatever of loss and gradient they have recorded."""

import re

import numpy as np
import pytest

from analysis.runs.reader import open_run
from tapjax.live import Recorder
from tests.analysis.command import analysis

D = {"a": 5.0, "b": 6.0}
SCALARS = {"D alone": (), "no loss": ("grad_norm",), "no gradient": ("loss",)}
# Command -> which of the runs it needs something of, and how the refusal begins.
REFUSED = {
    "tap": ({"D alone", "no gradient"}, "has no 'grad_norm'"),
    "emergence": ({"D alone", "no loss"}, "has no capability to test: record the loss"),
    "edm": ({"D alone"}, "has fewer than two of loss, grad_norm, D"),
    "spectra": (set(), ""),
    "motifs": (set(), ""),
    "monitor": (set(), ""),
    "mechanistic": (set(), ""),
    "jumps": (set(), ""),
    "report": (set(), ""),
}


@pytest.fixture(scope="module", params=SCALARS)
def recorded(request, tmp_path_factory):
    """Name of the case and path of a run whose D wanders around a mean."""
    path = tmp_path_factory.mktemp("recorded") / "run"
    rng, d_L = np.random.default_rng(0), np.array(list(D.values()))
    with Recorder(path, quiet=True) as record:
        for step in range(0, 2000, 5):
            d_L = d_L + 0.05 * rng.standard_normal(2) + 0.01 * (7 - d_L)
            record.probe(step, layers=dict(zip(D, d_L, strict=True)))
            known = {
                name: np.exp(-step / 1000) + 0.01 * rng.random() for name in SCALARS[request.param]
            }
            if known:
                record(step, **known)
    return request.param, path


@pytest.mark.long_except(
    "no gradient-", "-tap", "-emergence", "-edm", "-jumps", "-monitor", "-spectra"
)
@pytest.mark.parametrize("command", REFUSED)
def test_what_was_recorded_is_analysed(recorded, command, tmp_path):
    case, path = recorded
    refused, why = REFUSED[command]
    out = tmp_path / ("page.html" if command == "report" else "out")
    result = analysis(command, path, f"--out={out}")
    if case in refused:
        assert result.returncode == 2 and why in result.stderr
    else:
        assert result.returncode == 0, result.stderr
        assert out.exists()


def test_a_pair_of_layers_is_analysed_by_name(recorded, tmp_path):
    _, path = recorded
    result = analysis("edm", path, "--variables=D/a,D/b", f"--out={tmp_path}", "--no-power")
    assert result.returncode == 0, result.stderr


def checkpoints(path, count, changed=None, **about):
    """A run of another program, of which only checkpoints are left."""
    rng = np.random.default_rng(0)
    weights = {name: {"kernel": rng.standard_normal((8, 8))} for name in D}
    x, y = rng.standard_normal((30, 8)), np.arange(30) % 3
    with Recorder(path, quiet=True, **about) as record:
        for step in range(0, 100 * count, 100):
            for own in weights.values():
                own["kernel"] = own["kernel"] + 0.01 * rng.standard_normal((8, 8))
            if step == changed:
                weights["b"]["kernel"][:, 3] = rng.standard_normal(8)
            layers = {"a": x @ weights["a"]["kernel"]}
            layers["b"] = np.maximum(layers["a"], 0) @ weights["b"]["kernel"]
            record.probe(step, layers=layers)
            record.snapshot(step, weights, layers, y)
    return path


def test_a_step_of_checkpoints_is_compared_on_request(tmp_path):
    run = checkpoints(tmp_path / "run", 60, changed=3000)
    result = analysis("mechanistic", run, f"--out={tmp_path}/out", "--at=3000", "--json")
    assert result.returncode == 0, result.stderr
    assert "run at step 3000, seed 0: b, unit 3, changed most" in result.stdout
    assert (
        "no critical step was compared"
        in analysis("mechanistic", run, f"--out={tmp_path}/none", "--json").stdout
    )  # too few measurements for jumps


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("--at=x", "argument --at: invalid steps value: 'x'"),
        ("--at=0", "--at=0: .* has snapshots from step 0 to 4900, and needs one on either side"),
        ("--at=900", "20 snapshots are too few .* with 1 seed, at least 45"),
    ],
)
def test_steps_that_cannot_be_compared_are_refused(tmp_path, at, message):
    run = checkpoints(tmp_path / "run", 20 if at == "--at=900" else 50)
    result = analysis("mechanistic", run, f"--out={tmp_path}/out", at)
    assert "Traceback" not in result.stderr
    assert re.search(message, result.stderr), result.stderr


def test_snapshots_without_any_record_are_told(tmp_path):
    with Recorder(tmp_path, quiet=True) as record:
        record.snapshot(0, {"kernel": np.ones((2, 2))})
    result = analysis("summary", tmp_path)
    assert "holds no records, only snapshots: record at least D" in result.stderr


def test_a_run_without_records_does_not_stop_its_folder(recorded, tmp_path):
    _, path = recorded
    with Recorder(path.parent / "empty", quiet=True) as record:
        record.snapshot(0, {"kernel": np.ones((2, 2))})
    result = analysis("summary", path.parent)
    assert result.returncode == 0 and "empty holds no records" in result.stderr, result.stderr


def test_own_runs_refuse_other_steps(planted_run, tmp_path):
    result = analysis("mechanistic", planted_run, f"--out={tmp_path}", "--at=600")
    assert "tapjax replay --moments --steps" in result.stderr
    assert open_run(planted_run).recorded is False
