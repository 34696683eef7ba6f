"""Test which recorded variables act on each other, and measure how well each can be forecast."""

import contextlib
import itertools

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.edm.links import (
    UNPROVEN,
    check_attainable,
    surrogates_for,
    too_few_seeds,
    untested,
    verdicts,
)
from analysis.edm.nulls import NULLS
from analysis.edm.study import forecasts, known, power, study
from analysis.edm.variables import PREPARED, USUAL, WINDOW, evenly, recorded, variables
from analysis.figures.edm import convergence, forecast_skill, matrix
from analysis.runs.reader import RunError, open_runs

LEAST = 200  # smallest number of points


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "edm")
    add_figure_flags(parser)
    parser.add_argument(
        "--variables",
        help="recorded variables, separated by commas: D, D/LAYER, a scalar, METRIC, METRIC/LAYER, "
        f"METRIC/MATRIX or eval/NAME (default: those of {', '.join(USUAL)} that are recorded)",
    )
    parser.add_argument(
        "--prepare",
        default="increments",
        choices=list(PREPARED),
        help="how trends that variables share are removed: increments are changes from point to "
        f"point, detrended is the deviation from the mean of the previous {WINDOW} points, raw "
        "removes nothing",
    )
    parser.add_argument(
        "--null",
        default="phases",
        choices=list(NULLS),
        help="kind of surrogates, series without any effect, that each cause is compared with",
    )
    parser.add_argument(
        "--surrogates",
        type=int,
        help="number of surrogates of each cause; by default enough for the number of tested links",
    )
    parser.add_argument("--start", type=int, default=0, help="first training step to use")
    parser.add_argument(
        "--stop", type=int, help="training step before which to stop; by default the end of the run"
    )
    parser.add_argument(
        "--lags",
        type=int,
        default=5,
        help="largest lag between cause and effect, in points, in both directions of time",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=20,
        help="number of random libraries of each size, over which the skill is averaged",
    )
    parser.add_argument(
        "--no-power",
        action="store_true",
        help="do not measure which strength of a planted link would be found",
    )


def run(args):
    """Run the command with its parsed flags.

    All links of all runs are tested together, with one correction and one number of surrogates. If
    a run has too few seeds for any claim, its links are shown as untested. Its forecasts are still
    computed.

    Raises:
      RunError: a series cannot be analysed, or the requested surrogates are too few for any claim.
    """
    runs, refused = open_runs(args.runs, args.partial)
    ready = [prepared(run, args) for run in runs]
    links = [len(series) * (len(series) - 1) for _, series in ready]
    why = _untestable(runs, links)
    tests = sum(n for n, reason in zip(links, why, strict=True) if not reason)
    planned = tests or sum(links)
    surrogates = surrogates_for(planned) if args.surrogates is None else args.surrogates
    settings = {
        "null": args.null, "surrogates": surrogates, "samples": args.samples,
        "lags": range(-args.lags, args.lags + 1),
    }  # fmt: skip
    try:
        check_attainable(planned, surrogates, None)
    except ValueError as error:
        raise RunError(f"--surrogates={args.surrogates}: {error}") from error
    studied = []
    shown = tqdm(runs, desc="testing links", unit="run", disable=None)
    for run, (_, series) in zip(shown, ready, strict=True):
        with _named(run):
            studied.append(study(series, **settings))
    every = {
        (i, *pair): e for i, own in enumerate(studied) if not why[i] for pair, e in own.items()
    }
    judged, found = iter(verdicts(every, runs=True)), []
    for run, own_ready, own, reason in zip(runs, ready, studied, why, strict=True):
        rows = untested(own) if reason else [next(judged) for _ in own]
        found.append(_one(run, *own_ready, own, rows, 0 if reason else tests, settings, args))
    table = pd.DataFrame([row for one in found for row in one["links"]]).set_index("run")
    notes = [f"{run.name}: links untested: {r}" for run, r in zip(runs, why, strict=True) if r]
    result = {"command": "edm", "links_tested": tests, "runs": plain(found)}
    result |= {"refused": refused, "notes": notes, "conclusion": _conclusion(table, tests)}
    write_results(args.out, "edm", result, table)
    return result, table


