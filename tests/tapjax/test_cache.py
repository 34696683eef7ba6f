import numpy as np
import pytest

from tapjax.cache import CacheError, decoded_once

pytestmark = pytest.mark.usefixtures("full_compile")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TAPJAX_CACHE", str(tmp_path))
    return tmp_path / "data"


def test_what_is_cached_is_not_decoded_again(folder):
    arrays = {"x": np.arange(6).reshape(2, 3), "y": np.ones(2, np.uint8)}
    first = decoded_once("set", lambda: arrays)
    second = decoded_once("set", lambda: pytest.fail("decoded twice"))
    for name, array in arrays.items():
        np.testing.assert_array_equal(first[name], array)
        np.testing.assert_array_equal(second[name], array)
        assert second[name].dtype == array.dtype
    assert [p.name for p in folder.iterdir()] == ["set"]


def test_a_failed_decoding_leaves_nothing(folder):
    with pytest.raises(ZeroDivisionError):
        decoded_once("set", lambda: {"x": np.ones(1 // 0)})
    assert not list(folder.glob("*"))


def test_damage_is_noticed_and_the_way_out_named(folder):
    decoded_once("set", lambda: {"x": np.arange(3)})
    np.save(folder / "set" / "x.npy", np.arange(1, 4))
    with pytest.raises(CacheError, match="damaged: delete .*set"):
        decoded_once("set", lambda: pytest.fail("not asked for"))
