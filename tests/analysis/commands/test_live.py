"""The live page, served as a user does, and seen by a browser."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from bokeh.client import pull_session
from bokeh.models import ColumnDataSource, Div

from analysis.commands import live
from tests.analysis.command import analysis
from tests.analysis.live.test_followed import run_in_parts
from tests.browser import needs_chromium, seen

pytestmark = pytest.mark.slow
# A shell makes processes in the background ignore Ctrl-C, and these tests may be in one.
ANALYSIS = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("analysis", run_name="__main__")
"""


@pytest.mark.parametrize("port", ["99999", "web"])
def test_what_is_no_port_is_refused_in_a_line(port):
    result = analysis("live", "runs", f"--port={port}")
    assert result.returncode == 2 and f"{port} is no port from 0 to 65535" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture
def served(tmp_path):
    """A run that trains, the records that it will gain, and the address of the page."""
    path, _, later = run_in_parts(tmp_path)
    (tmp_path / "runs").mkdir()
    path = path.rename(tmp_path / "runs" / "run")
    later = [path / "records" / record.name for record in later]
    command = [sys.executable, "-c", ANALYSIS, "live", path.parent, "--port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    address = re.match(r"(http://127.0.0.1:\d+/) shows 1 run;", process.stdout.readline())[1]
    yield tmp_path, later, address
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def points(session):
    """Return the largest number of points of a curve for each label."""
    found = {}
    for source in session.document.select({"type": ColumnDataSource}):
        for label in list(source.data["run"])[:1]:
            found[label] = max(found.get(label, 0), len(source.data["step"]))
    return found


def test_the_page_shows_what_the_files_hold(served):
    folder, later, address = served
    with contextlib.closing(pull_session(url=address)) as session:
        (said,) = session.document.select({"type": Div})
        assert "run: RUNNING at step 1,000 of 1,000; D " in said.text
        assert points(session)["run"] == 100 and "run, forecast" in points(session)
    for record in later:
        os.replace(folder / record.name, record)
    shutil.copytree(folder / "runs" / "run", folder / "runs" / "other")
    shutil.copytree(folder / "runs" / "run", folder / "runs" / "new")
    (folder / "runs" / "new" / "STATUS.json").unlink()  # as in a run that is being initialised
    time.sleep(live.EVERY)
    with contextlib.closing(pull_session(url=address)) as session:
        assert points(session)["run"] == points(session)["other"] == 1000


@needs_chromium
def test_a_browser_shows_it_on_a_screen_and_on_a_phone_without_errors(served):
    _, _, address = served
    found, errors = seen([address], wait=3)
    for (_, width), row in found.items():
        assert row["scrolled"] <= row["width"] == width and row["smallest"] >= 11
        assert row["canvases"] >= 3
    assert not errors


def test_a_port_in_use_and_no_runs_are_said(served, tmp_path):
    _, _, address = served
    port = re.search(r":(\d+)/", address)[1]
    command = [sys.executable, "-m", "analysis", "live", tmp_path / "runs", f"--port={port}"]
    taken = subprocess.run(command, capture_output=True, text=True)
    assert taken.returncode == 2 and f"--port={port}" in taken.stderr
    assert len(taken.stderr.splitlines()) == 1
    empty = analysis("live", tmp_path / "attempts")
    assert empty.returncode == 2 and "holds none" in empty.stderr
