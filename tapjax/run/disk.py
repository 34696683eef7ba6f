"""Comparison of what a run will write with the free space, before it trains."""

import contextlib
import shutil
from pathlib import Path

from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.run.memory import gigabytes
from tapjax.types import Record, tree_bytes

HEADERS = 8000  # bytes of names, shapes and directories in the file of a chunk


def check(ready, record: Record, path: Path) -> None:
    """Refuse a run that the disk cannot hold.

    Args:
      ready: an Assembly.
      record: shapes of what one block leaves behind, over all seeds.
      path: the run directory, which need not exist yet; what it holds already is counted.

    Raises:
      ConfigError: saying how much will be written and how much is free.
    """
    cfg, saved = ready.cfg, tree_bytes(ready.like)
    chunks = -(-cfg.steps // schema.chunk_steps(cfg))
    records = tree_bytes(record) * (cfg.steps // cfg.probe.every) + chunks * HEADERS
    kept = cfg.checkpoint.keep + 1  # the latest is written before an older one is removed
    if cfg.checkpoint.pin_jumps:  # up to three around each, and three to reach back to a jump
        kept += 3 * cfg.checkpoint.pin_jumps + 3
    if cfg.checkpoint.keep_period:
        kept += cfg.steps // cfg.checkpoint.keep_period
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if records + kept * saved - _there(path) > free:
        raise ConfigError(
            f"this run writes {gigabytes(records)} of records and up to {gigabytes(kept * saved)} "
            f"of checkpoints, and {place} has {gigabytes(free)} free: choose another --workdir, a "
            "larger probe.every or scalar_bin, fewer steps, or fewer checkpoints "
            "(checkpoint.keep, checkpoint.keep_period, checkpoint.pin_jumps)"
        )


def _there(path):
    """Bytes of the records and checkpoints that a run has already."""
    found = 0
    for file in (file for part in ("records", "ckpt", "pins") for file in (path / part).rglob("*")):
        with contextlib.suppress(OSError):  # another process may train this run
            found += file.stat().st_size
    return found
