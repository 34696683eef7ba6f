"""Scripts, started as `python -m launch.NAME` or `tapjax NAME`, for example `tapjax run`."""

import contextlib
import os
import sys
from pathlib import Path


def current_folder_last() -> None:
    """Move the current folder to the end of the search path, after this package.

    A user's module in the current folder is then still found. A module of the user's that is called
    `analysis` or `configs` does not hide the package, however the package is installed: an editable
    install would otherwise be searched after the current folder. A checkout of this project keeps
    its place at the start.
    """
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been removed
        here, root = os.getcwd(), str(Path(__file__).resolve().parent.parent)
        if Path(here).resolve() != Path(root):
            kept = [path for path in sys.path if path not in ("", here, root)]
            sys.path[:] = [*kept, root, here]


current_folder_last()
