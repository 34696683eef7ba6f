import html
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from analysis.commands.report import SECTIONS
from tests.analysis.made_runs import collapse_and_recovery, write_run
from tests.browser import needs_chromium, printed, seen

pytestmark = pytest.mark.slow

T = np.arange(0, 801, 5.0)


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
    for name, section in SECTIONS.items():
        assert (f'<h2 id="{name}">{section.title}</h2>' in text) == (not section.needs)
    assert result["left_out"] == {} and len(result["conclusions"]) == text.count("<dt>")
    for said in result["conclusions"]:
        assert html.escape(said.partition("? ")[2]) in text
    assert "SYNTHETIC" in text and text.count("data:image/webp") > 10
    body = text[text.rindex("<body>") :]  # before it are the scripts of Bokeh
    assert "http" not in re.sub(r'base64,[^"]*', "", body) and len(text) < 3.5e6
    for honest in ("|r| that 95 % of surrogates", "persistence", "beats persistence"):
        assert honest in text
    for what in ("architectures", "architectures with an identified alpha"):
        assert f"too few to tell: n = 5 {what}, needs &gt;= 15" in text
    assert "r2_loao" not in text and "left out of the fit" not in text
    assert not re.findall("<th>(?!<abbr)[^<]*", text), "a header has no definition"


def test_a_run_without_d_does_not_silence_the_others(tmp_path):
    for i in range(5):
        write_mlp(tmp_path / "runs" / f"mlp_{i}", i)
    write_run(tmp_path / "runs" / "gap", np.full((1, len(T)), np.nan))
    rows = {}
    for name in ("mechanistic", "predictor"):
        verdict, parts = SECTIONS[name].write([tmp_path / "runs"], tmp_path / name, False)
        rows[name] = " ".join([verdict, *parts])
        assert "Not analysed: gap: " in rows[name]
    assert "(5 rows)" in rows["mechanistic"] and "n = 5 architectures" in rows["predictor"]


def test_an_analysis_that_does_not_fit_is_left_out_with_its_reason(tmp_path):
    write_mlp(tmp_path / "runs" / "mlp_0", 0)
    command = [sys.executable, "-m", "analysis", "report", tmp_path / "runs"]
    result = subprocess.run(
        [*command, f"--out={tmp_path / 'r.html'}"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "r.html").read_text()
    assert "too few to tell: n = 1 architectures, needs &gt;= 5 for a calibration" in text
    assert "Not answered: " in text and "</summary>\n\n</details>" not in text


@needs_chromium
def test_a_phone_shows_it_without_scrolling_sideways_and_print_has_every_figure(page):
    path, _ = page
    found, errors = seen([path.as_uri()], wait=2)
    for (_, width), row in found.items():
        assert row["scrolled"] <= row["width"] == width
        assert row["drawn"] and not row["undescribed"] and row["smallest"] >= 11
        assert row["canvases"] >= 4
    assert not errors
    images = printed(path.as_uri()).count(b"/Subtype /Image")
    assert images >= path.read_text().count("data:image/webp")
