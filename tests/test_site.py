"""The documentation site in a browser: no errors, no overflow on a phone, legible, all pictures."""

import functools
import http.server
import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.browser import needs_chromium, seen

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    needs_chromium,
    pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="needs the extra [docs]"),
]


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """What the browser found on every page, and what it logged."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "-q", "-d", folder / "site"]
    subprocess.run(build, cwd=ROOT, check=True, env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/bin"})
    site = folder / "site"
    pages = [str(path.relative_to(site)) for path in sorted(site.rglob("index.html"))]

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found, errors = seen([f"http://127.0.0.1:{server.server_port}/{page}" for page in pages])
        server.shutdown()
    return pages, found, errors


def test_every_page_was_looked_at(looked):
    pages, found, _ = looked
    assert len(pages) > 30 and len(found) == 2 * len(pages)


def test_no_page_scrolls_sideways(looked):
    _, found, _ = looked
    assert not [key for key, row in found.items() if row["scrolled"] > row["width"]]


def test_text_is_legible_and_pictures_are_there(looked):
    _, found, _ = looked
    assert not [(key, row["smallest"]) for key, row in found.items() if row["smallest"] < 11]
    assert not [key for key, row in found.items() if not row["drawn"] or row["undescribed"]]


def test_nothing_is_logged_but_the_missing_mermaid(looked):
    """The theme loads Mermaid from a server that this browser cannot reach, for one page."""
    assert not [line for line in looked[2] if "unpkg.com/mermaid" not in line]
