"""Figures are legible: text of 8 points or more, inside the figure, and not over other text."""

import itertools

import pytest
from matplotlib.text import Text
from PIL import Image

from analysis.figures import style
from tests.analysis.figures.drawn import draw

FIGURES = (
    "alpha_relationships", "alpha_consistency", "credit", "dimension", "scores", "edm_matrix",
    "edm_convergence", "edm_forecasts", "emergence", "verdicts", "attention", "filters", "units",
    "entropy", "changes", "settling", "motifs_learning", "scalogram", "map", "controls",
    "ethogram", "graph", "overview", "learning", "memory", "cloning", "early_signs", "predictor",
    "skill", "held_out", "forecast", "monitored", "power", "components", "shares",
    "scores_of_two", "overview_of_many",
)  # fmt: skip
SLACK = 2  # pixels by which texts may touch


@pytest.fixture(scope="module")
def drawers(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def texts(monkeypatch):
    """A dict from text to its box [pixels], of all texts that are drawn; other ticks have none."""
    found, draw_text = {}, Text.draw

    def recorded(self, renderer, *args, **kwargs):
        draw_text(self, renderer, *args, **kwargs)
        if self.get_visible() and self.get_text().strip():
            found[self] = self.get_window_extent(renderer)

    monkeypatch.setattr(Text, "draw", recorded)
    return found


def test_the_table_names_every_figure(drawers):
    assert set(FIGURES) == set(drawers)


@pytest.mark.parametrize("width", style.WIDTHS)
@pytest.mark.parametrize("name", FIGURES)
def test_text_is_legible(drawers, texts, tmp_path, name, width):
    with style.look("png", width):
        out = drawers[name](tmp_path / "figure")
    with Image.open(out) as image:
        assert image.width <= style.WIDTHS[width] * style.DPI + 1
    assert min(text.get_fontsize() for text in texts) >= style.SMALL
    assert not outside(texts, image.width, image.height)
    assert not overlapping(texts)
    assert not [text for text in texts if "$5" in text.get_text() and text.get_parse_math()]


def outside(texts, width, height):
    """Return the texts that leave the figure."""
    return [
        text.get_text() for text, box in texts.items()
        if min(box.x0, box.y0) < -SLACK or box.x1 > width + SLACK or box.y1 > height + SLACK
    ]  # fmt: skip


def overlapping(texts):
    """Return the pairs of texts that overlap by more than the slack in both directions."""
    return [
        (a.get_text(), b.get_text())
        for (a, x), (b, y) in itertools.combinations(texts.items(), 2)
        if min(x.x1, y.x1) - max(x.x0, y.x0) > SLACK and min(x.y1, y.y1) - max(x.y0, y.y0) > SLACK
    ]
