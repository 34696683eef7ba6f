"""Test whether the dimensionality changes before, with or after the capabilities of a network."""

import functools
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures import emergence as figures
from analysis.runs.finding import find_runs
from analysis.runs.measures import of_measure
from analysis.runs.reader import RunError, open_run
from analysis.statistics import lags
from analysis.statistics.corrections import q_values
from analysis.statistics.parallel import in_processes
from analysis.tap import emergence
from tapjax.contract.layout import write_text
from tapjax.contract.text import plural, shortened

SHOWN = ("capability", "verdict", "best_lag_steps", "low", "high", "r", "null_95")
SHOWN += ("p", "q", "p_guard")


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "emergence")
    add_figure_flags(parser)
    parser.add_argument(
        "--metric",
        help="recorded metric that D is computed from, by default that of each run; or a quantity "
        "of a measure that is tested instead of D, MEASURE/QUANTITY",
    )


def run(args):
    """Run the command with its parsed flags."""
    return find_emergence(args.runs, args.out, args.partial, args.metric)


def find_emergence(paths, out: Path, partial: bool = False, metric: str | None = None):
    """Test for every run whether D leads or follows the capabilities.

    Runs with the same length, number of seeds and measurement interval are also tested together,
    but runs on synthetic data apart from the others.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for emergence.json, emergence.csv, figures and phase4_summary.md.
      partial: whether to read unfinished runs, too.
      metric: name of a recorded dimensionality metric; None uses the metric of each run.

    Returns:
      (JSON result, table to print: one row per run, or group of runs, and capability).

    Raises:
      RunError: no run could be tested.
    """
    opened, refused = _open_all(paths, partial, metric)
    alike = defaultdict(list)
    for run, of in opened:
        alike[of.d_SxT.shape, of.every, bool(run.model.get("synthetic"))].append(of)
    pooled = [
        (f"{len(parts)} runs of {parts[0].d_SxT.shape[1] + 1} measurements", emergence.pool(parts))
        for parts in alike.values()
        if len(parts) > 1
    ]
    named = [(run.name, of) for run, of in opened] + pooled
    tests = sum(len(of.capabilities) for _, of in named)
    judged = in_processes(functools.partial(_couplings, tests=tests), named, "testing")
    rows, orders, powers, classes = [], {}, {}, {}
    for (run, of), result in zip(opened, judged, strict=False):
        if isinstance(result, RunError):
            refused.append(f"{run.path}: {result}")
            continue
        found, powers[run.name] = result
        names = {"run": run.name, "architecture": run.model["architecture"]}
        names |= {"data": run.model["data"], "seeds": len(run.seeds)}
        rows += [names | _row(coupling, of.every) for coupling in found]
        seen = emergence.landmarks(run, metric)
        orders[run.name], classes[run.name] = emergence.order(seen), emergence.class_table(run)
        figures.emergence(run, found, seen, of.every, out / f"{run.name}_emergence", metric)
    for (name, of), result in zip(pooled, judged[len(opened) :], strict=True):
        if isinstance(result, RunError):
            refused.append(f"{name}: {result}")
            continue
        found, powers[name] = result
        rows += [{"run": name} | _row(coupling, of.every) for coupling in found]
    if not rows:
        raise RunError("no run could be tested: " + shortened(refused))
    table = _with_verdicts(rows)
    result = {
        "command": "emergence",
        "tests": plain(table.to_dict("records")),
        "verdicts": table["verdict"].value_counts().to_dict(),
        "conclusion": _conclusion(table["verdict"], powers, metric),
        "power": plain(powers),
        "order": plain(orders),
        "weakest_classes": {
            name: plain(found[: emergence.WEAKEST]) for name, found in classes.items()
        },
        "refused": refused,
    }
    figures.verdicts(table, powers, out / "emergence")
    shown = table.set_index("run")
    write_results(out, "emergence", result, shown)
    write_text(out / "phase4_summary.md", _summary(result, shown, metric))
    return result, shown[list(SHOWN)]


def _open_all(paths, partial, metric):
    """Return the runs that can be tested, with their changes, and why the others cannot."""
    opened, refused = [], []
    for path in find_runs(paths):
        try:
            run = open_run(path, partial)
            if run.name in {other.name for other, _ in opened}:
                raise RunError(
                    f"{path}: another run is also named {run.name}: rename one of the folders"
                )
            of = emergence.changes(run, metric)
        except RunError as error:
            refused.append(str(error))
            continue
        refused += of.dropped
        opened.append((run, of))
    return opened, refused


def _couplings(argument, tests):
    name, of = argument
    try:
        return emergence.couplings(of, _generator(name), tests)
    except RunError as error:
        return error


