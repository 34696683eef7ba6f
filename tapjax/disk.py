"""How much a run will write, compared with the free space before it trains."""

import shutil
from pathlib import Path

from tapjax.config import ConfigError
from tapjax.memory import gigabytes
from tapjax.types import Record, tree_bytes


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
    records = tree_bytes(record) * (cfg.steps // cfg.probe.every)
    # One more than are kept: the latest is written before an older one is removed.
    kept = cfg.checkpoint.keep + 1
    if cfg.checkpoint.keep_period:
        kept += cfg.steps // cfg.checkpoint.keep_period
    there = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if records + kept * saved - there > free:
        raise ConfigError(
            f"this run writes {gigabytes(records)} of records and {gigabytes(kept * saved)} of "
            f"checkpoints, and {place} has {gigabytes(free)} free: choose another --workdir, a "
            "larger probe.every or scalar_bin, fewer steps, or fewer checkpoints "
            "(checkpoint.keep, checkpoint.keep_period)"
        )
