import numpy as np
import pytest

from analysis import open_run
from tapjax.contract.files import RunError
from tests.analysis.made_runs import write_run

T = 41


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "a <run>"
    rng = np.random.default_rng(0)
    more = {
        "probe/train/x": rng.random((2, T)),
        "probe/class_accuracy": rng.random((2, T, 5)),
        "probe/accuracy": rng.random((2, T)),
    }
    write_run(path, 5 + rng.random((2, T)), chunk=50, **more)
    return open_run(path)


def test_a_run_is_described(run):
    said = repr(run)
    assert "toy on planted" in said and "DONE at step 200" in said and "seeds    0, 1" in said
    assert "participation_ratio" in said and "a, b, head" in said
    assert "a &lt;run&gt;" in run._repr_html_() and "<run>" not in run._repr_html_()


def test_a_table_has_one_row_per_seed_and_step(run):
    table = run.to_pandas("probe")
    assert table.index.names == ["seed", "step"] and len(table) == 2 * T
    for i, layer in enumerate(run.layer_names):
        column = table[f"participation_ratio/{layer}"].to_numpy().reshape(2, T)
        np.testing.assert_array_equal(column, run.array("probe", "participation_ratio")[:, :, i])
    assert table.loc[(1, 50), "class_accuracy/3"] == run.array("probe", "class_accuracy")[1, 10, 3]
    assert list(run.to_pandas("scalar")) == ["grad_norm", "loss"]
    with pytest.raises(RunError, match="has no eval arrays"):
        run.to_pandas("eval")
    with pytest.raises(RunError, match="'probes' is not one of scalar, probe, eval"):
        run.to_pandas("probes")


def test_an_xarray_tree_reads_an_array_when_it_is_used(run, monkeypatch):
    pytest.importorskip("xarray")
    read = []
    array = type(run).array
    noted = lambda self, *names: read.append(names) or array(self, *names)  # noqa: E731
    monkeypatch.setattr(type(run), "array", noted)
    tree = run.to_xarray()
    assert not read and set(tree.children) == {"scalar", "probe"}
    d = tree["probe"]["participation_ratio"]
    assert d.dims == ("seed", "step", "layer")
    assert d.sel(seed=1, step=50, layer="b").item() == run.array("probe", d.name)[1, 10, 1]
    assert d.isel(step=slice(2, 9, 3), seed=[0]).shape == (1, 3, 3)
    assert {names[1] for names in read} == {"participation_ratio"}  # and nothing else so far
    assert tree["probe"]["class_accuracy"].dims == ("seed", "step", "class_accuracy_index")
    np.testing.assert_array_equal(tree["probe"]["train.x"], run.array("probe", "train/x"))
    assert tree["scalar"]["loss"].mean("step").shape == (2,)


def test_a_figure_shows_what_was_recorded(run):
    figure = run.plot()
    assert [axis.get_ylabel() for axis in figure.axes] == ["D", "loss", "accuracy"]
    assert all(len(axis.lines) == 2 for axis in figure.axes)
    with pytest.raises(RunError, match="has none of nothing"):
        run.plot(["nothing"])
