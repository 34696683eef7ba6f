"""Small multiples of all quantities of runs, and contents of a network under a slider, by Bokeh."""

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    HoverTool,
    LinearColorMapper,
    Range1d,
    Row,
    Select,
    Slider,
    Span,
)  # fmt: skip
from bokeh.plotting import figure
from matplotlib.colors import to_hex
from matplotlib.pyplot import get_cmap

from analysis.figures.interactive import line_style
from analysis.figures.style import NEUTRAL

WIDTH, HEIGHT = 330, 210
MOST_POINTS, MOST_STEPS, MOST_PICTURES = 200, 60, 16
DECADES = 100  # quantities above 0 that span more have a logarithmic axis
EVENT_COLOURS = {"jump": "#d55e00", "change": "#009e73"}


def multiples(runs: list[tuple[str, list]], events: list[tuple[int, str]]):
    """Draw every quantity in a panel of its own; all panels have the same steps.

    Args:
      runs: pairs (name of a run, its quantities as `runs.quantities.Quantity`). Of a single run,
        each part of a quantity is a line, of several runs the mean over parts.
      events: pairs (step, kind); the kinds are those of `EVENT_COLOURS`.

    Returns:
      Bokeh layout.
    """
    last = max([1, *(q.steps[-1] for _, found in runs for q in found)])
    x_range = Range1d(0, last, bounds=(0, last))
    names = dict.fromkeys((q.group, q.name) for _, found in runs for q in found)
    panels = []
    for group, name in names:
        drawn = [
            (i, q)
            for i, (_, found) in enumerate(runs)
            for q in found
            if (q.group, q.name) == (group, name)
        ]
        panels.append(_panel(group, name, drawn, runs, x_range, events))
    wrapped = {"flex-wrap": "wrap", "gap": "8px"}
    return Row(children=panels, styles=wrapped, sizing_mode="stretch_width")


def _panel(group, name, drawn, runs, x_range, events):
    values = np.concatenate([q.values[np.isfinite(q.values)].ravel() for _, q in drawn])
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    logarithmic = low > 0 and high > DECADES * low
    title = name if name == "D" else f"{group}/{name}"
    made = figure(
        width=WIDTH, height=HEIGHT, title=title, x_range=x_range, output_backend="canvas",
        tools="xpan,xbox_zoom,reset", active_drag="xbox_zoom",
        y_axis_type="log" if logarithmic else "linear",
    )  # fmt: skip
    _plain(made)
    for step, kind in events:
        made.add_layout(
            Span(location=step, dimension="height", line_color=EVENT_COLOURS[kind], line_alpha=0.5)
        )
    lines = []
    for i, q in drawn:
        if q.values.ndim == 3 and len(runs) == 1:
            lines += _of_parts(made, q)
        else:
            flat = q._replace(values=q.values.mean(2)) if q.values.ndim == 3 else q
            lines += _of_run(made, flat, runs[i][0], i)
    shown = [("", "@name"), ("step", "@step{0}"), ("value", "@mean{0.000}")]
    made.add_tools(HoverTool(renderers=lines, tooltips=shown))
    return made


def _plain(made):
    made.toolbar.logo, made.toolbar.autohide = None, True
    made.background_fill_color = made.border_fill_color = None
    made.outline_line_color = None
    made.title.text_font_size, made.title.text_color = "13px", NEUTRAL
    made.grid.grid_line_color, made.grid.grid_line_alpha = NEUTRAL, 0.2
    for axis in made.axis:
        axis.major_label_text_font_size, axis.major_label_text_color = "11px", NEUTRAL
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = NEUTRAL
    made.xaxis.axis_label = "training step"
    made.xaxis.axis_label_text_font_size, made.xaxis.axis_label_text_color = "11px", NEUTRAL
    made.xaxis.axis_label_text_font_style = "normal"


