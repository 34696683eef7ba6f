"""Map the movements that recur while networks train, and compare them with controls without any."""

from functools import partial

import numpy as np
import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures import motifs as figures
from analysis.motifs.channels import (
    CHANNELS,
    MODES,
    OF,
    between,
    channels,
    default_kind,
    epoch_steps,
    recorded,
    steady,
)
from analysis.motifs.controls import controls
from analysis.motifs.regions import counts
from analysis.motifs.stages import RATE, epoch_information, evidence_of_order
from analysis.motifs.study import Settings, mapped, summary
from analysis.motifs.verdict import ENOUGH, judge, verdict
from analysis.motifs.wavelets import amplitudes, frequencies
from analysis.runs.reader import RunError, open_runs
from analysis.runs.seeds import interval
from analysis.statistics.parallel import in_processes
from tapjax.contract.layout import write_npz

RECORDED = "recorded"
# WHOLE: measures with one value per map; MEASURES: measures with one value per series.
WHOLE = ("states", "hold_90", "inside", "fidelity")
MEASURES = ("basins", "separation", "dwell", "transition_entropy", "occupied")
SHOWN = (
    "states",
    "fidelity",
    "separation",
    "dwell",
    "dwell_beyond",
    "dwell_p",
    "transition_entropy",
)
SHOWN += ("contiguity", "contiguity_p", "agreement", "agreement_p", "epoch_bits", "epoch_p")


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "motifs")
    add_figure_flags(parser)
    parser.add_argument("--channels", help=CHANNELS)
    parser.add_argument(
        "--of",
        default=OF[0],
        choices=OF,
        help="what is mapped: changes from point to point (increments), or deviations from a "
        "moving mean (levels)",
    )
    parser.add_argument("--modes", type=int, default=MODES, help="number of principal components")
    parser.add_argument("--start", type=int, default=0, help="first training step to use")
    parser.add_argument(
        "--stop", type=int, help="training step before which to stop; by default the end of the run"
    )
    parser.add_argument(
        "--slowest",
        type=int,
        help="longest period, in points; by default 500, at most a 24th of the shortest run",
    )
    parser.add_argument(
        "--window",
        type=int,
        help="length of the moving window for level and scale, in points; by default 4 times the "
        "longest period",
    )
    parser.add_argument(
        "--train", type=int, default=3000, help="number of points that the map is made from"
    )
    parser.add_argument(
        "--every", type=int, default=1, help="distance from one placed point to the next, in points"
    )
    parser.add_argument(
        "--sigma",
        type=float,
        default=1 / 40,
        help="width (standard deviation) of the kernel of the density, as a share of the map's "
        "extent",
    )
    parser.add_argument(
        "--repeats", type=int, default=0,
        help=f"number of maps per control, at least {ENOUGH} for a claim of distinct states; 0 for "
        "no claim",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of the map and of the controls"
    )


def run(args):
    """Run the command with its parsed flags."""
    runs, refused = open_runs(args.runs, args.partial)
    kind = args.channels or default_kind(runs[0])
    columns = [between(recorded(r, kind), args.start, args.stop) for r in runs]
    settings, window = _settings(args, min(len(c.steps) for c in columns))
    found = channels(columns, args.modes, args.of, window)
    series = [x for c in found for x in steady(c.values, window)]
    without_states = controls(args.of, window)
    try:
        maps, described = _maps(series, settings, without_states)
        judged = judge(series, settings, without_states, args.repeats) if args.repeats else []
    except ImportError as error:
        raise RunError(f"{error}: python -m pip install 'tapjax[motifs]'") from error
    except ValueError as error:
        raise RunError(str(error)) from error
    stages = {name: _stages(one, runs, found, settings) for name, one in maps.items()}
    said = verdict(judged, [order["ordered"] for order in stages[RECORDED].values()])
    rows = [_row(name, described[name], stages[name]) for name in maps]
    names = [f"{r.name}, seed {seed}" for r in runs for seed in r.seeds]
    title = (
        f"{', '.join(r.name for r in runs)}: {args.of} of {kind}, {len(series)} series, "
        f"{series[0].shape[1]} components, periods 2 to {settings.slowest} points"
    )
    drawn = _draw(runs, found, series, maps, described, names, settings, title, args.out)
    _keep(maps[RECORDED], found, args.out)
    result = plain(
        {
            "command": "motifs", "channels": kind, "of": args.of, "series": names,
            "settings": settings._asdict() | {"window": window, "repeats": args.repeats},
            "variance_shares": [own for c in found for own in c.share.tolist()],
            "verdict": said, "conclusion": f"Recorded series: {said}.", "judged": judged,
            "rows": rows, "maps": described, "stages": stages,
            "figures": drawn, "refused": refused,
        }
    )  # fmt: skip
    table = pd.DataFrame(rows).set_index("map")
    write_results(args.out, "motifs", result, table)
    table = table[[name for name in SHOWN if name in table]]
    return result, table


