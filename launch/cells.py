"""Many runs one after another, as the scripts that train a whole experiment do."""

import json
from pathlib import Path


def train_all(configs: dict, folder: Path) -> tuple[dict[str, str], bool]:
    """Train what is not done yet; a run that fails is noted, and the rest go on.

    Args:
      configs: name of the run's folder -> checked config.
      folder: where those folders are.

    Returns:
      (name -> what went wrong, whether a signal asked to stop).
    """
    import jax

    from tapjax import loop
    from tapjax.data import DataError
    from tapjax.rundir import CheckpointError, RunDirError

    failed = {}
    for i, (name, config) in enumerate(configs.items(), 1):
        label = f"[{i}/{len(configs)}] {name}"
        try:
            outcome = loop.run(config, folder / name, progress=label)
        except (CheckpointError, DataError, RunDirError, OSError) as error:
            failed[name] = str(error)
            continue
        finally:
            jax.clear_caches()  # the programs of hundreds of runs would fill the memory
        print(f"{label}: {outcome.status} at step {outcome.step}", flush=True)
        if outcome.status == "PREEMPTED":
            return failed, True
        if outcome.status == "DIVERGED":
            failed[name] = outcome.reason
    return failed, False


def is_done(path: Path) -> bool:
    """Whether a run directory holds a finished run."""
    status = path / "STATUS.json"
    return status.exists() and json.loads(status.read_text())["status"] == "DONE"
