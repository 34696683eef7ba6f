"""Write one page with every quantity of runs over training, and with what moves together."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.commands.output import add_out, plain, write_results
from analysis.edm.ordering import comparable, ordering
from analysis.figures import atlas as figures
from analysis.figures.course import PINNED, events
from analysis.figures.embedded import embedded, scripts
from analysis.figures.style import synthetic
from analysis.report import page
from analysis.runs.quantities import quantities
from analysis.runs.reader import Run, RunError, open_runs
from analysis.runs.snapshots import read_snapshots
from tapjax.contract.layout import record_steps
from tapjax.contract.text import plural

MOST_EVENTS = 12  # jumps of each run that are marked
SHOWN = ("attention", "filters", "maps")  # groups of snapshots with pictures


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "atlas")
    parser.add_argument(
        "--variables",
        help="quantities that are compared in pairs, with commas between them, as for `tapjax "
        "edm`; by default D, loss, accuracy, gradient norm and measures",
    )


def run(args):
    """Run the command with its parsed flags."""
    asked = [name.strip() for name in (args.variables or "").split(",") if name.strip()]
    return draw(args.runs, args.out, args.partial, asked)


def draw(paths, out: Path, partial=False, asked=()):
    """Write the atlas of runs.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for atlas.html, atlas.json and atlas.csv.
      partial: whether to read unfinished runs, too.
      asked: names of the quantities that are compared in pairs; none for those of
        `ordering.comparable`.

    Returns:
      (JSON result, table to print): pairs of quantities that move together.

    Raises:
      RunError: none of the requested quantities can be compared.
    """
    runs, refused = open_runs(paths, partial)
    read = {each.name: quantities(each) for each in runs}
    rows, notes = [], []
    for each in runs:
        names = list(asked) or comparable(each, read[each.name][0])
        try:
            found, left_out = ordering(each, names)
            rows += [{"run": each.name} | row for row in found]
            notes += [f"Not compared: {line}" for line in left_out]
        except RunError as error:
            notes.append(f"Not compared: {error}")
    if asked and not rows:
        raise RunError(notes[0].removeprefix("Not compared: "))
    columns = ("run", "first", "second", "r", "lag", "lag_low", "lag_high", "q", "verdict")
    table = pd.DataFrame(rows, columns=columns).set_index("run")
    conclusion = _conclusion(runs, read, table)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "atlas.html", runs, read, table, conclusion, notes)
    found = {name: [f"{q.group}/{q.name}" for q in each] for name, (each, _) in read.items()}
    result = {"command": "atlas", "conclusion": conclusion, "rows": rows, "quantities": found}
    result = plain(result | {"notes": notes, "refused": refused})
    write_results(out, "atlas", result, table)
    return result, table[table["verdict"] != "no evidence"]


def _conclusion(runs, read, table):
    shown = sum(len(found) for found, _ in read.values())
    text = f"Series drawn: {shown}, of {plural(len(runs), 'run')}"
    if table.empty:
        return f"{text}; none was compared with another."
    moving = table[table["verdict"] != "no evidence"]
    leads = moving[moving["verdict"] == "leads"]
    text += f"; {len(moving)} of {plural(len(table), 'pair')} move together beyond the null"
    named = [
        f"{row.first} leads {row.second} by {row.lag} steps"
        for row in leads.itertuples(index=False)
    ]
    return f"{text}; {'; '.join(named) if named else 'none has an order'}."


def _write(path, runs, read, table, conclusion, notes):
    marked = [] if len(runs) > 1 else marks(runs[0])
    about = [f"{each.name}: {_about(each)}" for each in runs]
    parts = [
        page.paragraph(conclusion, "verdict"),
        page.bullets(about, "facts"),
        *(page.paragraph(note) for note in notes),
        page.heading("What happens while the network trains?", "quantities"),
        page.paragraph(
            "A line is a mean over seeds, a band their range. Lines from dark to light are the "
            "parts of a quantity, such as layers. Point at a line for its name. Vertical lines: "
            "jumps of D (orange) and changes that the config asked for (green), of a single run."
        ),
        embedded(figures.multiples([(each.name, read[each.name][0]) for each in runs], marked)),
    ]
    left_out = sorted({name for _, names in read.values() for name in names})
    if left_out:
        parts.append(page.paragraph(f"Too many numbers per step: {', '.join(left_out)}.", "facts"))
    for each in runs:
        frames = pictures(each)
        if frames:
            title = f"Contents of {each.name}, seed {each.seeds[0]}"
            parts += [
                page.heading(title, f"contents-{each.name}"),
                embedded(figures.slider(frames)),
            ]
    parts.append(page.heading("What moves together, and what first?", "order"))
    parts.append(
        page.paragraph(
            "Differences between seeds are compared at lags of up to 20 measurements. q is the "
            "false discovery rate over all pairs of a run."
        )
    )
    parts.append(page.table(table, "Pairs of quantities"))
    page.write_page(path, "Atlas of training", parts, scripts())


def _about(each):
    model = each.model
    seeds = plural(len(each.seeds), "seed")
    return f"{model['architecture']} on {model['data']}{synthetic(each)}, {seeds}, {each.extent}"


def marks(each: Run) -> list[tuple[int, str]]:
    """List the events that are marked in the panels.

    Args:
      each: open run.

    Returns:
      Pairs (step, kind): `jump` for at most 12 jumps of D, and `change` for task switches and for
      changes that the config asked for.
    """
    found = [
        (step, "jump" if text.startswith("jump of D") else "change")
        for step, text in events(each)
        if text != PINNED
    ]
    tasks = each.config.get("tasks", {}).get("steps", 0)
    switches = range(tasks, each.config["steps"], tasks) if tasks else ()
    jumps = _spread([pair for pair in found if pair[1] == "jump"], MOST_EVENTS)
    changes = [pair for pair in found if pair[1] == "change"]
    return jumps + changes + [(step, "change") for step in switches]


def _spread(rows, most):
    """Return at most a number of rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return [rows[i] for i in np.linspace(0, len(rows) - 1, most).astype(int)]


def pictures(each: Run) -> dict[str, tuple[list[int], list[np.ndarray]]]:
    """Read pictures of a network from its snapshots: attention, filters and feature maps.

    Args:
      each: open run.

    Returns:
      Name -> (steps, pictures), of the first seed; empty without snapshots. Attention is the mean
      over examples of each head; filters are those of the first input channel; maps are those of
      the first example.
    """
    folder = each.path / "snapshots"
    few = _spread(list(record_steps(folder)), figures.MOST_STEPS)
    found = {}
    for step in few:
        snapshot = read_snapshots(folder, step, SHOWN)[each.seeds[0]]
        for group in SHOWN:
            for layer, values in snapshot.group(group).items():
                picture = _picture(group, values)
                if picture is not None:
                    at, made = found.setdefault(f"{group}: {layer}", ([], []))
                    at.append(step)
                    made.append(picture)
    return found


def _picture(group, values):
    if group == "attention":
        return figures.mosaic(values.mean(0))
    if group == "filters":
        return figures.mosaic(np.moveaxis(values[:, :, 0], 2, 0))
    return figures.mosaic(np.moveaxis(values[0], 2, 0)) if values.ndim == 4 else None
