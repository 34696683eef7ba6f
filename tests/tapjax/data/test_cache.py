import contextlib
import os

import jax
import numpy as np
import pytest

from tapjax.data.cache import decoded_once
from tapjax.run.compilation_cache import keep_compiled

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
    assert ("cannot keep data in /proc/nowhere" in capsys.readouterr().err) == bool(place)


@pytest.mark.parametrize(
    "spoil,said",
    [
        (lambda path: path.chmod(0o777), "every user may write in it"),
        (lambda path: os.chown(path, 65534, 65534), "it belongs to another user"),
    ],
)
@pytest.mark.parametrize("place", ["", "data", "xla"])
def test_a_folder_that_others_may_change_is_not_used(place, spoil, said, tmp_path, capsys):
    """Programs in it would be run, and data be believed."""
    if os.getuid() and "another" in said:
        pytest.skip("only root can give a folder away")
    (tmp_path / place).mkdir(exist_ok=True)
    spoil(tmp_path / place)
    if place != "xla":
        assert decoded_once("set", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
        assert f"data ({said})" in capsys.readouterr().err
        assert not list(tmp_path.rglob("x.npy"))
    if place != "data":
        with compilation_cache() as used:
            assert used() is None
        assert f"cannot keep programs in {tmp_path}/xla ({said})" in capsys.readouterr().err


@contextlib.contextmanager
def compilation_cache():
    """Call `keep_compiled` as in a new process: yields the folder that JAX uses, or None."""
    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        keep_compiled()
        yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def test_folders_are_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TAPJAX_CACHE", str(tmp_path / "cache"))
    decoded_once("set", lambda: {"x": np.arange(3)})
    with compilation_cache() as used:
        assert used() == str(tmp_path / "cache" / "xla")
    folders = [tmp_path / "cache" / name for name in ("", "data", "xla")]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_a_folder_of_the_users_own_choice_is_looked_at_too(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine").chmod(0o777)
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    keep_compiled()
    assert jax.config.jax_compilation_cache_dir is None
    assert "every user may write in it" in capsys.readouterr().err
    jax.config.update("jax_compilation_cache_dir", before)
