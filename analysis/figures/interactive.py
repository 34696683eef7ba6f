"""Interactive curves of runs, drawn by Bokeh: in the report, and live while networks train."""

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    Div,
    HoverTool,
    Range1d,
    Row,
    Select,
    Toggle,
)  # fmt: skip
from bokeh.plotting import figure
from matplotlib.colors import to_hex
from matplotlib.pyplot import get_cmap

from analysis.figures.course import Curves, accuracy_label
from analysis.figures.style import COLOURS, DASHES, NEUTRAL

HEIGHT = {"D": 280, "loss": 180, "accuracy": 180, "layers": 260}
LABELS = {"D": "D (mean of hidden layers)", "loss": "training loss", "accuracy": "test accuracy"}
TOOLS = "xpan,xbox_zoom,xwheel_zoom,reset,save"


def line_style(i: int) -> dict:
    """Return colour and dash pattern of the i-th run; six colours, then other patterns."""
    dash = DASHES[i // len(COLOURS) % len(DASHES)]
    return {
        "line_color": COLOURS[i % len(COLOURS)],
        "line_dash": list(dash[1]) if isinstance(dash, tuple) else dash,
    }


def panel(quantity: str, x_range=None):
    """Make an empty panel for one quantity.

    Args:
      quantity: `D`, `loss`, `accuracy`, or `layers`.
      x_range: range of steps that other panels share; None for a new one.

    Returns:
      Bokeh figure.
    """
    made = figure(
        height=HEIGHT[quantity], sizing_mode="stretch_width", tools=TOOLS,
        active_drag="xbox_zoom", x_range=x_range, output_backend="canvas",
        y_axis_type="log" if quantity == "loss" else "linear",
    )  # fmt: skip
    made.yaxis.axis_label = LABELS.get(quantity, "dimensionality of each layer")
    made.xaxis.axis_label = "training step"
    made.y_range.only_visible = True
    made.toolbar.logo = None
    made.toolbar.autohide = True
    made.background_fill_color = made.border_fill_color = None
    for axis in made.axis:
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "13px", "12px"
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = axis.major_label_text_color = NEUTRAL
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = NEUTRAL
    made.grid.grid_line_color, made.grid.grid_line_alpha = NEUTRAL, 0.25
    made.outline_line_color = None
    return made


def _small(**columns):
    """Return columns of numbers in single precision, which halves their size on the page."""
    return {name: np.asarray(values, np.float32) for name, values in columns.items()}


def add_curve(panel, source: ColumnDataSource, i: int) -> list:
    """Draw one run in a panel: its mean over seeds, and the range over seeds as a band.

    Args:
      panel: figure from `panel`.
      source: columns step, mean, low, high, and run, the name of the run.
      i: number of the run, which determines its colour.

    Returns:
      The two glyph renderers.
    """
    style = line_style(i)
    band = panel.varea(
        "step", "low", "high", source=source, fill_color=style["line_color"], fill_alpha=0.18
    )
    line = panel.line("step", "mean", source=source, line_width=2, **style)
    return [band, line]


def hover(panel, lines, value: str = "mean"):
    """Show the name of the run, the step and the value where the pointer is."""
    shown = [("", "@run"), ("step", "@step{0}"), ("value", f"@{value}{{0.000}}")]
    panel.add_tools(HoverTool(renderers=lines, tooltips=shown, mode="mouse"))


def linked(runs: list[Curves]):
    """Draw the curves of runs in panels with the same steps.

    Args:
      runs: curves of each run.

    Returns:
      Bokeh layout: buttons that show and hide runs; panels of D, loss and accuracy; and a panel of
      the layers of one run, which a menu selects.
    """
    last = max(1, *(curve.step[-1] for run in runs for curve in run.quantities.values()))
    x_range = Range1d(0, last, bounds=(0, last))
    panels, drawn = [], {i: [] for i in range(len(runs))}
    for quantity in ("D", "loss", "accuracy"):
        if not any(quantity in run.quantities for run in runs):
            continue
        panels.append(made := panel(quantity, x_range))
        if quantity == "accuracy":
            made.yaxis.axis_label = accuracy_label(runs)
        lines = []
        for i, run in enumerate(runs):
            if quantity in run.quantities:
                curve = _small(**run.quantities[quantity]._asdict())
                source = ColumnDataSource(curve | {"run": [run.name] * len(curve["step"])})
                drawn[i] += add_curve(made, source, i)
                lines.append(drawn[i][-1])
        hover(made, lines)
    for i, run in enumerate(runs):
        drawn[i] += _marked(panels[0], run, i)
    buttons = [button(run.name, i, drawn[i]) for i, run in enumerate(runs)]
    wrapped = {"flex-wrap": "wrap", "gap": "4px"}
    shown = [Row(children=buttons, styles=wrapped, sizing_mode="stretch_width"), *panels]
    if any(run.layers[1] for run in runs):
        shown += _layers(runs, x_range)
    return column(*shown, sizing_mode="stretch_width")


def _marked(panel, run, i):
    """Mark the events of a run at the foot of a panel; the pointer shows what they are."""
    if not run.events:
        return []
    step, text = zip(*run.events, strict=True)
    curve = next(iter(run.quantities.values()))
    height = np.interp(step, curve.step, curve.mean)
    source = ColumnDataSource(
        {"step": step, "mean": height, "run": [run.name] * len(step), "text": text}
    )
    marks = panel.scatter(
        "step", "mean", source=source, marker="inverted_triangle", size=11, line_color=NEUTRAL,
        fill_color=line_style(i)["line_color"],
    )  # fmt: skip
    shown = [("", "@run"), ("step", "@step{0}"), ("", "@text")]
    panel.add_tools(HoverTool(renderers=[marks], tooltips=shown))
    return [marks]


def button(name: str, i: int, renderers: list) -> Toggle:
    """Make a button in the colour of the i-th run that shows and hides what is drawn of it."""
    style = line_style(i)
    edge = f"14px {'double' if style['line_dash'] != 'solid' else 'solid'} {style['line_color']}"
    css = f".bk-btn {{ border-left: {edge} !important; font-size: 12px; white-space: normal; "
    css += "overflow-wrap: anywhere; }"
    made = Toggle(label=name, active=True, stylesheets=[css], button_type="default")
    code = "for (const glyph of renderers) glyph.visible = made.active"
    made.js_on_change("active", CustomJS(args={"renderers": renderers, "made": made}, code=code))
    return made


def _layers(runs, x_range):
    """Return a menu of runs, and a panel with the layers of the run that it selects."""
    made, lines = panel("layers", x_range), {}
    with_layers = [run for run in runs if run.layers[1]]
    for run in with_layers:
        step, layers = run.layers
        colours = get_cmap("viridis")(np.linspace(0, 0.9, len(layers)))
        lines[run.name] = []
        for colour, (layer, values) in zip(colours, layers.items(), strict=True):
            source = ColumnDataSource(_small(step=step, mean=values) | {"run": [layer] * len(step)})
            lines[run.name].append(
                made.line("step", "mean", source=source, line_width=1.6, line_color=to_hex(colour))
            )
    for name, of_run in lines.items():
        for line in of_run:
            line.visible = name == with_layers[0].name
    hover(made, [line for of_run in lines.values() for line in of_run])
    menu = Select(title="Layers of run", options=list(lines), value=with_layers[0].name)
    menu.styles = {"color": NEUTRAL}
    code = "for (const name in lines) for (const g of lines[name]) g.visible = name === menu.value"
    menu.js_on_change("value", CustomJS(args={"lines": lines, "menu": menu}, code=code))
    depth = Div(
        text="dark: first layer, light: last layer; point at a line for its name",
        styles={"color": NEUTRAL, "font-size": "13px"},
    )
    return [menu, depth, made]
