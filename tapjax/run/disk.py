"""Check, before a run trains, that the disk has enough free space for it."""

import contextlib
import shutil
from pathlib import Path

from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.run.memory import gigabytes
from tapjax.store import records
from tapjax.types import Record, tree_bytes

HEADERS = 8000  # bytes of array names, shapes and archive entries in the file of one chunk


def check(ready, record: Record, path: Path) -> None:
    """Refuse a run whose records and checkpoints do not fit on the disk.

    Args:
      ready: Assembly of the run.
      record: shapes of the Record of one block, over all seeds.
      path: run directory, which need not exist yet. Files that it already holds are subtracted
        from the space that the run needs.

    Raises:
      ConfigError: the space is too small. The message says how much will be written and how much
        is free.
    """
    cfg, saved = ready.cfg, tree_bytes(ready.like)
    chunks = -(-cfg.steps // schema.chunk_steps(cfg))
    size = records.size(record, ready.programs.periods, cfg.steps // cfg.probe.every)
    recorded = size + chunks * HEADERS * (1 + len(record.measures))
    kept = cfg.checkpoint.keep + 1  # a new checkpoint is written before an old one is removed
    if cfg.checkpoint.pin_jumps:  # up to 3 per jump, and 3 older ones to replay from
        kept += 3 * cfg.checkpoint.pin_jumps + 3
    if cfg.checkpoint.keep_period:
        kept += cfg.steps // cfg.checkpoint.keep_period
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if recorded + kept * saved - _there(path) > free:
        raise ConfigError(
            f"this run writes {gigabytes(recorded)} of records and up to {gigabytes(kept * saved)} "
            f"of checkpoints, and {place} has {gigabytes(free)} free: choose another --workdir, a "
            "larger probe.every or scalar_bin, fewer steps, or fewer checkpoints "
            "(checkpoint.keep, checkpoint.keep_period, checkpoint.pin_jumps)"
        )


def _there(path):
    """Return the size in bytes of the records and checkpoints that a run already has."""
    found = 0
    for file in (
        file
        for part in ("records", "measures", "ckpt", "pins")
        for file in (path / part).rglob("*")
    ):
        with contextlib.suppress(OSError):  # another process may train this run and remove files
            found += file.stat().st_size
    return found
