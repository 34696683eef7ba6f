"""Turning SIGTERM into a request that the loop answers at the end of a chunk."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def stop_on_sigterm():
    """Catch SIGTERM for as long as the context is open.

    Yields:
      A threading.Event, set once the signal arrived. Outside the main thread, where Python
      cannot handle signals, it is never set.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def note(*args):
        requested.set()
        if callable(previous):  # whoever runs many runs wants to know, too
            previous(*args)

    previous = signal.signal(signal.SIGTERM, note)
    try:
        yield requested
    finally:
        signal.signal(signal.SIGTERM, previous)
