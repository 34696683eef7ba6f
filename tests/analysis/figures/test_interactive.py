import numpy as np
import pytest
from bokeh.models import ColumnDataSource, GlyphRenderer, HoverTool, Line, Select, Toggle
from bokeh.plotting import figure

from analysis import open_run
from analysis.figures import course, embedded, interactive
from tests.analysis.made_runs import write_run

T = np.arange(0, 1001, 5.0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, of which the second has a jump of D and accuracies."""
    folder = tmp_path_factory.mktemp("interactive")
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, len(T)))
    write_run(folder / "plain", 5 + noise)
    accuracy = np.tile(T / 1000, (2, 1))
    write_run(folder / "jump", 5 + 3 * (T > 500) + noise, **{"probe/accuracy": accuracy})
    return [course.read(open_run(folder / name)) for name in ("plain", "jump")]


def test_curves_hold_mean_and_range_and_events(runs):
    plain, jump = runs
    assert set(plain.quantities) == {"D", "loss"} and plain.final_accuracy is None
    assert jump.final_accuracy == 1
    curve = jump.quantities["D"]
    assert (curve.low <= curve.mean).all() and (curve.mean <= curve.high).all()
    assert plain.events == []
    assert {text for _, text in jump.events} == {"jump of D, seed 0", "jump of D, seed 1"}
    assert all(abs(step - 505) <= 5 for step, _ in jump.events)


def test_long_series_have_few_points(tmp_path):
    t = np.arange(0, 20_001, 5.0)
    found = course.read(open_run(write_run(tmp_path / "long", 5 + np.sin(t / 1000)[None])))
    for name in ("D", "loss"):
        assert course.MOST_POINTS / 2 < len(found.quantities[name].step) <= course.MOST_POINTS
    assert len(found.layers[0]) <= course.MOST_LAYER_POINTS


def test_panels_share_their_steps_and_buttons_hide_a_run_everywhere(runs):
    layout = interactive.linked(runs)
    panels = list(layout.select({"type": figure}))
    assert len(panels) == 4 and len({id(panel.x_range) for panel in panels}) == 1
    buttons = {button.label: button for button in layout.select({"type": Toggle})}
    assert set(buttons) == {"plain", "jump"}
    for name, expected in (("plain", 4), ("jump", 7)):  # two glyphs per curve, and a mark
        button = buttons[name]
        (callback,) = button.js_property_callbacks["change:active"]
        hidden = callback.args["renderers"]
        assert len(hidden) == expected
        names = {glyph.data_source.data["run"][0] for glyph in hidden}
        assert names == {button.label}


def test_layers_of_one_run_are_shown_at_a_time(runs):
    layout = interactive.linked(runs)
    (menu,) = layout.select({"type": Select})
    assert menu.options == ["plain", "jump"]
    glyphs = layout.select({"type": GlyphRenderer})
    layers = [g for g in glyphs if list(g.data_source.data["run"])[0] in ("a", "b", "head")]
    assert len(layers) == 6 and sum(glyph.visible for glyph in layers) == 3


def test_more_runs_than_colours_differ_in_dashes():
    styles = [tuple(interactive.line_style(i).values()) for i in range(18)]
    assert len(set(styles)) == 18


def test_names_cannot_break_out_of_the_page(tmp_path):
    layers = ("</script><script>alert(1)</script>", "b", "head")
    path = tmp_path / "<img src=x onerror=alert(1)>"
    run = open_run(write_run(path, np.ones((1, 11)), layers=layers))
    page = embedded.embedded(interactive.linked([course.read(run)]))
    assert "<script>alert" not in page and "<img" not in page


def test_sources_are_finite(runs):
    for source in interactive.linked(runs).select({"type": ColumnDataSource}):
        for name, column in source.data.items():
            if name not in ("run", "text"):
                assert np.isfinite(np.asarray(column, float)).all(), name


def test_every_panel_tells_of_its_own_lines(runs):
    for panel in interactive.linked(runs).select({"type": figure}):
        told = {id(glyph) for tool in panel.select({"type": HoverTool}) for glyph in tool.renderers}
        assert told <= {id(glyph) for glyph in panel.renderers}
        lines = [glyph for glyph in panel.renderers if isinstance(glyph.glyph, Line)]
        assert lines and {id(line) for line in lines} <= told


def test_a_single_measurement_is_drawn(tmp_path):
    run = open_run(write_run(tmp_path / "short", np.ones((2, 3))))
    assert list(interactive.linked([course.read(run)]).select({"type": figure}))
