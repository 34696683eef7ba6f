"""Logs of other tools, in the form in which these tools write them."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis import open_run
from analysis.runs.logs import read_log
from tapjax.contract.files import RunError
from tests.analysis.command import analysis
from tests.analysis.made_runs import write_run

LIGHTNING = """epoch,step,train_loss,val_acc
0,49,2.3,
0,99,2.0,
0,99,,0.4
1,149,1.8,
1,199,1.5,
1,199,,0.5
"""
KERAS = """epoch,accuracy,loss,val_accuracy,val_loss
0,0.5,1.0,0.4,1.1
1,0.6,0.8,0.5,0.9
"""
WANDB = """"Step","run-1 - train/loss","run-1 - train/loss__MIN","run-1 - train/loss__MAX"
0,1.0,1.0,1.0
10,0.5,0.5,0.5
"""
RESUMED = """step;loss;grad_norm;note
0;1.0;1;a
10;0.9;1;b
20;0.8;1;c
10;0.7;2;d
20;0.6;2;e
30;;;
"""
LINES = """{"_step": 0, "train": {"loss": 1.0}, "_timestamp": 5.5}
{"_step": 2, "train": {"loss": 0.5}, "_timestamp": 6.5}
"""


@pytest.mark.parametrize(
    ("name", "text", "columns", "remark"),
    [
        ("metrics.csv", LIGHTNING, {"loss": [2.3, 2.0, 1.8, 1.5]}, "train_loss is taken as loss"),
        ("metrics.csv", LIGHTNING, {"eval/accuracy": [None, 0.4, None, 0.5]}, "rows of the same"),
        ("history.csv", KERAS, {"loss": [1, 0.8], "eval/loss": [1.1, 0.9]}, "'epoch'"),
        ("export.csv", WANDB, {"loss": [1, 0.5]}, "'Step'"),
        ("log.csv", RESUMED, {"loss": [1, 0.7, 0.6], "grad_norm": [1, 2, 2]}, "2 steps of log.csv"),
        ("log.csv", RESUMED, {}, "1 row without numbers"),
        ("log.csv", RESUMED, {}, "columns without numbers are left out: note"),
        ("log.jsonl", LINES, {"loss": [1, 0.5]}, "'_step'"),
        ("log.json", json.dumps([{"loss": 1.0}, {"loss": 0.5}]), {"loss": [1, 0.5]}, "from 0"),
        ("log.json", json.dumps({"step": [0, 1], "loss": [1, 0.5]}), {"loss": [1, 0.5]}, ""),
    ],
)
def test_logs_as_other_tools_write_them(tmp_path, name, text, columns, remark):
    (tmp_path / name).write_text(text)
    table, remarks = read_log(tmp_path / name)
    assert table.index.is_monotonic_increasing and table.index.is_unique
    for column, values in columns.items():
        np.testing.assert_allclose(table[column], np.array(values, float))
    assert remark in "; ".join(remarks)


def test_an_export_of_ours_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    write_run(tmp_path / "a", 5 + rng.random((1, 21)), **{"probe/accuracy": rng.random((1, 21))})
    analysis("export", tmp_path / "a", "--to=csv", f"--out={tmp_path}")
    result = analysis("import", tmp_path / "a_probe.csv", f"--out={tmp_path}/b", "--head=head")
    assert result.returncode == 0, result.stderr
    a, b = open_run(tmp_path / "a"), open_run(tmp_path / "b")
    assert b.layer_names == a.layer_names and b.model["head"] == "head"
    np.testing.assert_allclose(b.dimension(), a.dimension(), rtol=1e-6)
    np.testing.assert_array_equal(b.steps("probe"), a.steps("probe"))


def test_groups_of_layers_in_hdf5_and_json(tmp_path):
    """The files of ndt 2.0: one group or list per layer, with the loss in each of them."""
    h5py = pytest.importorskip("h5py")
    rows = {"step": [0, 5], "stable_rank": [2.0, 3.0], "cumulative_90": [4, 5], "loss": [1.0, 0.5]}
    with h5py.File(tmp_path / "log.h5", "w") as file:
        for layer in ("fc1", "fc2"):
            for name, values in rows.items():
                file[f"{layer}/{name}"] = values
    records = pd.DataFrame(rows).to_dict("records")
    (tmp_path / "log.json").write_text(json.dumps({"fc1": records, "fc2": records}))
    for name in ("log.h5", "log.json"):
        out = tmp_path / f"run_{name[-2:]}"
        result = analysis("import", tmp_path / name, f"--out={out}")
        assert result.returncode == 0, result.stderr
        run = open_run(out)
        assert run.layer_names == ["fc1", "fc2"]
        np.testing.assert_array_equal(run.array("probe", "effective_rank_90")[0, :, 1], [4, 5])
        np.testing.assert_array_equal(run.array("scalar", "loss")[0], [1, 0.5])


def test_event_files_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    writer = pytest.importorskip("tensorboardX").SummaryWriter(str(tmp_path))
    for step in range(5):
        writer.add_scalar("train/loss", 1 / (step + 1), step)
    writer.close()
    (path,) = tmp_path.glob("*tfevents*")
    table, _ = read_log(path)
    np.testing.assert_allclose(table["loss"], 1 / np.arange(1, 6), rtol=1e-6)


def test_logs_of_seeds_become_one_run(tmp_path):
    for i in range(3):
        rows = "".join(f"{t},{i + t / 10}\n" for t in range(4 if i else 3))
        (tmp_path / f"{i}.csv").write_text("step,loss\n" + rows)
    files = [tmp_path / f"{i}.csv" for i in range(3)]
    result = analysis("import", *files, f"--out={tmp_path}/run", "--seeds", "--json")
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)["runs"]
    assert "1.csv has 1 step that others lack" in row["remarks"]
    run = open_run(tmp_path / "run")
    assert run.seeds == [0, 1, 2] and not run.diverged
    np.testing.assert_allclose(run.array("scalar", "loss")[:, -1], [0.2, 1.2, 2.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("step,loss\n0.5,1\n", [], "'step' holds steps that are not integers"),
        ("a,b\nx,y\n", [], "holds no numbers"),
        ("step,loss\n0,1\n", ["--step=stpe"], "no column 'stpe'; did you mean 'step'"),
        ("step,loss\n0,1\n", ["--map=los:loss"], "has no column 'los'; did you mean 'loss'"),
        ("step,loss\n0,1\n", ["--map=loss"], "must have the form NAME:ARRAY"),
        ("step,a,b\n0,1,1\n", ["--map=a:loss,b:loss"], "names the array 'loss' twice"),
        ("step,participation_ratio/a\n0,1\n", ["--head=b"], "--head=b is not one of last, none, a"),
    ],
)
def test_unusable_logs_are_refused_in_one_line(tmp_path, text, flags, message):
    (tmp_path / "log.csv").write_text(text)
    result = analysis("import", tmp_path / "log.csv", f"--out={tmp_path}/run", *flags)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_of_spreadsheets(tmp_path, encoding):
    (tmp_path / "log.csv").write_bytes("step;loss;Größe\n0;1;2\n1;0.5;3\n".encode(encoding))
    assert read_log(tmp_path / "log.csv").table["Größe"].tolist() == [2, 3]


@pytest.mark.parametrize("name", ["log.csv", "log.json", "log.jsonl", "log.h5"])
def test_damaged_logs_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\xff{[" * 9)
    with pytest.raises(RunError):
        read_log(tmp_path / name)


def test_a_column_is_suggested_for_the_loss(tmp_path):
    (tmp_path / "log.csv").write_text("step,ce_loss_sum\n0,1\n1,0.5\n")
    result = analysis("import", tmp_path / "log.csv", f"--out={tmp_path}/run", "--json")
    assert "--map=ce_loss_sum:loss" in json.loads(result.stdout)["runs"][0]["remarks"]
    flags = (f"--out={tmp_path}/mapped", "--map=ce_loss_sum:loss")
    assert analysis("import", tmp_path / "log.csv", *flags).returncode == 0
    assert open_run(tmp_path / "mapped").array("scalar", "loss").tolist() == [[1, 0.5]]


DIVERGED = "step,loss\n0,1.0\n1,0.5\n2,nan\n3,nan\n4,nan\n5,inf\n"


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_loss_that_is_logged_as_nan_is_a_divergence(tmp_path, name):
    rows = [line.split(",") for line in DIVERGED.splitlines()[1:]]
    lines = [json.dumps({"step": int(step), "loss": float(loss)}) for step, loss in rows]
    (tmp_path / name).write_text(DIVERGED if name == "log.csv" else "\n".join(lines))
    assert analysis("import", tmp_path / name, f"--out={tmp_path}/run").returncode == 0
    status = json.loads((tmp_path / "run/STATUS.json").read_text())
    assert status["status"] == "DIVERGED" and status["diverged"] == {"0": 2}


def test_seeds_that_were_logged_at_other_steps_are_not_diverged(tmp_path):
    for i, steps in enumerate((range(0, 100, 5), range(0, 100, 10))):
        rows = "".join(f"{t},{i}.5\n" for t in steps)
        (tmp_path / f"{i}.csv").write_text("step,loss\n" + rows)
    files = [tmp_path / f"{i}.csv" for i in range(2)]
    result = analysis("import", *files, f"--out={tmp_path}/run", "--seeds", "--json")
    assert "0.csv has 10 steps that others lack" in result.stdout
    run = open_run(tmp_path / "run")
    assert run.seeds == [0, 1] and run.steps("scalar").tolist() == list(range(0, 100, 10))
    (tmp_path / "2.csv").write_text("step,loss\n1,1\n3,1\n")
    result = analysis("import", *files, tmp_path / "2.csv", f"--out={tmp_path}/x", "--seeds")
    assert result.returncode == 2 and "no step in common" in result.stderr


@pytest.mark.parametrize(
    ("text", "loss", "remark"),
    [
        ('step,loss\n"1,000",0.5\n"2,000",0.25\n', [0.5, 0.25], ""),
        ("step;loss\n0;1,5\n1;0,5\n", [1.5, 0.5], ""),
        ("step, loss\n0, 1\n1, 2\n", [1, 2], ""),
        ("step\tloss\n0\t1\n1\t2\n", [1, 2], ""),
        ("loss\n1.5\n1.2\n", [1.5, 1.2], "rows are numbered from 0"),
        ("step,loss\n0,tensor(0.5)\n1,tensor(0.25)\n", [0.5, 0.25], ""),
        ("# by me\nstep,loss\n0,1\nstep,loss\n1,2\n", [1, 2], ""),
        ("step,loss\n0,1\nx,2\n3,4\n", [1, 4], "1 row without a step in 'step' left out"),
    ],
)
def test_tables_as_people_write_them(tmp_path, text, loss, remark):
    (tmp_path / "log.csv").write_text(text)
    table, remarks = read_log(tmp_path / "log.csv")
    assert remark in "; ".join(remarks)
    np.testing.assert_allclose(table["loss"], loss)


@pytest.mark.parametrize(
    "text",
    [
        "run,step,loss\na,0,1\na,1,1\nb,0,2\nb,1,2\n",
        "step,run-a - loss,run-b - loss\n0,1,2\n1,1,2\n",
    ],
)
def test_several_runs_in_one_file_are_refused(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(RunError, match="holds several runs .* import them with --seeds"):
        read_log(tmp_path / "log.csv")


def test_a_log_that_was_cut_and_one_of_hugging_face(tmp_path):
    (tmp_path / "log.jsonl").write_text(LINES + '{"_step": 3, "tra')
    assert len(read_log(tmp_path / "log.jsonl").table) == 2
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "eval_loss": 3.0}]
    state = {"epoch": 1.0, "log_history": history}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    table, _ = read_log(tmp_path / "trainer_state.json")
    assert table["loss"].tolist() == [2, 1] and table["eval/loss"].tolist()[1] == 3
    (tmp_path / "empty.csv").write_text("\n")
    with pytest.raises(RunError, match="is empty"):
        read_log(tmp_path / "empty.csv")
