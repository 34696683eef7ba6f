"""Reader of snapshots: the state of a network at selected steps, as written by `launch.replay`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapjax.contract.files import RunError, read_json, read_npz
from tapjax.contract.layout import SNAPSHOT, filters, record_name

ADVICE = "tapjax replay --run=RUN --moments --out={out} writes it"


class Snapshot(NamedTuple):
    """State of the network of one seed at one step.

    `groups` maps the name of a group (`weights`, `activations`, `attention`, ...) to its arrays by
    name; `layout.RECORDS` lists the groups. `y_P` holds the classes of the probe examples.
    """

    step: int
    y_P: np.ndarray
    groups: dict[str, dict[str, np.ndarray]]

    def group(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays of a group, an empty dict if the group was not recorded."""
        return self.groups.get(name, {})


def read_snapshots(folder: Path, step: int, wanted=None) -> dict[int, Snapshot]:
    """Read the snapshots of all seeds at one step.

    Args:
      folder: folder of the snapshots.
      step: training step of the snapshots.
      wanted: names of the groups to read; None reads all.

    Returns:
      Snapshot of each seed, by seed.

    Raises:
      RunError: the snapshot is missing or damaged.
    """
    path = folder / record_name(step)
    if not path.is_file():
        raise RunError(f"{path} is missing: {ADVICE.format(out=folder)}")
    arrays = read_npz(
        path, lambda name: wanted is None or name.split("/")[0] in (*wanted, *SNAPSHOT)
    )
    missing = [name for name in SNAPSHOT if name not in arrays]
    if missing:
        raise RunError(f"{path} is not a snapshot: it has no {missing[0]!r}")
    found_step, seeds_S, y_P, _ = (arrays.pop(name) for name in SNAPSHOT)
    if found_step.ndim or found_step.dtype.kind not in "iu" or found_step != step:
        raise RunError(f"{path} holds step {found_step}, not {step}")
    if seeds_S.ndim != 1 or seeds_S.dtype.kind not in "iu" or y_P.ndim != 1:
        raise RunError(f"{path}: seeds and probe_y must be vectors of integers")
    for name, values in arrays.items():
        if values.dtype.kind not in "biuf" or values.shape[:1] != seeds_S.shape:
            raise RunError(f"{path}: {name!r} is not numbers [S, ...] of {len(seeds_S)} seeds")
    seeds = seeds_S.tolist()
    snapshots = {}
    for i, seed in enumerate(seeds):
        groups: dict[str, dict] = {}
        for name, values in arrays.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = values[i]
        if "weights" in groups:
            groups["filters"] = filters(groups["weights"])
        snapshots[seed] = Snapshot(step, y_P, groups)
    return snapshots


def read_plan(folder: Path) -> dict:
    """Read the plan by which the snapshots in a folder were taken.

    Args:
      folder: folder of the snapshots.

    Returns:
      Contents of moments.json, as made by `critical_steps.plan`.

    Raises:
      RunError: the folder has no moments.json.
    """
    path = folder / "moments.json"
    if not path.is_file():
        raise RunError(f"{folder} has no moments.json: {ADVICE.format(out=folder)}")
    return read_json(path)
