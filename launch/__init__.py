"""Scripts, started as `python -m launch.NAME` or `tapjax NAME`, for example `tapjax run`."""

import contextlib
import os
import sys
from pathlib import Path


def current_folder_last() -> None:
    """Move the current folder to the end of the import path, after installed packages.

    User-defined modules are still found there. A user's module that is called `analysis` does not
    hide the package of that name in this project. If the current folder is a checkout of this
    project, it stays first.
    """
    with contextlib.suppress(FileNotFoundError):
        here = os.getcwd()
        if Path(here).resolve() != Path(__file__).resolve().parent.parent:
            sys.path[:] = [*(p for p in sys.path if p not in ("", here)), here]


current_folder_last()
