"""A headless Chromium for tests, driven by its debugging protocol over a websocket."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import urllib.request

import pytest
from tornado.websocket import websocket_connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install)")
# What `seen` measures on a page: sizes in CSS pixels, over the open shadow roots of Bokeh as well.
MEASURE = """(() => {
  const all = [], walk = root => { for (const node of root.querySelectorAll('*')) {
    all.push(node); if (node.shadowRoot) walk(node.shadowRoot); } };
  walk(document);
  const lettered = all.filter(node => node.offsetParent && !node.closest('script, style, svg') &&
    [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()));
  const images = [...document.images];
  return {
    width: innerWidth, scrolled: document.documentElement.scrollWidth,
    drawn: images.every(image => image.complete && image.naturalWidth > 0),
    undescribed: images.filter(image => !image.alt).map(image => image.src),
    smallest: Math.min(...lettered.map(node => parseFloat(getComputedStyle(node).fontSize))),
    canvases: all.filter(node => node.tagName === 'CANVAS' && node.width > 100).length,
  };
})()"""


class Tab:
    """A tab of the browser.

    Attributes:
      errors: texts of the errors that pages logged or threw.
    """

    def __init__(self, socket):
        self.errors, self._socket, self._number = [], socket, itertools.count(1)

    async def ask(self, method, **params):
        """Call a method of the protocol and return its result; note errors that arrive first."""
        number = next(self._number)
        await self._socket.write_message(
            json.dumps({"id": number, "method": method, "params": params})
        )
        while (answer := json.loads(await self._socket.read_message())).get("id") != number:
            self._note(answer.get("method"), answer.get("params", {}))
        assert "error" not in answer, answer
        return answer["result"]

    def _note(self, method, event):
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["exceptionDetails"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and event["type"] == "error":
            self.errors.append(json.dumps(event["args"]))

    async def open(self, address, width, wait):
        """Open a page in a window of a width in pixels, and wait a number of seconds."""
        mobile = width < 500
        await self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900,
                       deviceScaleFactor=1, mobile=mobile)  # fmt: skip
        await self.ask("Page.navigate", url=str(address))
        for _ in range(100):
            await asyncio.sleep(0.05)
            if await self.value("document.readyState === 'complete'"):
                break
        await asyncio.sleep(wait)

    async def value(self, expression):
        """Return the value of a JavaScript expression."""
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"]["value"]


@contextlib.asynccontextmanager
async def browser():
    """Start a browser and yield a Tab; pages can reach no server but this machine."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu",
               "--remote-debugging-port=0", "about:blank",
               "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [*command, f"--user-data-dir={home}"], stderr=subprocess.PIPE, text=True
        )
        try:
            port = next(
                found[1] for line in process.stderr
                if (found := re.search(r"listening on ws://127.0.0.1:(\d+)/", line))
            )  # fmt: skip
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                (page,) = [tab for tab in json.load(answer) if tab["type"] == "page"]
            socket = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=2**28)
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log"):
                await tab.ask(f"{domain}.enable")
            yield tab
            socket.close()
            while await socket.read_message() is not None:  # None: the browser has closed it, too
                pass
        finally:
            process.terminate()
            process.communicate()


def seen(addresses, widths=(390, 1300), wait: float = 0.2):
    """Open pages at several widths, and measure them.

    Args:
      addresses: addresses of the pages.
      widths: widths of the window in pixels.
      wait: seconds between the loading of a page and the measurement.

    Returns:
      (dict from (address, width) to the values of `MEASURE`, list of errors that were logged).
    """

    async def look():
        async with browser() as tab:
            found = {}
            for address in addresses:
                for width in widths:
                    await tab.open(address, width, wait)
                    found[address, width] = await tab.value(MEASURE)
            return found, tab.errors

    return asyncio.run(look())


def printed(address, wait: float = 2.0) -> bytes:
    """Return the PDF file that printing a page on A4 gives."""

    async def look():
        async with browser() as tab:
            await tab.open(address, 1300, wait)
            size = {"paperWidth": 8.27, "paperHeight": 11.7, "preferCSSPageSize": True}
            return base64.b64decode((await tab.ask("Page.printToPDF", **size))["data"])

    return asyncio.run(look())
