"""Show the curves of runs in a browser while they train, with forecasts, jumps and warnings.

The page is served on this machine only, by default; --address=0.0.0.0 serves it to others, too. The
command reads files and writes none. It works on finished runs as well, and finds runs that are
added to a folder later. Stop it with Ctrl-C.
"""

import argparse
import logging
import sys
import time

import pandas as pd

from analysis.figures.live_page import Page
from analysis.live.followed import Followed
from analysis.runs.finding import find_runs
from analysis.runs.reader import RunError
from tapjax.contract.text import plural

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY = 2.0  # seconds between two looks at the files


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument("--port", type=_port, default=5006, help="port; 0 for any free one")
    parser.add_argument("--address", default="127.0.0.1", help="address of the server")


def _port(text):
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port from 0 to 65535")
    return int(text)


class Fleet:
    """All runs of some folders, read at most once per `EVERY` seconds for all open pages."""

    def __init__(self, paths):
        """Find the runs; see `update` for their records."""
        self.paths, self.followed, self._refused = paths, {}, set()
        self._looked = -EVERY
        find_runs(paths)
        self.update()

    def _find(self):
        """Follow the runs that are new."""
        try:
            paths = find_runs(self.paths)
        except RunError as error:  # all have gone, or two have the same name
            self._refuse(error)
            return
        for path in paths:
            # A run that has just been made has no status until its networks are initialised.
            if path not in self.followed and (path / "STATUS.json").is_file():
                try:
                    self.followed[path] = Followed(path)
                except RunError as error:
                    self._refuse(error)

    def _refuse(self, error):
        """Report once, in the terminal, why runs are not shown."""
        if str(error) not in self._refused:
            print(f"not shown: {error}", file=sys.stderr, flush=True)
            self._refused.add(str(error))

    def update(self) -> list[Followed]:
        """Read what is new, and return all runs in order of their names."""
        if time.monotonic() - self._looked >= EVERY:
            for path, followed in list(self.followed.items()):
                if followed.replaced:
                    del self.followed[path]
            self._find()
            for run in self.followed.values():
                run.catch_up()
            self._looked = time.monotonic()
        return sorted(self.followed.values(), key=lambda run: run.name)


def run(args):
    """Serve the page until the user interrupts the command.

    Raises:
      RunError: there are no runs, or the port is in use.
    """
    from bokeh.server.server import Server

    for name in ("bokeh", "tornado"):  # a closed window is no reason for a warning
        logging.getLogger(name).setLevel(logging.ERROR)
    fleet = Fleet(args.runs)

    def open_page(document):
        page = Page(document, fleet.update())
        document.add_periodic_callback(lambda: page.update(fleet.update()), int(1000 * EVERY))

    try:
        server = Server(
            {"/": open_page}, port=args.port, address=args.address,
            allow_websocket_origin=None if args.address in LOOPBACK else ["*"],
        )  # fmt: skip
    except OSError as error:
        raise RunError(f"--port={args.port} --address={args.address}: {error}") from error
    server.start()
    count = plural(len(fleet.followed), "run")
    print(f"http://{args.address}:{server.port}/ shows {count}; Ctrl-C ends it", flush=True)
    server.io_loop.start()
    return {"command": "live"}, pd.DataFrame()
