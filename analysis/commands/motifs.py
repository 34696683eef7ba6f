"""`motifs`: which movements recur while networks train, on one map, beside controls without any."""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.commands.output import plain, write_results
from analysis.figures import motifs as figures
from analysis.io import RunError, find_runs, open_run
from analysis.layout import write_npz
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
from analysis.motifs.controls import CONTROLS
from analysis.motifs.regions import counts
from analysis.motifs.stages import epoch_information, evidence_of_order
from analysis.motifs.study import Settings, mapped, summary
from analysis.motifs.wavelets import amplitudes, frequencies
from analysis.seeds import interval, paired_p

RECORDED = "recorded"
LEAST_SEEDS, RATE = 5, 0.05  # of a claim
WHOLE = ("states", "hold_90", "inside", "fidelity")  # of a map; the others of each series
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
    """The command's own flags."""
    parser.add_argument("--out", type=Path, default=Path("out/motifs"), help="for the results")
    parser.add_argument("--channels", help=CHANNELS)
    parser.add_argument(
        "--of", default=OF[0], choices=OF, help="changes, or deviations from a moving mean"
    )
    parser.add_argument("--modes", type=int, default=MODES, help="principal components")
    parser.add_argument("--start", type=int, default=0, help="first step that is used")
    parser.add_argument("--stop", type=int, help="step after the last that is used")
    parser.add_argument(
        "--slowest", type=int, help="longest period, points; default 500, or a 24th of a run"
    )
    parser.add_argument(
        "--window", type=int, help="of level and scale, points; default four times the slowest"
    )
    parser.add_argument("--train", type=int, default=3000, help="points that make the map")
    parser.add_argument("--every", type=int, default=1, help="points from one placed to the next")
    parser.add_argument(
        "--sigma", type=float, default=1 / 40, help="of the density, as a share of the map's extent"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the map and of the controls")


def run(args):
    """Carry out the parsed command."""
    runs = [open_run(path, args.partial) for path in find_runs(args.runs)]
    kind = args.channels or default_kind(runs[0])
    if args.modes < 1 or args.every < 1 or not 0 < args.sigma < 1 or args.train < 1:
        raise RunError("--modes, --every and --train begin at 1, --sigma lies between 0 and 1")
    columns = [between(recorded(r, kind), args.start, args.stop) for r in runs]
    settings = _settings(args, min(len(c.steps) for c in columns))
    window = args.window or 4 * settings.slowest
    found = channels(columns, args.modes, args.of, window)
    names = [f"{r.name}, seed {seed}" for r in runs for seed in r.seeds]
    try:
        series = [x for c in found for x in steady(c.values, window)]
        maps = _maps(series, settings)
    except (ValueError, ImportError) as error:
        raise RunError(f"{error}{_advice(error)}") from error
    described = {name: summary(one) for name, one in maps.items()}
    stages = {name: _stages(one, runs, found, settings) for name, one in maps.items()}
    rows = [_row(name, described, stages[name]) for name in maps]
    verdict = _verdict(rows, stages, len(series))
    table = pd.DataFrame(rows).set_index("map")
    title = (
        f"{', '.join(r.name for r in runs)}: {args.of} of {kind}, {len(series)} series, "
        f"{series[0].shape[1]} components, periods 2 to {settings.slowest} points"
    )
    drawn = _draw(runs, found, series, maps, described, names, settings, title, args.out)
    _keep(maps[RECORDED], found, args.out)
    result = plain(
        {
            "command": "motifs", "channels": kind, "of": args.of, "series": names,
            "settings": settings._asdict() | {"window": window},
            "variance_shares": [own for c in found for own in c.share.tolist()],
            "verdict": verdict, "rows": rows, "maps": described, "stages": stages, "figures": drawn,
        }
    )  # fmt: skip
    write_results(args.out, "motifs", result, table)
    table = table[[name for name in SHOWN if name in table]]
    return result, table.assign(verdict=[verdict] + [""] * len(CONTROLS))


def _maps(series, settings) -> dict:
    """The map, and one of each control."""
    rng = np.random.default_rng(settings.seed)
    made = {RECORDED: series}
    made |= {name: [control(x, rng) for x in series] for name, control in CONTROLS.items()}
    shown = tqdm(made.items(), desc="maps", unit="map", disable=None)
    return {name: mapped(own, settings) for name, own in shown}


def _advice(error):
    return ": python -m pip install 'tapjax[motifs]'" if isinstance(error, ImportError) else ""


def _settings(args, points) -> Settings:
    slowest = args.slowest or min(500, points // 24)
    if not 4 <= slowest <= points // 4:
        raise RunError(
            f"--slowest={slowest} is not between 4 and a quarter of the {points} points of a run"
        )
    return Settings(slowest, args.train, args.every, args.sigma, args.seed)


def _placed_steps(one, found):
    """Steps of the placed points of each series."""
    steps = [c.steps for c in found for _ in c.values]
    return [step[index] for step, index in zip(steps, one.index, strict=True)]


def _stages(one, runs, found, settings) -> dict:
    """Evidence of stages, and of the epoch, of every run."""
    result, first = {}, 0
    least = -(-2 * settings.slowest // settings.every)
    for r in runs:
        own = slice(first, first + len(r.seeds))
        label, step = np.stack(one.label[own]), _placed_steps(one, found)[first]
        result[r.name] = evidence_of_order(label, one.regions.count, least)
        period = epoch_steps(r)
        if period and r.steps("scalar")[1] - r.steps("scalar")[0] < period / 4:
            result[r.name]["epoch"] = epoch_information(label, step, period)
        first += len(r.seeds)
    return result


def _row(name, described, stages) -> dict:
    """One line of the table: means over series, and what the recorded map has beyond a control."""
    own, recorded = described[name], described[RECORDED]
    row = {"map": name} | {key: own[key] for key in WHOLE}
    for measure in MEASURES:
        values = np.array(own["series"][measure], float)
        row[measure], row[f"{measure}_half"] = interval(values)
        if name != RECORDED:
            beyond = np.array(recorded["series"][measure], float) - values
            row[f"{measure}_beyond"], row[f"{measure}_beyond_half"] = interval(beyond)
            row[f"{measure}_p"] = paired_p(beyond)
    if len(stages) == 1:
        (only,) = stages.values()
        epoch = only.get("epoch", {})
        row |= {key: only[key] for key in ("contiguity", "contiguity_p", "agreement")}
        row |= {"agreement_p": only["agreement_p"], "ordered": only["ordered"]}
        row |= {"epoch_bits": epoch.get("bits"), "epoch_null_bits": epoch.get("null_bits")}
        row |= {"epoch_p": epoch.get("p")}
    return row


def _verdict(rows, stages, seeds) -> str:
    """What may be claimed of the recorded map."""
    if seeds < LEAST_SEEDS:
        return f"untested: needs {LEAST_SEEDS} seeds"
    distinct = all(
        row[f"{measure}_beyond"] > 0 and row[f"{measure}_p"] <= RATE
        for row in rows[1:]
        for measure in ("separation", "dwell")
    )
    ordered = all(found["ordered"] for found in stages[RECORDED].values())
    states = "distinct states" if distinct else "no states beyond the controls"
    return f"{states}, {'in an order that seeds share' if ordered else 'in no shared order'}"


def _draw(runs, found, series, maps, described, names, settings, title, out):
    one = maps[RECORDED]
    steps = _placed_steps(one, found)
    grid = frequencies(1 / settings.slowest, 0.5)
    every = found[0].steps[1] - found[0].steps[0]
    epoch = epoch_steps(runs[0])
    sweeps = {name: counts(np.concatenate(m.place)) for name, m in maps.items()}
    made = [
        figures.learning(runs, title, out / "learning.png"),
        figures.scalogram(
            found[0].steps, amplitudes(series[0], grid), grid, epoch and epoch / every,
            f"{names[0]}: how strongly each component moves", out / "scalogram.png",
        ),
        figures.overview(one, steps, names, title, out / "map.png"),
        figures.controls(maps, sweeps, title, out / "controls.png"),
        figures.ethogram(one, steps, names, title, out / "ethogram.png"),
        figures.graph(one, described[RECORDED], title, out / "transitions.png"),
    ]  # fmt: skip
    return [path.name for path in made]


def _keep(one, found, out):
    """Places and states of every point, for analyses of one's own."""
    arrays = {}
    for i, step in enumerate(_placed_steps(one, found)):
        arrays |= {
            f"step/{i}": step, f"place/{i}": one.place[i], f"state/{i}": one.label[i],
            f"inside/{i}": one.inside[i], f"total/{i}": one.total[i],
        }  # fmt: skip
    write_npz(out / "map.npz", arrays)
