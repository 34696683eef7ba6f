import numpy as np
import pytest

from tapjax.cache import decoded_once

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


def shorten(path):
    path.write_bytes(path.read_bytes()[:-9])


DAMAGE = {
    "another value": lambda folder: np.save(folder / "x.npy", np.arange(1, 4)),
    "another type": lambda folder: np.save(folder / "x.npy", np.arange(3).view(np.uint64)),
    "another shape": lambda folder: np.save(folder / "x.npy", np.arange(3)[None]),
    "cut off": lambda folder: shorten(folder / "x.npy"),
    "empty array": lambda folder: (folder / "x.npy").write_bytes(b""),
    "no array": lambda folder: (folder / "x.npy").unlink(),
    "digests cut off": lambda folder: shorten(folder / "sha256.json"),
    "digests of another kind": lambda folder: (folder / "sha256.json").write_text("[1]"),
    "digests of nothing": lambda folder: (folder / "sha256.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_made_anew(folder, damage, capsys):
    decoded_once("set", lambda: {"x": np.arange(3)})
    DAMAGE[damage](folder / "set")
    again = decoded_once("set", lambda: {"x": np.arange(3)})
    assert again["x"].tolist() == [0, 1, 2] and "set is damaged" in capsys.readouterr().err
    decoded_once("set", lambda: pytest.fail("made anew once already"))


@pytest.mark.parametrize("place", ["/proc/nowhere", None])
def test_without_a_cache_there_is_data_all_the_same(place, monkeypatch, capsys):
    if place:
        monkeypatch.setenv("TAPJAX_CACHE", place)
    else:
        monkeypatch.delenv("TAPJAX_CACHE")
        monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError))
    assert decoded_once("set", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
    assert ("cannot keep it in /proc/nowhere" in capsys.readouterr().err) == bool(place)
