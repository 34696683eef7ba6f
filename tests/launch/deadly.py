"""Models of a user's own that take their process down, or only themselves."""

import os
import signal


def kills(shape, classes):
    """What an exhausted memory does to a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def raises(shape, classes):
    """An error that nobody expects."""
    raise ZeroDivisionError("a user's mistake")
