"""Command-line habits that the launch scripts share: exit codes, the compilation cache."""

import os
import sys

from absl import app, flags, logging

EXIT = {"DONE": 0, "DIVERGED": 3, "PREEMPTED": 75}


def main(body) -> None:
    """Run a script: parse flags, and turn every expected error into one line and an exit code.

    Args:
      body: function of no arguments that returns an exit code.
    """
    app.run(lambda _: sys.exit(_explain(body)), flags_parser=_parse)


def _parse(argv):
    try:
        remaining = flags.FLAGS(argv)
        # Reading a config flag executes its file.
        if "config" in flags.FLAGS:
            _ = flags.FLAGS.config
    except (flags.Error, AttributeError, KeyError, ValueError, TypeError, OSError) as error:
        sys.exit(_usage(str(error)))
    if remaining[1:]:
        sys.exit(_usage(f"unexpected argument {remaining[1]!r}"))
    return remaining


def _usage(message) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _explain(body) -> int:
    from tapjax.config import ConfigError
    from tapjax.data import DataError

    logging.set_verbosity(logging.WARNING)

    try:
        return body()
    except (ConfigError, DataError) as error:
        return _usage(str(error))


def prepare_jax() -> None:
    """Keep compiled programs in the user's cache folder; `JAX_COMPILATION_CACHE_DIR` overrides."""
    import jax

    from tapjax.data import cache_dir

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