def _thinned(q):
    every = max(-(-len(q.steps) // MOST_POINTS), 1)
    return q.steps[::every].astype(np.float32), q.values[:, ::every]


def _of_run(made, q, run, i):
    step, values_SxT = _thinned(q)
    with np.errstate(invalid="ignore"):
        columns = {
            "step": step,
            "mean": values_SxT.mean(0).astype(np.float32),
            "low": values_SxT.min(0).astype(np.float32),
            "high": values_SxT.max(0).astype(np.float32),
            "name": [run] * len(step),
        }
    source, style = ColumnDataSource(columns), line_style(i)
    if len(values_SxT) > 1:
        made.varea(
            "step", "low", "high", source=source, fill_color=style["line_color"], fill_alpha=0.18
        )
    return [_curve(made, source, len(step), line_width=1.6, **style)]


def _of_parts(made, q):
    step, values_SxTxK = _thinned(q)
    colours = get_cmap("viridis")(np.linspace(0, 0.9, len(q.parts)))
    lines = []
    for k, (colour, part) in enumerate(zip(colours, q.parts, strict=True)):
        mean_T = values_SxTxK[:, :, k].mean(0).astype(np.float32)
        source = ColumnDataSource({"step": step, "mean": mean_T, "name": [part] * len(step)})
        lines.append(_curve(made, source, len(step), line_width=1.3, line_color=to_hex(colour)))
    return lines


def _curve(made, source, points, **style):
    """Draw a line, and its points if they are few."""
    if points <= 30:
        made.scatter("step", "mean", source=source, size=4, color=style["line_color"])
    return made.line("step", "mean", source=source, **style)


def mosaic(pictures) -> np.ndarray:
    """Arrange pictures in rows, with one empty pixel between them.

    Args:
      pictures: array [N, height, width]; at most 16 are used.

    Returns:
      Array of all pictures, the first at the top left; not-a-number between pictures.
    """
    pictures = np.asarray(pictures, np.float32)[:MOST_PICTURES]
    n, height, width = pictures.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    out = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * (height + 1), (i % columns) * (width + 1)
        out[y : y + height, x : x + width] = picture
    return out


def slider(frames: dict[str, tuple[list[int], list[np.ndarray]]]):
    """Show pictures of a network over training, under a slider.

    Args:
      frames: name -> (steps, one picture for each step).

    Returns:
      Bokeh layout: a menu of names, a slider, and the picture.
    """
    sources, ranges = {}, {}
    for name, (steps, pictures) in frames.items():
        finite = np.concatenate([p[np.isfinite(p)] for p in pictures])
        ranges[name] = [float(finite.min()), float(finite.max()) or 1.0]
        sources[name] = ColumnDataSource(
            {
                "image": [p[::-1] for p in pictures],  # Bokeh draws the first row at the bottom
                "step": steps,
                "width": [p.shape[1] for p in pictures],
                "height": [p.shape[0] for p in pictures],
            }
        )
    first = next(iter(frames))
    shown = ColumnDataSource({key: values[:1] for key, values in sources[first].data.items()})
    low, high = ranges[first]
    clear = "rgba(0, 0, 0, 0)"
    mapper = LinearColorMapper(palette="Viridis256", low=low, high=high, nan_color=clear)
    made = figure(
        width=WIDTH, height=WIDTH, title=f"step {frames[first][0][0]}", toolbar_location=None,
        match_aspect=True, tools="",
    )  # fmt: skip
    _plain(made)
    made.axis.visible = made.grid.visible = False
    made.image(image="image", x=0, y=0, dw="width", dh="height", source=shown, color_mapper=mapper)
    menu = Select(title="Contents", options=list(frames), value=first)
    menu.styles = {"color": NEUTRAL}
    moved = Slider(start=0, end=len(frames[first][0]) - 1, value=0, step=1, show_value=False)
    moved.title = "training"
    code = """
      const all = sources[menu.value].data;
      moved.end = all.step.length - 1;
      const k = Math.min(moved.value, moved.end);
      shown.data = Object.fromEntries(Object.entries(all).map(([key, v]) => [key, [v[k]]]));
      [mapper.low, mapper.high] = ranges[menu.value];
      title.text = `step ${all.step[k]}`;
    """
    args = {
        "sources": sources, "menu": menu, "moved": moved, "shown": shown, "mapper": mapper,
        "ranges": ranges, "title": made.title,
    }  # fmt: skip
    for control, changed in ((menu, "value"), (moved, "value")):
        control.js_on_change(changed, CustomJS(args=args, code=code))
    return column(menu, moved, made)
