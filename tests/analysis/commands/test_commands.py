"""The analysis commands as a user runs them."""

import json
import subprocess
import sys
import zipfile
from unittest import mock

import numpy as np
import pytest

from analysis import open_run
from analysis.commands import predictor
from analysis.edm.variables import _find
from analysis.runs.importer import import_arrays
from analysis.runs.reader import RunError
from analysis.tap import predict
from analysis.tap.curve_models import MODELS, Axis
from tests.analysis.command import analysis as in_process
from tests.analysis.made_runs import collapse_and_recovery, write_run

T = np.arange(0, 601, 5.0)


def analysis(*args):
    return subprocess.run(
        [sys.executable, "-m", "analysis", *map(str, args)], capture_output=True, text=True
    )


def foreign(path, **changes):
    d = collapse_and_recovery(T)
    s = np.stack([d, d + 1, d + 2], -1)
    arrays = {
        "step": T.astype(int),
        "loss": np.exp(-T / 100),
        "grad_norm": np.ones(len(T)),
        "layer_names": np.array(["a", "b", "logits"]),
        "participation_ratio": s,
        "nuclear_norm_ratio": 2 * s,
        "stable_rank": np.ones_like(s),
    }
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


def test_tap_leaves_tables_and_figures(tmp_path):
    runs = tmp_path / "runs"
    for name, scale in (("one", 1.0), ("two", 1.2)):
        write_run(runs / name, scale * np.stack([collapse_and_recovery(T)] * 2))
    result = analysis("tap", runs, "--out", tmp_path / "out", "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert {row["model"] for row in printed["fits"]} >= {"tap", "two_phase", "logistic"}
    assert {"run", "seed", "r2", "r2_log", "tail_nrmse", "skill_persistence"} <= set(
        printed["fits"][0]
    )
    assert printed == json.loads((tmp_path / "out" / "tap.json").read_text())
    for name in ("tap.csv", "tap_models.csv", "one_dimension.png", "fit_r2.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100


@pytest.mark.fault
def test_what_was_read_in_part_is_said_everywhere(tmp_path):
    for name in ("whole", "broken"):
        write_run(tmp_path / "runs" / name, collapse_and_recovery(T)[None], chunk=100)
    (tmp_path / "runs" / "broken" / "records" / "000000400.npz").unlink()
    args = ("jumps", tmp_path / "runs", f"--out={tmp_path / 'out'}", "--json")
    refused = in_process(*args)
    assert refused.returncode == 2 and "000000500.npz: a gap" in refused.stderr
    result = in_process(*args, "--partial")
    extent = {"broken": "steps 0 to 399 of 600"}
    assert result.returncode == 0 and "partial: broken: steps 0 to 399 of 600" in result.stderr
    assert json.loads(result.stdout)["partial"] == extent
    assert json.loads((tmp_path / "out" / "partial.json").read_text()) == extent
    page = tmp_path / "page.html"
    assert in_process("report", tmp_path / "runs", f"--out={page}", "--partial").returncode == 0
    assert "Read in part: broken, steps 0 to 399 of 600." in page.read_text()


def test_summary_prints_a_table_and_writes_only_when_asked(tmp_path):
    path = write_run(tmp_path / "one", collapse_and_recovery(T)[None])
    result = analysis("summary", path)
    assert result.returncode == 0 and "participation_ratio" not in result.stderr
    assert "one" in result.stdout and "D_min" in result.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one"]
    result = analysis("summary", path, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "summary.csv").exists()


@pytest.mark.parametrize(
    "args,message",
    [
        (["tap", "nowhere"], "not a run directory"),
        (["tap"], "required: runs"),
        (["tpa", "x"], "no command; did you mean 'tap'?"),
        (["import", "nothing.npz", "--out", "o"], "nothing.npz is missing"),
    ],
)
def test_bad_usage_exits_with_2_and_one_line(args, message):
    result = in_process(*args)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


def test_import_recomputes_a_constant_stable_rank(tmp_path):
    remarks = import_arrays(foreign(tmp_path / "a.npz"), tmp_path / "run", head="last")
    assert "recomputed" in remarks[0]
    run = open_run(tmp_path / "run")
    assert run.hidden == [0, 1] and run.model["head"] == "logits"
    d = collapse_and_recovery(T)
    np.testing.assert_allclose(run.dimension()[0], d + 0.5, rtol=1e-6)
    expected = (2 * run.array("probe", "participation_ratio")) ** 2
    expected /= run.array("probe", "participation_ratio")
    np.testing.assert_allclose(run.array("probe", "stable_rank"), expected, rtol=1e-5)


def test_without_a_head_every_layer_counts(tmp_path):
    import_arrays(foreign(tmp_path / "a.npz"), tmp_path / "run")
    assert open_run(tmp_path / "run").hidden == [0, 1, 2]


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"loss": None}, "lacks the array 'loss'"),
        ({"loss": np.ones(3)}, "loss has shape"),
        ({"grad_norm": np.full(len(T), np.nan)}, "not finite"),
        ({"step": np.zeros(len(T), int)}, "increasing"),
        (dict.fromkeys(["participation_ratio", "nuclear_norm_ratio", "stable_rank"]), "no metric"),
    ],
)
def test_malformed_imports_are_refused(tmp_path, changes, message):
    source = foreign(tmp_path / "a.npz", **changes)
    with pytest.raises(RunError, match=message):
        import_arrays(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_import_says_what_it_leaves_out(tmp_path):
    wrong = collapse_and_recovery(T)[:, None] + np.zeros(2)
    remarks = import_arrays(
        foreign(tmp_path / "a.npz", participation_ratio=wrong, stable_rank=None), tmp_path / "run"
    )
    assert remarks == [
        "participation_ratio is left out: its shape is (121, 2), not [T, L] = (121, 3)",
        "D is the mean of nuclear_norm_ratio: there is no usable participation_ratio",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": T + 0.5}, "increasing integers"),
        ({"step": -T[::-1]}, "0 or above"),
        ({"loss": np.full(len(T), "a")}, "not finite numbers"),
        ({"grad_norm": -np.ones(len(T))}, "negative"),
        ({"layer_names": np.array(["a", "a", "b"])}, "different names"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(tmp_path, changes, message):
    with pytest.raises(RunError, match=message):
        import_arrays(foreign(tmp_path / "a.npz", **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_import_refuses_an_unknown_head_and_pickles(tmp_path):
    with pytest.raises(RunError, match="--head=z"):
        import_arrays(foreign(tmp_path / "a.npz"), tmp_path / "run", head="z")
    np.savez(tmp_path / "b.npz", step=np.array([{}], dtype=object))
    with pytest.raises(RunError, match="'step' holds Python objects"):
        import_arrays(tmp_path / "b.npz", tmp_path / "run")


def test_jumps_lists_planted_ones_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    d_SxT = 5 + 0.02 * rng.standard_normal((2, 201))
    d_SxT[1, 120:] += 1
    write_run(tmp_path / "a", d_SxT)
    result = analysis("jumps", tmp_path / "a", f"--out={tmp_path / 'out'}", "--json")
    found = json.loads(result.stdout)["jumps"]
    assert {(jump["seed"], jump["layer"]) for jump in found} == {(1, "mean"), (1, "a"), (1, "b")}
    assert all(abs(jump["step"] - 600) <= 10 for jump in found)
    assert all(jump["size"] == pytest.approx(1, abs=0.05) for jump in found)
    assert (tmp_path / "out" / "jumps.csv").exists()


@pytest.mark.slow
def test_the_detector_is_compared_with_others(tmp_path):
    result = analysis("validate-detector", "--seeds=1", f"--out={tmp_path}", "--json")
    scores = json.loads(result.stdout)["scores"]
    assert {row["detector"] for row in scores} >= {"tapjax", "upward z-score"}
    assert analysis("validate-detector", "--seeds=0").returncode == 2


@pytest.mark.slow
def test_alpha_needs_architectures(tmp_path):
    source = foreign(tmp_path / "a.npz", stable_rank=None)
    import_arrays(source, tmp_path / "run")
    result = analysis("alpha", tmp_path / "run", f"--out={tmp_path / 'out'}")
    assert result.returncode == 2 and "no run could be fitted" in result.stderr
    result = analysis("predictor", tmp_path / "run", f"--out={tmp_path / 'out'}")
    assert result.returncode == 2 and "structure's 'depth'" in result.stderr


@pytest.mark.slow
def test_alpha_and_predictor_of_a_small_calibration(tmp_path):
    names = ("mlp_wide", "mlp_narrow", "mlp_medium", "cnn_deep", "cnn_shallow")
    for i, name in enumerate(names):  # curves that determine alpha: they saturate within the run
        theta = np.log([9.0 + i, 0.015, 8.0 + i, 0.04, 20.0])
        d = np.exp(MODELS["tap_compression"].log_curve(theta, Axis(T, T, T[-1])))
        d = d * (1 + 0.002 * np.random.default_rng(i).standard_normal(len(T)))
        sizes = {"depth": i + 1.0, "width": 8.0 * (5 - i), "num_params": 100.0 + i}
        sizes |= {"connectivity": 3.0 + i, "min_width": 8.0, "max_width": 64.0}
        source = foreign(
            tmp_path / f"{name}.npz",
            stable_rank=None,
            participation_ratio=np.stack([d, d, d], -1),
            arch_name=name,
            **{f"arch_{key}": value for key, value in sizes.items()},
        )
        import_arrays(source, tmp_path / "runs" / name)
    result = analysis("alpha", tmp_path / "runs", f"--out={tmp_path / 'alpha'}", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["architectures"] == 5
    names = {p.name for p in (tmp_path / "alpha").iterdir()}
    assert {"alpha_summary.csv", "alpha_models.json", "phase1_report.md"} <= names
    where = ("predictor", tmp_path / "runs", f"--out={tmp_path / 'out'}", "--json")
    with (
        mock.patch.object(predictor, "LEAST_GROUPS", 2),
        mock.patch.object(predict, "PREDICTORS", ("ridge",)),
    ):
        scored = json.loads(in_process(*where, "--shuffles=2").stdout)
    scores = scored["scores"]
    assert len(scored["examples"]) == 5 * 2 and len(scores) == 2
    assert (tmp_path / "out" / "predictor.png").exists()
    assert all(1 / 3 <= row["skill_p"] <= 1 for row in scores)
    assert (tmp_path / "out" / "skill.png").exists()
    assert in_process(*where, "--shuffles=-1").returncode == 2
    said = "too few to tell: n = 5 architectures with an identified alpha, needs >= 15"
    assert said in (tmp_path / "alpha" / "phase1_report.md").read_text()
    assert json.loads(result.stdout)["notes"] == [said] and "r2_loao" not in result.stdout
    result = analysis("predictor", tmp_path / "runs", f"--out={tmp_path / 'out'}", "--json")
    assert result.returncode == 0, result.stderr
    said = said.replace(" with an identified alpha", "")
    assert json.loads(result.stdout)["notes"] == [said] and "r2" not in result.stdout
    assert (tmp_path / "out" / "predictor.json").exists()


@pytest.mark.slow
def test_monitor_replays_runs(tmp_path):
    t = np.arange(0, 1501, 5.0)
    d = 5 * collapse_and_recovery(t)
    write_run(tmp_path / "a", np.stack([d, np.where(t > 1000, 0.3 * d, d)]))
    result = analysis("monitor", tmp_path / "a", f"--out={tmp_path / 'out'}", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["curves"] == 2 and found["curves_with_a_warning"] == 1
    assert found["warnings_by_kind"]["collapse"] == 1
    assert {warning["seed"] for warning in found["warnings"]} == {1}
    folder = tmp_path / "out" / "a" / "seed_1"
    assert {p.name for p in folder.iterdir()} == {"monitor_state.json", "monitor_visualization.png"}


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.log", b"step,loss\n0,1.0\n", "is a CSV file, not an .npz: read it with pandas"),
        ("a.log", b'{"step": [0, 1]}', "is a JSON file, not an .npz: read it with json.load"),
        (
            "a.log",
            b"\x89HDF\r\n\x1a\n" + bytes(99),
            "is an HDF5 file, not an .npz: read it with h5py",
        ),
        ("a.pkl", b"\x80\x04\x95" + bytes(99), "is a pickle, not an .npz: it is not opened"),
        ("a.npy", None, "is a single .npy array"),
        ("a.pt", ["archive/data.pkl"], "is a PyTorch file, not an .npz: read it with torch.load"),
        ("a.txt", b"hello", "is a text file"),
        ("a.log", b"\xef\xbb\xbfstep,loss\n", "is a CSV file"),  # as Excel writes it
        ("a.log", "step,loss\n".encode("utf-16"), "is a CSV file"),
        ("a.log", "Schritt,Größe\n".encode("latin-1"), "is a CSV file"),
        ("a.feather", b"ARROW1" + bytes(99), "is a Feather file"),
        ("a.safetensors", bytes([8]) + bytes(7) + b'{"a": 1}', "is a safetensors file"),
        ("a.xlsx", ["[Content_Types].xml", "xl/workbook.xml"], "is an Excel file"),
        ("events.tfevents", b"\x18" + bytes(99), "is no .npz file"),
        ("a.zip", ["log.csv"], "is a zip archive without arrays ('log.csv', ...)"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, name, content, what):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, np.ones(3))
    elif isinstance(content, list):
        with zipfile.ZipFile(path, "w") as archive:
            for member in content:
                archive.writestr(member, b"x")
    else:
        path.write_bytes(content)
    result = in_process("import", path, "--out", tmp_path / "run")
    assert result.returncode == 2 and what in result.stderr and "numpy.savez(" in result.stderr
    assert "damaged" not in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_names": np.array([b"a", b"b", b"logits"])}, "save layer_names.astype"),
        ({"layer_names": np.array(["a", "b", "logits"], object)}, "'layer_names' holds Python obj"),
        ({"arch_name": np.array(b"net")}, "arch_name holds byte strings"),
        ({"arch_width": np.array("64")}, "arch_width must be a number, not <U2"),
        (
            dict.fromkeys(
                ("participation_ratio", "nuclear_norm_ratio", "stable_rank"), np.ones((3, len(T)))
            ),
            "save its transpose",
        ),
    ],
)
def test_arrays_of_another_kind_say_how_to_convert(tmp_path, changes, message):
    path = tmp_path / "a.npz"
    arrays = dict(np.load(foreign(tmp_path / "b.npz")))
    np.savez(path, **arrays | changes)
    result = in_process("import", path, "--out", tmp_path / "run")
    assert result.returncode == 2 and message in result.stderr and "damaged" not in result.stderr


def test_names_of_metrics_may_hold_slashes(tmp_path):
    entropy = np.abs(np.random.default_rng(0).normal(size=(len(T), 3)))
    path = foreign(tmp_path / "a.npz", **{"train/entropy": entropy})
    import_arrays(path, tmp_path / "run", head="last")
    run = open_run(tmp_path / "run")
    np.testing.assert_allclose(run.array("probe", "train/entropy")[0], entropy, rtol=1e-6)
    np.testing.assert_allclose(run.dimension("train/entropy")[0], entropy[:, :2].mean(1), rtol=1e-6)
    for name, expected in (("", entropy[:, :2].mean(1)), ("/logits", entropy[:, 2])):
        np.testing.assert_allclose(_find(run, f"train/entropy{name}")[1][0], expected, rtol=1e-6)
