"""The analysis command line in this process, without the seconds of imports of another.

Every command is started once as a user does; what goes wrong with flags and files is tried here.
"""

import contextlib
import io
import sys
from subprocess import CompletedProcess
from unittest import mock

from analysis.__main__ import main


def analysis(*args) -> CompletedProcess:
    """Run a command, as `python -m analysis ARGS`."""
    args = ["analysis", *map(str, args)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", args),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main()
        except SystemExit as stop:  # argparse
            code = stop.code
    return CompletedProcess(args, code, out.getvalue(), err.getvalue())
