import importlib

import numpy as np
import pandas as pd
import pytest

from analysis import open_run
from analysis.runs import exporter
from tests.analysis.command import analysis
from tests.analysis.made_runs import write_run

T = 11


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "mine"
    rng = np.random.default_rng(0)
    accuracy = np.where(np.arange(T) == 3, np.nan, rng.random((2, T)))
    write_run(path, 5 + rng.random((2, T)), **{"probe/accuracy": accuracy})
    return open_run(path)


def exported(run, form, out):
    pytest.importorskip(exporter.NEEDS.get(form, ("numpy",))[0])
    result = analysis("export", run.path, f"--to={form}", f"--out={out}")
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_hold_every_number(run, tmp_path, form):
    out = exported(run, form, tmp_path)
    for group in ("scalar", "probe"):
        path = out / f"mine_{group}.{form}"
        table = pd.read_csv(path) if form == "csv" else pd.read_parquet(path)
        table = table.set_index(["seed", "step"])
        pd.testing.assert_frame_equal(table, run.to_pandas(group))


def test_netcdf_holds_every_number(run, tmp_path):
    xr = pytest.importorskip("xarray")
    tree = xr.open_datatree(exported(run, "netcdf", tmp_path) / "mine.nc", engine="h5netcdf")
    for name in run.names("probe"):
        np.testing.assert_array_equal(tree["probe"][name], run.array("probe", name))
    assert list(tree["probe"]["layer"].values) == run.layer_names


def test_tensorboard_shows_every_finite_number(run, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = exported(run, "tensorboard", tmp_path)
    for i, seed in enumerate(run.seeds):
        events = reader.EventAccumulator(str(out / f"mine/seed_{seed}")).Reload()
        loss = events.Scalars("scalar/loss")
        assert [event.step for event in loss] == run.steps("scalar").tolist()
        d = events.Scalars("probe/participation_ratio/b")
        wanted = run.array("probe", "participation_ratio")[i, :, 1]
        np.testing.assert_allclose([event.value for event in d], wanted, rtol=1e-6)
        assert len(events.Scalars("probe/accuracy")) == T - 1  # one is not-a-number
    again = analysis("export", run.path, "--to=tensorboard", f"--out={out}")
    assert again.returncode == 2 and "exists already" in again.stderr


@pytest.mark.slow
def test_wandb_needs_no_network(run, tmp_path):
    out = exported(run, "wandb", tmp_path)
    assert len(list(out.glob("wandb/offline-run-*/*.wandb"))) == len(run.seeds)


def test_what_is_missing_is_named(run, tmp_path, monkeypatch):
    result = analysis("export", run.path, "--to=excel", f"--out={tmp_path}")
    assert result.returncode == 2 and "'excel' is not one of csv, parquet" in result.stderr

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(exporter.RunError, match=r"needs pyarrow: pip install 'tapjax\[parquet\]'"):
        exporter.export(run, "parquet", tmp_path)
    assert not list(tmp_path.iterdir())
