import json

import numpy as np
import pytest
from PIL import Image

from analysis.figures.style import DPI, FORMATS, WIDTHS
from tests.analysis.command import analysis
from tests.analysis.made_runs import write_run

T = np.arange(0, 1001, 5.0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    for name in ("one", "two"):
        write_run(folder / name, np.stack([5 + T / 1000, 6 + 3.0 * (T > 500)]))
    return folder


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_one_figure_in_every_format(runs, tmp_path, ending):
    out = tmp_path / f"figure.{ending}"
    result = analysis("curves", runs, f"--out={out}", "--quantities=D", "--json")
    assert result.returncode == 0, result.stderr
    assert analysis("curves", runs, f"--out={out}").returncode == 0  # written over
    found = json.loads(result.stdout)
    assert {event["run"] for event in found["events"]} == {"one", "two"}
    assert all("D rises" in line for line in found["conclusions"])
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert out.read_bytes().startswith(start)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_figure_is_as_wide_as_a_column(runs, tmp_path, width):
    out = tmp_path / "figure.png"
    assert analysis("curves", runs, f"--out={out}", f"--width={width}").returncode == 0
    with Image.open(out) as image:
        assert image.width == int(WIDTHS[width] * DPI)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--out=figure.jpg", "must end in .png, .svg, .pdf"),
        ("--out=.", "error: --out=. is no file: name a file, such as curves"),
        ("--out=.", "error: --out=. is no file: name a file, such as curves"),
        ("--quantities=D,acuracy", "did you mean 'accuracy'"),
        ("--quantities=accuracy", "recorded in none of the runs"),
        ("--format=bmp", "invalid choice: 'bmp'"),
        ("--width=triple", "invalid choice: 'triple'"),
        ("--widht=single", "did you mean '--width'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(runs, flag, message):
    result = analysis("curves", runs, flag)
    assert result.returncode == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.long_except("svg")
@pytest.mark.parametrize("ending", FORMATS)
def test_every_command_that_draws_takes_the_format(runs, tmp_path, ending):
    result = analysis(
        "tap", runs / "one", f"--out={tmp_path}", f"--format={ending}", "--width=single"
    )
    assert result.returncode == 0, result.stderr
    again = analysis("tap", runs / "one", f"--out={tmp_path / f'a.{ending}'}", f"--format={ending}")
    assert again.returncode == 0 and (tmp_path / f"a.{ending}" / f"fit_r2.{ending}").exists()
    found = [path for path in tmp_path.iterdir() if path.is_file()]
    drawn = {path.name for path in found if path.suffix not in (".csv", ".json")}
    assert drawn == {f"{n}.{ending}" for n in ("one_dimension", "fit_r2", "fit_r2_log")}


def test_the_format_is_that_of_the_ending_or_of_the_flag(runs, tmp_path):
    for flags, name in (
        ([f"--out={tmp_path / 'a.svg'}"], "a.svg"),
        ([f"--out={tmp_path / 'b'}", "--format=pdf"], "b.pdf"),
        ([f"--out={tmp_path / 'c'}"], "c.png"),
    ):
        assert analysis("curves", runs, *flags).returncode == 0
        assert (tmp_path / name).exists()
