import os

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import StandardScaler

from tapjax.config import schema
from tapjax.data import datasets
from tapjax.run import assembly


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_digits_are_embedded_and_split_by_class():
    arrays = datasets.load_arrays("digits")
    assert arrays.shape == (8, 8, 1) and arrays.classes == 10
    assert len(arrays.y) + len(arrays.y_test) == 1797
    share = np.bincount(arrays.y_test) / np.bincount(arrays.y)
    assert ((share > 0.22) & (share < 0.28)).all()


def test_digits_are_those_of_scikit_learn():
    arrays, known = datasets.load_arrays("digits"), load_digits()
    rows = np.concatenate([arrays.x, arrays.x_test]).reshape(-1, 64)
    labels = np.concatenate([arrays.y, arrays.y_test])
    both = [
        np.unique(np.column_stack(columns).astype(int), axis=0, return_counts=True)
        for columns in ((rows, labels), (known.data, known.target))
    ]
    np.testing.assert_equal(*both)


def test_subsets_are_fixed_and_stratified():
    one, two = (datasets.load_arrays("digits", train_size=500, test_size=50) for _ in range(2))
    assert datasets.digests(one) == datasets.digests(two)
    assert len(one.y) == 500 and len(one.y_test) == 50
    assert np.ptp(np.bincount(one.y)) <= 4


def test_digests_notice_one_changed_pixel():
    arrays = datasets.load_arrays("digits")
    changed = arrays.x.copy()
    changed[3, 2, 1, 0] ^= 1
    before, after = datasets.digests(arrays), datasets.digests(arrays._replace(x=changed))
    assert [name for name in before if before[name] != after[name]] == ["x"]


def test_npz_of_ones_own(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 2, (100, 6)), rng.integers(0, 3, 100)
    arrays = datasets.load_arrays(save(tmp_path / "a.npz", x=x, y=y))
    assert arrays.shape == (1, 6, 1) and arrays.classes == 3
    assert arrays.mean == 0 and arrays.std == 1  # the table itself is standardised
    arrays = datasets.load_arrays(save(tmp_path / "b.npz", x=x, y=y, x_test=x[:9], y_test=y[:9]))
    assert (len(arrays.y), len(arrays.y_test)) == (100, 9)


@pytest.mark.parametrize(
    "arrays,message",
    [
        ({"x": np.ones((4, 2))}, "no array 'y'"),
        ({"x": np.ones((4, 2)), "y": np.zeros(3, int)}, r"x has shape .4, 2. and y .3,."),
        ({"x": np.ones((4, 2)), "y": np.zeros(4)}, "vector of classes"),
        ({"x": np.full((4, 2), np.nan), "y": np.zeros(4, int)}, "not finite"),
        ({"x": np.ones(4), "y": np.zeros(4, int)}, "must be"),
        ({"x": np.ones((4, 2)), "y": np.zeros(4, int), "x_test": np.ones((4, 2))}, "or neither"),
    ],
)
def test_malformed_npz_is_refused(tmp_path, arrays, message):
    with pytest.raises(datasets.DataError, match=message):
        datasets.load_arrays(save(tmp_path / "a.npz", **arrays))


def test_missing_data_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(datasets.DataError) as caught:
        datasets.load_arrays("fashion_mnits")
    message = str(caught.value)
    for part in ("fashion_mnits", str(tmp_path), "fashion_mnist", "TFDS_DATA_DIR", ".npz"):
        assert part in message
    assert "\n" not in message


def test_files_of_another_kind_are_named(tmp_path):
    table = tmp_path / "wine.csv"
    table.write_text("alcohol,label\n14.2,0\n")
    with pytest.raises(datasets.DataError, match="wine.csv is a CSV file, not an .npz"):
        datasets.load_arrays(str(table))
    save(tmp_path / "a.npz", x=np.ones((30, 2)), y=np.arange(30) % 3)
    with pytest.raises(datasets.DataError, match="rename it to end in .npz"):
        datasets.load_arrays(str((tmp_path / "a.npz").rename(tmp_path / "a.zip")))