def _generator(name):
    """Return the random generator of a run; it does not depend on the other runs of the test."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def _row(coupling, every):
    test, events = coupling.test, coupling.events
    return {
        "capability": coupling.capability,
        "best_lag_steps": test.best_lag * every,
        "low": test.interval[0] * every,
        "high": test.interval[1] * every,
        "r": float(test.r_K[test.best_lag + lags.REACH]),
        "null_95": test.null_95,
        "p": test.p["any"],
        "p_guard": test.p_guard,
        **_side(test, "leads", every),
        **_side(test, "lags", every),
        "test": test,
        "events": events["events"],
        "event_change": events["change"],
        "event_p": events["p"],
    }


def _side(test, side, every):
    """Find the strongest correlation at the lags where D leads, or at those where it lags."""
    at = int(np.argmax(np.where(lags.SIDES[side], np.abs(test.r_K), -1)))
    return {
        f"r_{side}": float(test.r_K[at]),
        f"r_{side}_steps": int(lags.LAGS[at]) * every,
        f"p_{side}": test.p[side],
    }


def _with_verdicts(rows):
    """Correct the p-values over all runs and capabilities, and add the verdicts."""
    table = pd.DataFrame(rows)
    table["q"] = q_values(table["p"])
    table["verdict"] = [lags.verdict(*pair) for pair in zip(table["q"], table["test"], strict=True)]
    return table.drop(columns="test")


def _conclusion(verdicts, powers, metric):
    leads, others = (verdicts == "leads").sum(), verdicts[verdicts != "leads"].value_counts()
    listed = ", ".join(f"{n} {name}" for name, n in others.items())
    strongest = list(next(iter(powers.values())))[-1]
    found = np.mean([power[strongest] for power in powers.values()])
    return (
        f"{_tested(metric)} changes before a capability in {leads} of "
        f"{plural(len(verdicts), 'test')}{f' ({listed})' if listed else ''}; a planted lead of "
        f"correlation {float(strongest):g} would be found in {found:.0%} of the trials."
    )


def _tested(metric):
    """Name the tested quantity: D, or a quantity of a measure."""
    return metric if of_measure(metric) else "D"


def _summary(result, table, metric):
    counts = ", ".join(f"{n} {name}" for name, n in result["verdicts"].items())
    powers = pd.DataFrame(result["power"]).T.loc[list(result["order"])]  # without groups of runs
    found = ", ".join(f"{powers[s].mean():.0%} at {float(s):g}" for s in powers.columns[1:])
    named = _tested(metric)
    remark = [f"In this report, D stands for {named}.", ""] if named != "D" else []
    lines = [
        "# Phase 4: does dimensionality move before capabilities?",
        "",
        *remark,
        f"{plural(len(result['order']), 'run')}, "
        f"{plural(len(table), 'pair')} of D and a capability: {counts}.",
        "",
        "The test compares the increments of ln D with those of the capability, at lags of up to",
        "20 measurements in both directions. Three things are removed from the increments: the",
        "trajectory that the seeds of a run share, each at its own speed; trends; and changes of",
        "the variance. p compares with random signs of blocks of time, the same for all seeds. q",
        "is p corrected over all tests (Benjamini-Hochberg). Any verdict but `no evidence` needs",
        "q <= .05, and p <= .05 against series of the same spectrum. For `leads` and `lags`, the",
        "90 % interval of the best lag is on one side of 0, and the correlation on the other side",
        "is less than half as large. For `simultaneous`, the interval contains 0 and is within",
        f"{lags.RESOLUTION} measurements of it. `order undetermined` means that D and the",
        "capability are coupled, but that none of these orders holds.",
        "",
        f"Power: a lead of {emergence.PLANTED_STEPS} steps (at least {emergence.LEAST_PLANTED} "
        "measurements) was planted in the first capability of each run, as the only effect among "
        f"all tests. The share of trials with the verdict `leads`, mean over runs, is {found} "
        f"(correlation of the lead); without a planted lead it is {powers.iloc[:, 0].mean():.0%}.",
        "",
        *_verdict_table(table),
        "",
        *_late_table(result["order"]),
        "",
        "## Weakest classes",
        "",
        *(
            f"- {name}: " + ", ".join(f"{c['class']} ({c['accuracy']:.0%})" for c in weakest)
            for name, weakest in result["weakest_classes"].items()
            if weakest
        ),
        "",
        *(f"Not tested: {line}" for line in result["refused"]),
    ]
    return "\n".join(lines) + "\n"


def _verdict_table(table):
    lines = [
        "| run | capability | verdict | best lag (steps) | r | 95 % of null | p | q "
        "| D first: r at steps (p) | D last: r at steps (p) | events, p |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        event = "-" if pd.isna(row.event_p) else f"{row.event_p:.3f}"
        lines.append(
            f"| {row.Index} | {row.capability} | {row.verdict} "
            f"| {row.best_lag_steps} ({row.low} to {row.high}) | {row.r:.3f} | {row.null_95:.3f} "
            f"| {row.p:.4f} | {row.q:.3f} "
            f"| {row.r_leads:.3f} at {row.r_leads_steps} ({row.p_leads:.4f}) "
            f"| {row.r_lags:.3f} at {row.r_lags_steps} ({row.p_lags:.4f}) "
            f"| {row.events}, {event} |"
        )
    return lines


def _late_table(orders):
    lines = [
        "## Order of landmarks",
        "",
        "Medians over seeds, in steps. A landmark of D that precedes the capability in every seed "
        "is not yet its cause. rho is the correlation over seeds between the step of the landmark "
        "and that of the capability; `able` is the step at which the test accuracy is halfway "
        "from its first to its best value.",
        "",
        "| run | fits data | able | late | landmark of D | lead (range) | precedes | rho (p) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, order in orders.items():
        for landmark in emergence.LANDMARKS:
            if order is None or landmark not in order:
                continue
            found = order[landmark]
            rho = "-" if found["rho"] is None else f"{found['rho']:.2f} ({found['p']:.3f})"
            lines.append(
                f"| {name} | {order['fit_step']:.0f} | {order['capability_step']:.0f} "
                f"| {'yes' if order['late'] else 'no'} | {landmark.split('_')[1]} "
                f"| {found['lead']:.0f} ({found['low']:.0f} to {found['high']:.0f}) "
                f"| {found['precedes']} of {found['seeds']} | {rho} |"
            )
    return lines
