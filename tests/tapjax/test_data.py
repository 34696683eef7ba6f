import os

import numpy as np
import pytest

from tapjax import data


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_digits_are_embedded_and_split_by_class():
    arrays = data.load_arrays("digits")
    assert arrays.shape == (8, 8, 1) and arrays.classes == 10
    assert len(arrays.y) + len(arrays.y_test) == 1797
    share = np.bincount(arrays.y_test) / np.bincount(arrays.y)
    assert ((share > 0.22) & (share < 0.28)).all()


def test_subsets_are_fixed_and_stratified():
    one, two = (data.load_arrays("digits", train_size=500, test_size=50) for _ in range(2))
    assert data.digests(one) == data.digests(two)
    assert len(one.y) == 500 and len(one.y_test) == 50
    assert np.ptp(np.bincount(one.y)) <= 4


def test_digests_notice_one_changed_pixel():
    arrays = data.load_arrays("digits")
    changed = arrays.x.copy()
    changed[3, 2, 1, 0] ^= 1
    before, after = data.digests(arrays), data.digests(arrays._replace(x=changed))
    assert [name for name in before if before[name] != after[name]] == ["x"]


def test_npz_of_ones_own(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 2, (100, 6)), rng.integers(0, 3, 100)
    arrays = data.load_arrays(save(tmp_path / "a.npz", x=x, y=y))
    assert arrays.shape == (1, 6, 1) and arrays.classes == 3
    assert arrays.mean == pytest.approx(5, abs=0.3) and arrays.std == pytest.approx(2, abs=0.3)
    arrays = data.load_arrays(save(tmp_path / "b.npz", x=x, y=y, x_test=x[:9], y_test=y[:9]))
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
    with pytest.raises(data.DataError, match=message):
        data.load_arrays(save(tmp_path / "a.npz", **arrays))


def test_missing_data_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(data.DataError) as caught:
        data.load_arrays("fashion_mnits")
    message = str(caught.value)
    for part in ("fashion_mnits", str(tmp_path), "fashion_mnist", "TFDS_DATA_DIR", ".npz"):
        assert part in message
    assert "\n" not in message


def test_too_large_a_subset_is_refused():
    with pytest.raises(data.DataError, match="data.train_size=5000"):
        data.load_arrays("digits", train_size=5000)


@pytest.mark.skipif(
    not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR names no folder of prepared data"
)
def test_tfds_is_decoded_once_and_verified(tmp_path, monkeypatch):
    if not (data.tfds_dir() / "tiny_imagenet").is_dir():
        pytest.skip(f"no tiny_imagenet in {data.tfds_dir()}")
    monkeypatch.setenv("TAPJAX_CACHE", str(tmp_path))
    first = data.load_arrays("tiny_imagenet")
    assert first.shape == (64, 64, 3) and first.x.dtype == np.uint8
    second = data.load_arrays("tiny_imagenet")
    assert data.digests(first) == data.digests(second)
    (cached,) = (tmp_path / "data").glob("*/y.npy")
    labels = np.load(cached)
    labels[0] += 1
    np.save(cached, labels)
    with pytest.raises(data.DataError, match="damaged"):
        data.load_arrays("tiny_imagenet")


def test_images_may_keep_their_pixels(tmp_path):
    raw = data.load_arrays("digits", normalised=False)
    assert raw.mean == 0 and raw.std == 16
    x, y = np.zeros((40, 4, 4, 3), np.uint8), np.arange(40) % 2
    path = save(tmp_path / "a.npz", x=x, y=y)
    assert data.load_arrays(path, normalised=False).std.tolist() == [255] * 3
