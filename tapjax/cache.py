"""The user's cache folder: compiled programs, and decoded data sets.

A data set is written whole or not at all, and verified when read.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


class CacheError(Exception):
    """A cached file is damaged; the message says what to delete."""


def cache_dir() -> Path:
    """The user's cache folder (`TAPJAX_CACHE`)."""
    home = os.environ.get("TAPJAX_CACHE") or Path.home() / ".cache" / "tapjax"
    return Path(home).expanduser()


def keep_compiled() -> None:
    """Keep compiled programs in the user's cache folder (or `JAX_COMPILATION_CACHE_DIR`)."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def decoded_once(name: str, decode: Callable[[], dict]) -> dict[str, np.ndarray]:
    """Arrays that take long to make, from the cache if they are there.

    Args:
      name: of the cache's folder; says everything that the arrays depend on.
      decode: makes them, name -> array.

    Returns:
      Name -> array.

    Raises:
      CacheError: a cached array does not have the sha256 it was written with.
    """
    folder = cache_dir() / "data" / name
    if not (folder / "digests.json").exists():
        print(f"decoding once into {folder}", file=sys.stderr)
        _write(folder, decode())
    arrays = {}
    for array_name, wanted in json.loads((folder / "digests.json").read_text()).items():
        path = folder / f"{array_name}.npy"
        arrays[array_name] = np.load(path, allow_pickle=False)
        if _sha256(arrays[array_name]) != wanted:
            raise CacheError(f"{path} is damaged: delete {folder} and start again")
    return arrays


def _write(folder, arrays):
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".decoding-"))
    try:
        for name, array in arrays.items():
            np.save(scratch / f"{name}.npy", array, allow_pickle=False)
        sums = {name: _sha256(array) for name, array in arrays.items()}
        (scratch / "digests.json").write_text(json.dumps(sums))
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
