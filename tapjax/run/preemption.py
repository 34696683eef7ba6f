"""Handling of SIGTERM and Ctrl-C as a request to stop at the end of the current chunk."""

import contextlib
import signal
import sys
import threading

SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class StopRequest:
    """A request to stop: `reason` is the name of the signal, empty before one arrives."""

    reason = ""

    def is_set(self) -> bool:
        return bool(self.reason)


@contextlib.contextmanager
def stop_on_signals():
    """Catch SIGTERM and the first Ctrl-C while the context is open.

    Yields:
      A StopRequest. It is never set outside the main thread, because Python handles signals only
      there. A signal that the process ignores, such as a Ctrl-C that the parent process has
      ignored, does not set it either.

    Raises:
      KeyboardInterrupt: a second Ctrl-C arrives.
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
            earlier(number, frame)  # for example that of a sweep, which stops as well
        elif number == signal.SIGINT:
            print(
                "\nstopping at the end of this chunk; press Ctrl-C again to stop at once",
                file=sys.stderr,
            )

    # None means that the handler was not installed by Python, so that it could not be restored.
    caught = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    previous = {number: signal.signal(number, note) for number in caught}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
