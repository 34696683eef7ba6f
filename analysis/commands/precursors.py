"""Test which quantities move before an ability emerges, and whether they tell when it will.

The runs need several seeds, 20 or so. `--control` names a run in which the ability never comes, as
of `configs/tap/emergence.py:task=...,control=partial`. Best is one that learns all but the ability.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_csv, write_results
from analysis.figures import precursors as figures
from analysis.figures.style import synthetic
from analysis.runs.reader import Run, RunError, open_run, open_runs
from analysis.statistics.corrections import q_values
from analysis.tap import early_warning, precursors
from analysis.tap.abilities import check_control, describe, find_emergence
from analysis.tap.signals import LEAST_STEPS, left_out, signals
from tapjax.contract.text import shortened
from tapjax.live.alarms import AlarmRule

LEVEL = 0.05
LOSSES = ("probe/loss", "scalar/loss")
SEEN = 0.67  # share of the time before the first onset that forecasts see
LEAST_HITS = 0.2  # share of seeds that an alarm must precede, to be passed on to the monitor


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "precursors")
    add_figure_flags(parser)
    parser.add_argument("--control", type=Path, help="run in which the ability never comes")
    parser.add_argument(
        "--ability",
        help="ability that emerges, such as repeated; by default the one that rises most",
    )
    parser.add_argument(
        "--ahead",
        type=float,
        default=0.05,
        help="share of the median step of emergence by which a warning must precede the onset",
    )


def run(args):
    """Run the command with its parsed flags."""
    return find_precursors(
        args.runs, args.out, args.partial, args.control, args.ability, args.ahead
    )


def find_precursors(paths, out: Path, partial=False, control=None, ability=None, ahead=0.05):
    """Test every quantity of each run.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for precursors.json, precursors.csv, precursors_distance.csv (the area under the
        ROC curve of a warning by its distance from the onset) and a figure of each run.
      partial: whether to read unfinished runs, too.
      control: run in which the ability never comes; None for no test of warnings.
      ability: name of the ability, see `emergence.capabilities`; None for the one that rises most.
      ahead: share of the median step of emergence by which a warning must precede the onset.

    Returns:
      (JSON result, table to print: one row per run and signal).

    Raises:
      RunError: in no run an ability emerges in six seeds or more.
    """
    if not 0 <= ahead < 1:
        raise RunError(f"--ahead={ahead:g} must be a share from 0 to below 1")
    runs, refused = open_runs(paths, partial)
    controls = open_run(control, partial) if control else None
    tested, without = [], []
    for each in runs:
        try:
            tested.append(_test(each, controls, ability, ahead))
        except RunError as error:
            without.append(str(error))
    if not tested:
        raise RunError(f"nothing emerges: {shortened(without)}")
    table = _corrected([row for each in tested for row in each.rows])
    by_distance = pd.DataFrame([row for each in tested for row in each.distances])
    for each in tested:
        each.about["found_with_80_percent"] = _least(each.about, table, controls)
        model, name = each.run.model, each.run.name
        title = f"{model['architecture']} on {model['data']}{synthetic(each.run)}"
        own, far = (of[of["run"] == name] for of in (table, by_distance))
        figures.precursors(own, far, each.about, title, out / f"{name}_precursors")
    abilities = [each.about for each in tested]
    result = {
        "command": "precursors",
        "abilities": abilities,
        "signals": table.to_dict("records"),
        "distances": by_distance.to_dict("records"),
        "alarms": _alarms(tested, table),
        "conclusions": [_conclusion(about, table) for about in abilities],
        "refused": refused + without,
    }
    result = plain(result)
    shown = table.set_index("run")
    write_results(out, "precursors", result, shown)
    write_csv(out / "precursors_distance.csv", by_distance, index=False)
    return result, shown


class Tested(NamedTuple):
    """Results of one run before the correction, with the AlarmRule of each signal."""

    run: Run
    about: dict
    rows: list[dict]
    distances: list[dict]
    rules: dict[str, AlarmRule]


def _test(each, controls, ability, ahead) -> Tested:
    name, found = find_emergence(each, ability)
    check_control(controls, each, name)
    every, distance = signals(each, controls), ahead * np.nanmedian(found.half)
    rules = {s.name: early_warning.alarm_rule(s, found.onset, distance, name) for s in every}
    rules = {signal: rule for signal, rule in rules.items() if rule is not None}
    loss = next((s for name in LOSSES for s in every if s.name == name), None)
    speed = None if loss is None else precursors.speed_of_seeds(loss, found.onset)
    about = describe(each, name, found) | {"left_out": left_out(each, every)}
    about["speed_rho"] = None if speed is None else _correlation(speed, found.half)
    rows = _rows(each, every, found, distance, rules, loss, speed)
    return Tested(each, about, rows, _distances(each, every, found), rules)


def _correlation(a, b):
    known = np.isfinite(a) & np.isfinite(b)
    return float(spearmanr(a[known], b[known]).statistic)


def _rows(each, every, found, distance, rules, loss, speed):
    rng = np.random.default_rng(precursors.SEED)
    until = np.nanmin(found.onset) * SEEN
    first = [] if loss is None else [loss]
    baseline = precursors.forecast(first, found.half, until) if first else np.nan
    rows = []
    for signal in every:
        moved = precursors.moving_steps(signal)
        lead = (found.half - moved)[np.isfinite(found.half) & np.isfinite(moved)]
        rho, p_order = precursors.order_over_seeds(moved, found.half, speed, rng)
        area, p_warning = early_warning.warning(signal, found.onset, distance, rng)
        following, p_next = early_warning.next_seed(signal, found.onset, distance, rng)
        few = len(lead) < precursors.LEAST_SEEDS
        rows.append(
            {
                "run": each.name,
                "signal": signal.name,
                "moves": len(lead),
                "lead": np.nan if few else float(np.median(lead)),
                "low": np.nan if few else float(np.quantile(lead, 0.1)),
                "high": np.nan if few else float(np.quantile(lead, 0.9)),
                "rho": rho,
                "p": p_order,
                "area": area,
                "p_warning": p_warning,
                "hits": rules[signal.name].hits if signal.name in rules else np.nan,
                "next": following,
                "p_next": p_next,
                "R2": precursors.forecast([*first, signal], found.half, until),
                "R2_loss": baseline,
            }
        )
    return rows


def _distances(each, every, found):
    """Return the area under the ROC curve of each signal's warning at several distances."""
    rows = []
    for share in early_warning.DISTANCES:
        distance = share * np.nanmedian(found.half)
        for signal in every:
            rows.append(
                {
                    "run": each.name,
                    "signal": signal.name,
                    "ahead": share,
                    "steps": float(distance),
                    "area": early_warning.area(signal, found.onset, distance),
                }
            )
    return rows