def _conclusion(links, tests):
    """Name the links that were found, or say that none was."""
    if not tests:
        return "No link was tested."
    found = links[links["verdict"] == "drives"].reset_index()
    named = [f"{row.cause} drives {row.effect} ({row.run})" for row in found.itertuples()]
    listed = "; ".join(named) if named else "none"
    said = f"Links found among {tests} tested, each beyond its null after correction: {listed}."
    lags = "Negative lags: the cause comes first, by this number of points."
    return f"{said} {lags}" if named else said


def _untestable(runs, links):
    """Return for each run the reason why its links cannot be tested, or None if they can.

    A run with too few seeds to pass the correction is excluded from it. The correction is then
    milder for the other runs. Only the number of seeds decides about this, never the data.
    """
    why = [None] * len(runs)
    while True:
        tests = sum(n for n, reason in zip(links, why, strict=True) if not reason)
        fewest = min((len(r.seeds) for r, w in zip(runs, why, strict=True) if not w), default=0)
        reason = too_few_seeds(tests, fewest) if tests else None
        if not reason:
            return why
        why = [
            w or (reason if len(r.seeds) == fewest else None)
            for r, w in zip(runs, why, strict=True)
        ]


@contextlib.contextmanager
def _named(run):
    """Add the path of the run to an error about its series."""
    try:
        yield
    except ValueError as error:
        raise RunError(f"{run.path}: {error}") from error


def prepared(run, args) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Select the requested variables and steps of a run, and prepare the series for the analysis.

    Args:
      run: open run.
      args: parsed flags.

    Returns:
      Steps [T], and a dict from name to series [S, T]. Every series is finite and varies.

    Raises:
      RunError: a variable is not recorded, fewer than two variables are requested, two of them are
        the same series, there are too few or unevenly spaced points, or a series is constant or not
        finite.
    """
    if args.variables is None:
        names = [name for name in USUAL if recorded(run, name)]
        if len(names) < 2:
            raise RunError(
                f"{run.path} has fewer than two of {', '.join(USUAL)}: name two or more recorded "
                "variables with --variables"
            )
    else:
        names = dict.fromkeys(name.strip() for name in args.variables.split(",") if name.strip())
        if len(names) < 2:
            raise RunError(
                f"--variables={args.variables}: fewer than two variables; name two or more, with "
                "commas"
            )
    steps, series = variables(run, names)
    for one, other in itertools.combinations(series, 2):
        if np.array_equal(series[one], series[other]):
            raise RunError(
                f"{run.path}: {one} and {other} are the same series: leave one of them out"
            )
    first = WINDOW if args.prepare == "detrended" else 1
    kept = (steps >= args.start) & (steps < (steps[-1] + 1 if args.stop is None else args.stop))
    kept[:first] = False
    if kept.sum() < LEAST:
        raise RunError(
            f"{run.path}: {kept.sum()} points are between --start and --stop, but at least {LEAST} "
            "are needed: measure more often, or choose variables that are recorded at every step"
        )
    evenly(steps[kept], run.path)
    ready = {}
    for name, values in series.items():
        ready[name] = PREPARED[args.prepare](values)[:, kept]
        if not np.isfinite(ready[name]).all() or (ready[name].std(1) == 0).any():
            raise RunError(f"{run.path}: {name} is constant or not finite in a seed: leave it out")
    return steps[kept], ready


def _one(run, steps, series, found, rows, tests, settings, args):
    """Collect the results of one run, including the rows of its links; draw its figures.

    `tests` is 0 if the links of this run are not tested.
    """
    links, tried = [{"run": run.name} | row for row in rows], None
    with _named(run):
        if tests:
            tried = known(len(steps), len(run.seeds), tests, **settings)
            if not tried["recovered"]:
                links = [row | {"verdict": UNPROVEN} for row in links]
        if tests and not args.no_power:
            strengths = power(series, tests, **settings)
            for row in links:
                row["found_from"] = strengths[row["cause"], row["effect"]]
        ahead = forecasts(series)
    title = f"{run.name}, {args.prepare}, steps {steps[0]} to {steps[-1]}"
    folder = args.out / run.name
    figures = {
        "links": matrix(links, title, folder / "links").name,
        "convergence": convergence(found, title, folder / "convergence").name,
        "forecasts": forecast_skill(ahead, title, folder / "forecasts").name,
    }
    return {
        "run": run.name, "seeds": run.seeds, "null": args.null,
        "surrogates": settings["surrogates"], "points": len(steps), "steps": [steps[0], steps[-1]],
        "known": tried, "links": links, "forecasts": ahead, "figures": figures,
    }  # fmt: skip
