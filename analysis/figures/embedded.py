"""Bokeh layouts as HTML that needs no network."""

from bokeh.embed import components
from bokeh.resources import Resources


def scripts() -> str:
    """Return the scripts of Bokeh as HTML for the head of a page (1.7 MB)."""
    return Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render()


def embedded(layout) -> str:
    """Return a Bokeh layout as HTML for the body of a page that has `scripts` in its head."""
    return "\n".join(components(layout)[::-1])
