"""Turning SIGTERM and Ctrl-C into a request that the loop answers at the end of a chunk."""

import contextlib
import signal
import sys
import threading

SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class StopRequest:
    """Whether a signal asked to stop: `reason` is its name, empty before one arrives."""

    reason = ""

    def is_set(self) -> bool:
        return bool(self.reason)


@contextlib.contextmanager
def stop_on_signals():
    """Catch SIGTERM and the first Ctrl-C for as long as the context is open.

    Yields:
      A StopRequest. Outside the main thread, where Python cannot handle signals, it is never set,
      nor by a Ctrl-C that the parent process has ignored.

    Raises:
      KeyboardInterrupt: at the second Ctrl-C.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number, frame):
        if number == signal.SIGINT and request.reason == SIGNALS[number]:
            raise KeyboardInterrupt
        request.reason = SIGNALS[number]
        earlier = previous[number]
        if callable(earlier) and earlier is not signal.default_int_handler:
            earlier(number, frame)  # whoever runs many runs wants to know, too
        elif number == signal.SIGINT:
            print("\nstopping at the end of this chunk; Ctrl-C again: at once", file=sys.stderr)

    # None: not a handler of Python's, which could not be put back.
    caught = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    previous = {number: signal.signal(number, note) for number in caught}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