def _corrected(rows):
    """Correct the three kinds of p together, over all signals and runs."""
    table = pd.DataFrame(rows)
    kinds = {"p": "q", "p_warning": "q_warning", "p_next": "q_next"}
    every = np.asarray(q_values(pd.concat([table[p] for p in kinds], ignore_index=True)), float)
    for p, part in zip(kinds, np.split(every, len(kinds)), strict=True):
        table.insert(list(table).index(p) + 1, kinds[p], part)
    return table


def _least(about, table, controls):
    """Return the effects that this number of seeds would have shown after correction."""
    tests = int(table[["p", "p_warning", "p_next"]].notna().to_numpy().sum())
    count = 0 if controls is None else len(controls.seeds)
    return early_warning.least_effects(about["emerges"], count, tests)


def _alarms(tested, table):
    """List the alarms of the signals that warn, after correction, in enough seeds."""
    warns = table[(table["q_warning"] <= LEVEL) & (table["hits"] >= LEAST_HITS)]
    of_run = {each.run.name: each.rules for each in tested}
    return [
        {"run": run, **of_run[run][signal]._asdict()}
        for run, signal in zip(warns["run"], warns["signal"], strict=True)
    ]


def _conclusion(about, table):
    own = table[table["run"] == about["run"]]
    low, high = about["step_interval"]
    said = (
        f"{about['ability']} emerges in {about['emerges']} of {about['seeds']} seeds of "
        f"{about['run']}, at step {about['step']:.0f} (median, 90 % interval {low:.0f} to "
        f"{high:.0f}; seeds {about['low']:.0f} to {about['high']:.0f}). "
    )
    found, least = own[["q", "q_warning", "q_next"]] <= LEVEL, about["found_with_80_percent"]
    tested = int(own["p_warning"].notna().sum())
    if tested:
        warn = own[found["q_warning"]].sort_values("area", ascending=False)["signal"]
        said += f"Before, {len(warn)} of {tested} signals move farther than in controls"
        said += f"{_listed(warn)} ({_detectable('an area', least['area'])}). "
    else:
        said += (
            "Warnings are not tested: the ability has to emerge in nine of ten seeds, and six "
            "controls have to be measured at the same steps, and alike before training. "
        )
    if own["p_next"].notna().any():
        following = own[found["q_next"]]["signal"]
        said += f"{len(following)} tell which seed is the next{_listed(following)}. "
    often = own["moves"] >= 0.9 * about["emerges"]
    order = own[often & found["q"] & (own["rho"] > 0) & (own["low"] > 0)]["signal"]
    speed = about["speed_rho"]
    given = "no landmark of the speed is known"
    if speed is not None:
        given = f"given the speed of the seeds, whose correlation with the step is {speed:.2f}"
    said += f"{len(order)} move before it in nine of ten seeds, in the order of seeds"
    said += f"{_listed(order)} ({given}; {_detectable('a correlation', least['rho'])})."
    if about["left_out"]:
        said += (
            f" Left out, for values that are not finite or fewer than {LEAST_STEPS} measurements: "
            f"{shortened(about['left_out'])}."
        )
    return said


def _detectable(effect, least):
    if not np.isfinite(least):
        return f"no size of {effect} could be found"
    return f"{effect} of {least:.2f} would be found"


def _listed(names):
    return f": {', '.join(names[:5])}" + (", ..." if len(names) > 5 else "") if len(names) else ""