def test_sizes_are_at_most_and_it_is_said():
    arrays = datasets.load_arrays("digits", train_size=5000, test_size=300)
    assert len(arrays.y) == len(datasets.load_arrays("digits").y)
    assert arrays.remarks == (
        f"data.train_size=5000: there are {len(arrays.y)} examples, all are taken",
    )
    assert not datasets.load_arrays("digits", train_size=500).remarks


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR names no folder of prepared data"
)
def test_tfds_is_decoded_once_and_verified(tmp_path, monkeypatch):
    if not (datasets.tfds_dir() / "tiny_imagenet").is_dir():
        pytest.skip(f"no tiny_imagenet in {datasets.tfds_dir()}")
    monkeypatch.setenv("TAPJAX_CACHE", str(tmp_path))
    first = datasets.load_arrays("tiny_imagenet")
    assert first.shape == (64, 64, 3) and first.x.dtype == np.uint8
    second = datasets.load_arrays("tiny_imagenet")
    assert datasets.digests(first) == datasets.digests(second)
    (cached,) = (tmp_path / "data").glob("*/y.npy")
    labels = np.load(cached)
    labels[0] += 1
    np.save(cached, labels)
    assert datasets.digests(datasets.load_arrays("tiny_imagenet")) == datasets.digests(first)


def test_images_may_keep_their_pixels(tmp_path):
    raw = datasets.load_arrays("digits", normalised=False)
    assert raw.mean == 0 and raw.std == 16
    x, y = np.zeros((40, 4, 4, 3), np.uint8), np.arange(40) % 2
    path = save(tmp_path / "a.npz", x=x, y=y)
    assert datasets.load_arrays(path, normalised=False).std.tolist() == [255] * 3


def wide_table(n=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)) * [1e-3, 1, 1e4, 1] + [0, 5, 1.7e9, 3]
    x[:, 3] = 0.1  # constant, which a mean of float32 would not find
    return x, np.arange(n) % 2


def test_tables_are_standardised_by_column_with_training_statistics(tmp_path):
    (x, y), (x_test, y_test) = wide_table(), wide_table(60, 1)
    x_test[:, 3] = 7.0
    path = save(tmp_path / "a.npz", x=x, y=y, x_test=x_test, y_test=y_test)
    arrays = datasets.load_arrays(path)
    scaled = StandardScaler().fit(x[:, :3])
    np.testing.assert_allclose(arrays.x[:, 0, :3, 0], scaled.transform(x[:, :3]), atol=1e-5)
    np.testing.assert_allclose(
        arrays.x_test[:, 0, :3, 0], scaled.transform(x_test[:, :3]), atol=1e-5
    )
    assert not arrays.x[:, 0, 3].any() and not arrays.x_test[:, 0, 3].any()
    assert arrays.shape == (1, 4, 1) and arrays.x.dtype == np.float32
    assert any("1 column (3) constant in training" in line for line in arrays.remarks)
    assert any("different ranges in column 3" in line for line in arrays.remarks)
    raw = datasets.load_arrays(path, normalised=False)
    np.testing.assert_array_equal(raw.x[:, 0, :, 0], x.astype(np.float32))
    some = datasets.load_arrays(path, train_size=50)
    assert abs(some.x[:, 0, :3, 0].mean(0)).max() < 1e-5


def test_made_up_tasks_go_in_as_they_are():
    for name in ("teacher:width=8,train=64", "lq:train=64", "bits:inputs=5", "modular:p=31"):
        arrays = datasets.load_arrays(name)
        assert arrays.mean.tolist() == [0] and arrays.std.tolist() == [1] and not arrays.remarks


@pytest.mark.slow
def test_wine_is_learned(tmp_path):
    """Unstandardised, as in the file, the same network stays at .62."""
    x, y = load_wine(return_X_y=True)
    cfg = schema.defaults()
    cfg.data.name, cfg.model.name = save(tmp_path / "wine.npz", x=x, y=y), "mlp:widths=16-16"
    cfg.data.batch_size, cfg.steps, cfg.probe.every = 32, 300, 100
    ready = assembly.assemble(cfg)
    states, _ = ready.programs.train(ready.programs.init(), ready.data, 3)
    assert ready.programs.evaluate(states, ready.data)["accuracy"].mean() > 0.9


