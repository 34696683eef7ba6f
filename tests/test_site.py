"""The documentation site in a browser: no errors, no overflow on a phone, legible, all pictures."""

import functools
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
    pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="needs the extra [docs]"),
]
# Opens the pages one after the other in a frame, and reports what it finds in its title.
LOOK = """<!doctype html><title>waiting</title><iframe height="900"></iframe><script>
const frame = document.querySelector('iframe');
async function look(page, width) {
  frame.width = width;
  const loaded = new Promise(done => { frame.onload = done; });
  frame.src = page;
  await loaded;
  await new Promise(done => setTimeout(done, 200));
  const body = frame.contentDocument;
  const texts = [...body.querySelectorAll('article :is(p, li, td, th, code, h1, h2, h3)')];
  return {page, width, scrolled: body.documentElement.scrollWidth,
    drawn: [...body.images].every(image => image.complete && image.naturalWidth),
    described: [...body.images].every(image => image.alt),
    smallest: Math.min(...texts.filter(text => text.textContent.trim()).map(
      text => parseFloat(frame.contentWindow.getComputedStyle(text).fontSize)))};
}
(async () => {
  const found = [];
  for (const page of PAGES) for (const width of [390, 1300]) found.push(await look(page, width));
  document.title = JSON.stringify(found);
})();
</script>"""


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """What the browser found on every page, and what it logged."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "-q", "-d", folder / "site"]
    subprocess.run(build, cwd=ROOT, check=True, env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/bin"})
    site = folder / "site"
    pages = [str(path.relative_to(site)) for path in sorted(site.rglob("index.html"))]
    (site / "look.html").write_text(LOOK.replace("PAGES", json.dumps(pages)))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = subprocess.run(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000",
             f"--user-data-dir={folder / 'c'}", "--virtual-time-budget=120000",
             "--enable-logging=stderr", "--dump-dom",
             "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
             f"http://127.0.0.1:{server.server_port}/look.html"],
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        server.shutdown()
    title = re.search(r"<title>(.*?)</title>", result.stdout)[1]
    return pages, json.loads(title), result.stderr


def test_every_page_was_looked_at(looked):
    pages, found, _ = looked
    assert len(pages) > 30 and len(found) == 2 * len(pages)


def test_no_page_scrolls_sideways(looked):
    _, found, _ = looked
    assert not [(row["page"], row["width"]) for row in found if row["scrolled"] > row["width"]]


def test_text_is_legible_and_pictures_are_there(looked):
    _, found, _ = looked
    assert not [(row["page"], row["smallest"]) for row in found if row["smallest"] < 11]
    assert not [row["page"] for row in found if not (row["drawn"] and row["described"])]


def test_nothing_is_logged_but_the_missing_mermaid(looked):
    """The theme loads Mermaid from a server that this browser cannot reach, for one page."""
    logged = [line for line in looked[2].splitlines() if "CONSOLE" in line]
    assert not [line for line in logged if "unpkg.com/mermaid" not in line]
