"""Functions for the user's cache folder and the decoded data sets in it.

A data set is written completely or not at all. It is verified when it is read, and a damaged one is
decoded again.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tapjax.contract.layout import replace_file, write_json

DIGESTS = "sha256.json"  # file with the digests of dtype, shape and bytes


def cache_dir() -> Path | None:
    """Return the user's cache folder.

    Returns:
      `TAPJAX_CACHE` or ~/.cache/tapjax; None if the user has no home folder.
    """
    given = os.environ.get("TAPJAX_CACHE")
    try:
        return Path(given).expanduser() if given else Path.home() / ".cache" / "tapjax"
    except RuntimeError:
        return None


def private_folder(folder: Path) -> Path:
    """Make a folder that belongs to this user and is not writable for every user.

    Args:
      folder: path of the folder. It is made with its parents if it does not exist.

    Returns:
      The path.

    Raises:
      OSError: if the folder cannot be made, belongs to another user, or every user may write in it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "it belongs to another user")
    if found.st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EPERM, "every user may write in it")
    return folder


def decoded_once(name: str, decode: Callable[[], dict]) -> dict[str, np.ndarray]:
    """Return arrays from the cache, or make them and store them in the cache.

    A damaged cache entry is made again. If the cache cannot be written, the arrays are returned
    without being stored. Both cases are reported in a line on stderr.

    Args:
      name: name of the folder in the cache. It must identify everything that the arrays depend on.
      decode: function that makes the arrays, name -> array.

    Returns:
      Name -> array.
    """
    if not cache_dir():
        return decode()
    folder = cache_dir() / "data" / name
    try:
        private_folder(cache_dir())
        private_folder(folder.parent)
    except OSError as error:
        print(f"cannot keep data in {folder.parent} ({error.strerror})", file=sys.stderr)
        return decode()
    if (folder / DIGESTS).exists():
        try:
            return _read(folder)
        except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
            print(f"{folder} is damaged ({error}): decoding again", file=sys.stderr)
    else:
        print(f"decoding once into {folder}", file=sys.stderr)
    arrays = decode()
    try:
        shutil.rmtree(folder, ignore_errors=True)
        _write(folder, arrays)
    except OSError as error:
        print(f"cannot keep data in {folder} ({error.strerror})", file=sys.stderr)
    return arrays


def _read(folder):
    """Read the arrays of a folder; raise a ValueError if they differ from those written."""
    wanted = json.loads((folder / DIGESTS).read_text())
    if not wanted:
        raise ValueError(f"{DIGESTS} is empty")
    arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in wanted}
    for name, array in arrays.items():
        if _sha256(array) != wanted[name]:
            raise ValueError(f"{name}.npy is not as it was written")
    return arrays


def _write(folder, arrays):
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".decoding-"))
    try:
        for name, array in arrays.items():
            replace_file(
                scratch / f"{name}.npy",
                lambda file, array=array: np.save(file, array, allow_pickle=False),
            )
        write_json(scratch / DIGESTS, {name: _sha256(array) for name, array in arrays.items()})
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sha256(array):
    hasher = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()
