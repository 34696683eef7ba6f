"""Scripts: `python -m launch.run` and so on, or `tapjax run`."""

import contextlib
import os
import sys
from pathlib import Path


def current_folder_last() -> None:
    """Search the current folder after installed packages.

    A user's own module is found there, and one that is called `analysis` hides none of ours. A
    checkout of this project stays first.
    """
    with contextlib.suppress(FileNotFoundError):
        here = os.getcwd()
        if Path(here).resolve() != Path(__file__).resolve().parent.parent:
            sys.path[:] = [*(p for p in sys.path if p not in ("", here)), here]


current_folder_last()