@pytest.mark.parametrize(
    ("shape", "layout", "read"),
    [
        ((3, 8, 6), "auto", (8, 6, 3)),
        ((1, 8, 6), "auto", (8, 6, 1)),
        ((8, 6, 3), "auto", (8, 6, 3)),
        ((1, 13, 1), "auto", (1, 13, 1)),
        ((3, 8, 3), "channels_first", (8, 3, 3)),
        ((3, 8, 3), "channels_last", (3, 8, 3)),
        ((5, 8, 6), "channels_first", (8, 6, 5)),
        ((3, 8, 3), "auto", None),
        ((8, 6, 2), "auto", None),
        ((4, 8, 8), "auto", None),
        ((3, 8, 1), "auto", None),
    ],
)
def test_channels_are_where_they_are(tmp_path, shape, layout, read):
    x = np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32)
    path = save(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    if read is None:
        with pytest.raises(datasets.DataError, match="--config.data.layout=channels_last or"):
            datasets.load_arrays(path, layout=layout)
        return
    arrays = datasets.load_arrays(path, layout=layout)
    assert arrays.shape == read
    first = read != shape
    np.testing.assert_array_equal(arrays.x[0], x[0].transpose(1, 2, 0) if first else x[0])
    assert any("[N, C, H, W]" in line for line in arrays.remarks) == (first and layout == "auto")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.eye(3)[np.arange(30) % 3], "one-hot of shape .30, 3.: save y.argmax"),
        ((np.arange(30) % 3)[:, None], "not of shape .30, 1.: save y.ravel"),
        ((np.arange(30) % 3)[:, None, None], "not of shape .30, 1, 1.: save y.ravel"),
        (np.ones((30, 2), int), "not of shape .30, 2."),
        (np.full((30, 2), 0.5), "targets of several classes are not learned"),
        (np.where(np.arange(30) == 3, np.nan, 1.0), "with 1 values that are not finite"),
        (np.arange(30) % 3.0, "not of float64: save y.astype.int."),
        (np.linspace(0, 1, 30), "with fractions"),
        (np.arange(30) % 2 * 2 - 1, "not -1 to 1: save numpy.unique"),
        (np.arange(30) % 2 == 1, "not of bool: save y.astype"),
        (np.array(["cat", "dog"] * 15), "not of <U3: save numpy.unique"),
    ],
)
def test_labels_that_are_no_classes_say_how_to_convert(tmp_path, y, message):
    with pytest.raises(datasets.DataError, match=message) as caught:
        datasets.load_arrays(save(tmp_path / "a.npz", x=np.ones((30, 2)), y=y))
    assert "\n" not in str(caught.value)


def test_gaps_ranges_and_places_are_said(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 255, (60, 4, 4, 3)), 1 + np.arange(60) % 10
    splits = {"x": x, "y": y, "x_test": x[:20] / 255, "y_test": y[:20]}
    gap, ranges = datasets.load_arrays(save(tmp_path / "a.npz", **splits)).remarks
    assert "1 class (0) of 0 to 10 without training example" in gap
    assert "different ranges: mean 12" in ranges and "\n" not in gap + ranges
    table = rng.normal(size=(60, 3))
    table[7, 2] = np.nan
    with pytest.raises(datasets.DataError, match="1 values .* the first at row 7, column 2"):
        datasets.load_arrays(save(tmp_path / "a.npz", x=table, y=y))


@pytest.mark.parametrize("change", [lambda x: (x - 10) / 3, lambda x: x + 5, lambda x: x / 2])
def test_a_split_in_other_units_is_noticed(tmp_path, change):
    x, y = np.random.default_rng(0).normal(10, 3, (90, 5)), np.arange(90) % 3
    path = save(tmp_path / "a.npz", x=x, y=y, x_test=change(x)[:40], y_test=y[:40])
    assert any("different ranges" in line for line in datasets.load_arrays(path).remarks)


def test_alike_splits_call_for_no_remark(tmp_path):
    rng = np.random.default_rng(0)
    rare = save(tmp_path / "rare.npz", x=np.eye(60)[:, :40], y=np.arange(60) % 3)
    assert not any("ranges" in line for line in datasets.load_arrays(rare).remarks)
    for i, x in enumerate((rng.normal(size=(60, 30)), rng.integers(0, 255, (60, 5, 5)))):
        path = save(tmp_path / f"{i}.npz", x=x, y=np.arange(60) % 3)
        assert datasets.load_arrays(path).remarks == ()
