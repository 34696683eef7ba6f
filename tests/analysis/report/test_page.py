import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from analysis.commands.report import SECTIONS
from tests.analysis.made_runs import collapse_and_recovery, write_run

pytestmark = pytest.mark.slow

T = np.arange(0, 801, 5.0)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    for i in range(5):
        write_mlp(folder / "runs" / f"mlp_{i}", i)
    command = [sys.executable, "-m", "analysis", "report", folder / "runs", "--json"]
    result = subprocess.run(
        [*command, f"--out={folder / 'report.html'}"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return folder / "report.html", json.loads(result.stdout)


def write_mlp(path, i):
    rng = np.random.default_rng(i)
    noise = np.exp(0.01 * rng.standard_normal((2, len(T))))
    d = (4 + i) * collapse_and_recovery(T) * noise
    accuracy = 0.8 - 0.7 * np.exp(-T / 100) + 0.01 * rng.standard_normal((2, len(T)))
    write_run(path, d, **{"probe/accuracy": accuracy})
    model = json.loads((path / "model.json").read_text())
    sizes = {"depth": 1 + i % 3, "width": 8.0 * 2**i, "num_params": 100 * 2**i}
    sizes |= {"connectivity": 2.0 + i, "min_width": 8, "max_width": 8 * 2**i, "family": "mlp"}
    model |= {"architecture": f"mlp_{i}", "structure": sizes}
    (path / "model.json").write_text(json.dumps(model))


def test_every_section_stands_on_one_self_contained_page(page):
    path, result = page
    text = path.read_text()
    for section in SECTIONS.values():
        assert (f"<h2>{section.title}</h2>" in text) == (not section.family)
    assert result["left_out"] == {}
    assert "SYNTHETIC" in text and text.count("data:image/png") > 10
    pixels = r'base64,[^"]*'  # may contain any letters
    assert "http" not in re.sub(pixels, "", text) and 'src="data:' in text
    for honest in ("null_95", "error_of_persistence", "beats_persistence"):
        assert honest in text
    for what in ("architectures", "architectures with an identified alpha"):
        assert text.count(f"too few to tell: n = 5 {what}, needs &gt;= 15") == 1
    assert "r2_loao" not in text and "seed_r2" not in text and "left out of the fit" not in text


def test_an_analysis_that_does_not_fit_is_left_out_with_its_reason(tmp_path):
    write_mlp(tmp_path / "runs" / "mlp_0", 0)
    command = [sys.executable, "-m", "analysis", "report", tmp_path / "runs"]
    result = subprocess.run(
        [*command, f"--out={tmp_path / 'r.html'}"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "r.html").read_text()
    assert "too few to tell: n = 1 architectures, needs &gt;= 5 for a calibration" in text
    assert "Left out: " in text and "</summary>\n\n</details>" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
def test_a_phone_shows_it_without_scrolling_sideways_and_print_has_every_figure(page, tmp_path):
    path, _ = page
    probe = (
        "<script>addEventListener('load', () => document.title = JSON.stringify([innerWidth, "
        "document.documentElement.scrollWidth, [...document.images].every(i => i.naturalWidth)]))"
        "</script></body>"
    )
    probed = tmp_path / "probed.html"
    probed.write_text(path.read_text().replace("</body>", probe))
    dumped = chromium("--window-size=500,900", "--dump-dom", probed, tmp_path)
    width, scrolled, drawn = json.loads(re.search(r"<title>(.*?)</title>", dumped).group(1))
    assert scrolled <= width <= 500 and drawn
    printed = tmp_path / "report.pdf"
    chromium(f"--print-to-pdf={printed}", "--no-pdf-header-footer", path, tmp_path)
    images = printed.read_bytes().count(b"/Subtype /Image")
    assert images >= path.read_text().count("data:image/png")


def chromium(*args):
    *flags, page, home = args
    result = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}/c",
         *map(str, flags), page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout
