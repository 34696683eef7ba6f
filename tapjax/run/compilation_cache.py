"""The cache of compiled programs, which is kept between processes.

The module imports JAX only when `keep_compiled` is called.
"""

import os
import sys
from pathlib import Path

from tapjax.data.cache import cache_dir, private_folder
from tapjax.run.limits import check_addresses


def keep_compiled() -> None:
    """Keep compiled programs in the user's cache folder (or `JAX_COMPILATION_CACHE_DIR`).

    A folder that other users may change is not used, because JAX runs the programs in it without
    checks.

    Raises:
      ConfigError: the address space of the process is too small to load JAX.
    """
    check_addresses()
    import jax

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if "://" in given:  # a storage bucket, which has no folder to check
        return
    folder = Path(given) if given else cache_dir() and cache_dir() / "xla"
    used = None
    try:
        if folder:
            private_folder(folder if given else cache_dir())
            used = str(private_folder(folder))
    except OSError as error:
        print(f"cannot keep programs in {folder} ({error.strerror})", file=sys.stderr)
    jax.config.update("jax_compilation_cache_dir", used)
