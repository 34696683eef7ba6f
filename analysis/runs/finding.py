"""Search for run directories in folders."""

from pathlib import Path

from tapjax.contract.files import RunError

DEPTH = 4  # levels of folders below a given one that are searched


def find_runs(paths) -> list[Path]:
    """Find the run directories among the given folders and below them, in order.

    A run directory is not searched for further ones.

    Args:
      paths: folders to search.

    Returns:
      Run directories without duplicates.

    Raises:
      RunError: a folder contains no run or cannot be read, or two runs have the same name. Names
        must be unique because results are stored by the name of the run.
    """
    found = {}
    for path in map(Path, paths):
        runs = _runs_in(path, DEPTH)
        if not runs:
            raise RunError(f"{path} is not a run directory and holds none")
        found |= {run.resolve(): run for run in runs}
    first = {}
    for place, path in found.items():
        other = first.setdefault(place.name, path)
        if other is not path:
            raise RunError(
                f"two runs are named {place.name!r}, {other} and {path}: rename a folder, or "
                "analyse them separately"
            )
    return list(found.values())


def _runs_in(path, depth):
    try:
        if (path / "config.json").is_file():
            return [path]
        below = sorted(p for p in path.iterdir() if p.is_dir()) if depth and path.is_dir() else []
    except PermissionError as error:
        raise RunError(f"{path} cannot be read: name the runs themselves") from error
    return [run for folder in below for run in _runs_in(folder, depth - 1)]
