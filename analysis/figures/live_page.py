"""The live page: curves of runs that train, in a Bokeh document that is updated in place."""

import html

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, DataRange1d, Div, Row

from analysis.figures.interactive import add_curve, button, hover, line_style, panel
from analysis.figures.style import NEUTRAL
from analysis.live.followed import Followed
from tapjax.contract.text import plural

QUANTITIES = ("D", "loss", "accuracy")
MOST_WARNINGS = 20
# Without a viewport, phones show the page reduced to a third.
TEMPLATE = """{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">{% endblock %}"""
CURVE = ("step", "mean", "low", "high", "run")  # columns, of forecasts as well


class Page:
    """Panels, buttons and a list of runs in one document."""

    def __init__(self, document, runs: list[Followed]):
        """Fill the document.

        Args:
          document: Bokeh document of one browser window.
          runs: followed runs.
        """
        self.document = document
        document.title, document.template = "tapjax live", TEMPLATE
        self._build(runs)
        self.update(runs)

    def _build(self, runs):
        """Make the panels for these runs; the sources are filled by `update`."""
        self.names = [run.name for run in runs]
        self.said = Div(sizing_mode="stretch_width", styles={"font-size": "14px"})
        x_range = DataRange1d(start=0)
        self.drawn = {}  # (run, quantity) -> what its source was last filled from
        self.sources, drawn = {}, {name: [] for name in self.names}
        panels = {quantity: panel(quantity, x_range) for quantity in QUANTITIES}
        for quantity, made in panels.items():
            lines = []
            for i, name in enumerate(self.names):
                source = ColumnDataSource({column: [] for column in CURVE})
                self.sources[name, quantity] = source
                drawn[name] += add_curve(made, source, i)
                lines.append(drawn[name][-1])
            hover(made, lines)
        for i, name in enumerate(self.names):
            drawn[name] += self._forecasts(panels["D"], name, i)
        buttons = [button(name, i, drawn[name]) for i, name in enumerate(self.names)]
        wrapped = {"flex-wrap": "wrap", "gap": "4px"}
        self.document.clear()
        self.document.add_root(
            column(
                self.said, Row(children=buttons, styles=wrapped, sizing_mode="stretch_width"),
                *panels.values(), sizing_mode="stretch_width",
            )
        )  # fmt: skip

    def _forecasts(self, panel, name, i):
        """Draw forecasts as dots with the ends of their intervals, and jumps as triangles."""
        colour = line_style(i)["line_color"]
        ahead = ColumnDataSource({column: [] for column in CURVE})
        jumps = ColumnDataSource({column: [] for column in ("step", "mean", "run")})
        self.sources[name, "forecast"], self.sources[name, "jumps"] = ahead, jumps
        drawn = [
            panel.segment("step", "low", "step", "high", source=ahead, line_color=colour),
            panel.scatter("step", "mean", source=ahead, size=7, fill_color=None, line_color=colour),
            panel.scatter(
                "step", "mean", source=jumps, size=11, marker="inverted_triangle",
                fill_color=colour, line_color=NEUTRAL,
            ),
        ]  # fmt: skip
        hover(panel, drawn[1:])
        return drawn

    def update(self, runs: list[Followed]):
        """Show what the runs hold now; runs that are new get their own curves."""
        if [run.name for run in runs] != self.names:
            self._build(runs)
        for run in runs:
            for quantity in QUANTITIES:
                step, values_SxT = run.curves[quantity].arrays()
                last = (run, step[-1]) if len(step) else None
                if last != self.drawn.get((run.name, quantity)):
                    self.drawn[run.name, quantity] = last
                    self.sources[run.name, quantity].data = _columns(run.name, step, values_SxT)
            self.sources[run.name, "forecast"].data = _ahead(run)
            self.sources[run.name, "jumps"].data = _jumps(run)
        self.said.text = "".join(_said(run) for run in runs)


def _columns(name, step, values_SxT):
    step, values_SxT = _finite(step, values_SxT)
    mean, low, high = (f(values_SxT, 0) for f in (np.nanmean, np.nanmin, np.nanmax))
    return {"step": step, "mean": mean, "low": low, "high": high, "run": [name] * len(step)}


def _finite(step, values_SxT):
    """Leave out the points at which no seed is finite; elsewhere, other seeds become NaN."""
    values_SxT = np.where(np.isfinite(values_SxT), values_SxT, np.nan)
    kept = np.isfinite(values_SxT).any(0)
    return step[kept], values_SxT[:, kept]


def _ahead(run):
    """Return the forecasts of a run that is training, averaged over its seeds."""
    trains = run.progress.status == "RUNNING"
    made = [predictions for predictions in run.forecasts.values() if predictions and trains]
    points = [np.mean([p[k] for p in made], 0) for k in range(len(made[0]))] if made else []
    rows = np.array(points).reshape(-1, 5)
    step, mean, low, high, _ = rows.T
    names = [f"{run.name}, forecast"] * len(rows)
    return {"step": step, "mean": mean, "low": low, "high": high, "run": names}


def _jumps(run):
    jumps, (step, d_SxT) = run.jumps, _finite(*run.curves["D"].arrays())
    height = [np.interp(at, step, np.nanmean(d_SxT, 0)) for at, _ in jumps]
    names = [f"{run.name}, jump of D, seed {seed}" for _, seed in jumps]
    return {"step": [at for at, _ in jumps], "mean": height, "run": names}


def _said(run):
    """Describe the state of a run in a line, and its warnings in further lines."""
    progress = run.progress
    line = f"{run.name}: {progress.status} at step {progress.step:,} of {progress.steps:,}"
    _, d_SxT = _finite(*run.curves["D"].arrays())
    if d_SxT.size:
        line += f"; D {np.nanmean(d_SxT[:, -1]):.2f}"
        lost = int(np.isnan(d_SxT[:, -1]).sum())
        line += f", not finite in {plural(lost, 'seed')}" if lost else ""
    line += f"; {plural(len(run.jumps), 'jump')}" if run.jumps else ""
    lines = [line, f"cannot be read: {run.problem}"] if run.problem else [line]
    lines += [
        f"WARNING at step {w.step}, seed {seed}: {w.message}. Try: {w.recommendation}."
        for seed, w in run.warnings[-MOST_WARNINGS:]
    ]
    return "".join(f"<div>{html.escape(text)}</div>" for text in lines)