def _maps(series, settings, without_states) -> tuple[dict, dict]:
    """Compute the map of the recorded series and one map of each control, with their summaries."""
    rng = np.random.default_rng(settings.seed)
    made = {RECORDED: series}
    made |= {name: [control(x, rng) for x in series] for name, control in without_states.items()}
    found = in_processes(partial(_described, settings=settings), made.values(), "maps")
    maps, described = zip(*found, strict=True)
    return dict(zip(made, maps, strict=True)), dict(zip(made, described, strict=True))


def _described(series, settings):
    one = mapped(series, settings)
    return one, summary(one, settings)


def _settings(args, points) -> tuple[Settings, int]:
    """Check the flags, and return the settings of the maps and the length of the moving window."""
    if args.modes < 1 or args.every < 1 or args.repeats < 0 or not 0 < args.sigma < 1:
        raise RunError(
            "--modes and --every must be 1 or more, --repeats 0 or more, --sigma between 0 and 1"
        )
    if 0 < args.repeats < ENOUGH:
        raise RunError(
            f"--repeats={args.repeats}: fewer than {ENOUGH} maps per control cannot reach "
            f"p = {RATE}; give at least {ENOUGH}, or 0 for no claim"
        )
    slowest = args.slowest or min(500, points // 24)
    if not args.slowest and slowest < 4:
        raise RunError(
            f"the {points} points of the shortest run are too few for a map: at least 96 are "
            "needed, or fewer with --slowest of at least 4"
        )
    if not 4 <= slowest <= points // 4:
        raise RunError(
            f"--slowest={slowest} is not between 4 points and a quarter of the {points} points of "
            "the shortest run"
        )
    window = args.window or 4 * slowest
    if window < slowest:
        raise RunError(f"--window={window} is shorter than the longest period, {slowest} points")
    return Settings(slowest, args.train, args.every, args.sigma, args.seed), window


def _placed_steps(one, found):
    """Return for each series the steps of its points that were placed on the map."""
    steps = [c.steps for c in found for _ in c.values]
    return [step[index] for step, index in zip(steps, one.index, strict=True)]


def _stages(one, runs, found, settings) -> dict:
    """Measure for every run whether states come in an order, and whether the epoch makes them."""
    result, first = {}, 0
    least = -(-2 * settings.slowest // settings.every)
    for r in runs:
        own = slice(first, first + len(r.seeds))
        label, step = np.stack(one.label[own]), _placed_steps(one, found)[first]
        result[r.name] = evidence_of_order(label, one.regions.count, least)
        period = epoch_steps(r)
        if period and step[1] - step[0] < period / 4:
            result[r.name]["epoch"] = epoch_information(label, step, period)
        first += len(r.seeds)
    return result


def _row(name, own, stages) -> dict:
    """Build one row of the table: means over series with the half widths of their intervals."""
    row = {"map": name} | {key: own[key] for key in WHOLE}
    for measure in MEASURES:
        row[measure], row[f"{measure}_half"] = interval(np.array(own["series"][measure], float))
    if len(stages) == 1:
        (only,) = stages.values()
        epoch = only.get("epoch", {})
        row |= {key: only[key] for key in ("contiguity", "contiguity_p", "agreement")}
        row |= {"agreement_p": only["agreement_p"], "ordered": only["ordered"]}
        row |= {"epoch_bits": epoch.get("bits"), "epoch_null_bits": epoch.get("null_bits")}
        row |= {"epoch_p": epoch.get("p")}
    return row


def _draw(runs, found, series, maps, described, names, settings, title, out):
    one = maps[RECORDED]
    steps = _placed_steps(one, found)
    grid = frequencies(1 / settings.slowest, 0.5)
    every = found[0].steps[1] - found[0].steps[0]
    epoch = epoch_steps(runs[0])
    sweeps = {
        name: counts(np.concatenate([z[ok] for z, ok in zip(m.place, m.inside, strict=True)]))
        for name, m in maps.items()
    }
    curves = any(run.has("scalar", "loss") or run.has("eval", "accuracy") for run in runs)
    made = [figures.learning(runs, title, out / "learning")] if curves else []
    made += [
        figures.scalogram(
            found[0].steps, amplitudes(series[0], grid), grid, epoch and epoch / every,
            f"{names[0]}: amplitude of each component by period", out / "scalogram",
        ),
        figures.overview(one, steps, names, title, out / "map"),
        figures.controls(maps, sweeps, title, out / "controls"),
        figures.ethogram(one, steps, names, title, out / "ethogram"),
        figures.graph(one, described[RECORDED], title, out / "transitions"),
    ]  # fmt: skip
    return [path.name for path in made]


def _keep(one, found, out):
    """Write the place and the state of every point to map.npz, for user-defined analyses."""
    arrays = {}
    for i, step in enumerate(_placed_steps(one, found)):
        arrays |= {
            f"step/{i}": step, f"place/{i}": one.place[i], f"state/{i}": one.label[i],
            f"inside/{i}": one.inside[i], f"total/{i}": one.total[i],
        }  # fmt: skip
    write_npz(out / "map.npz", arrays)
