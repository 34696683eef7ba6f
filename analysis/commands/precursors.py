"""Test which quantities move before an ability emerges, and whether they tell when it will.

The runs need several seeds, 20 or so. `--control` names a run in which the ability never comes, as
of `configs/tap/emergence.py:task=...,control=partial`. Best is one that learns all but the ability.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import quantile_test

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_csv, write_results
from analysis.figures import precursors as figures
from analysis.figures.style import synthetic
from analysis.runs.quantities import Quantity, quantities
from analysis.runs.reader import Run, RunError, open_run, open_runs
from analysis.statistics.corrections import q_values
from analysis.tap import early_warning, precursors
from analysis.tap.emergence import capabilities
from analysis.tap.precursors import Signal
from tapjax.contract import detector
from tapjax.contract.text import did_you_mean, shortened

LEVEL = 0.05
NO_ABILITY = ("-ln loss", "-ece", "confidence")
GROUPS_LEFT_OUT = ("eval",)
NAMES_LEFT_OUT = ("accuracy", "skill_accuracy", "class_accuracy", "confidence", "ece", "lr")
LEAST_STEPS = 20  # measurements of a signal


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
    rows, distances, abilities, left_out = [], [], [], []
    for each in runs:
        try:
            name, found = _emergence(each, ability)
            _check_control(controls, each, name)
        except RunError as error:
            left_out.append(str(error))
            continue
        every = signals(each, controls)
        abilities.append(_about(each, name, found))
        rows += _rows(each, every, found, ahead)
        distances += _by_distance(each, every, found)
    if not rows:
        raise RunError(f"nothing emerges: {shortened(left_out)}")
    table = _corrected(rows)
    for about in abilities:
        about["found_with_80_percent"] = _least(about, table, controls)
    by_distance = pd.DataFrame(distances)
    write_csv(out / "precursors_distance.csv", by_distance, index=False)
    for each, about in zip(_named(runs, abilities), abilities, strict=True):
        own = table[table["run"] == each.name]
        title = f"{each.model['architecture']} on {each.model['data']}{synthetic(each)}"
        far = by_distance[by_distance["run"] == each.name]
        figures.precursors(own, far, about, title, out / f"{each.name}_precursors")
    result = {
        "command": "precursors",
        "abilities": abilities,
        "signals": table.to_dict("records"),
        "distances": distances,
        "conclusions": [_conclusion(about, table) for about in abilities],
        "refused": refused + left_out,
    }
    result = plain(result)
    shown = table.set_index("run")
    write_results(out, "precursors", result, shown)
    return result, shown


def _named(runs, abilities):
    names = {about["run"] for about in abilities}
    return [each for each in runs if each.name in names]


def abilities_of(each: Run) -> dict[str, np.ndarray]:
    """Return the scores [S, T] of the abilities of a run, at least 0.

    A score below 0 is worse than knowing nothing, as that of a regression before training.
    """
    known = {k: v for k, v in capabilities(each).items() if k not in NO_ABILITY}
    return {name: np.maximum(score, 0) for name, score in known.items()}


def _emergence(each: Run, ability):
    known = abilities_of(each)
    if ability and ability not in known:
        raise RunError(
            f"{each.path} has no ability {ability!r}, only {', '.join(known)}"
            + did_you_mean(ability, known)
        )
    gain = {name: np.median(v.max(1) - v[:, 0]) for name, v in known.items()}
    name = ability or max(gain, key=gain.get)
    found = precursors.emergence(each.steps("probe"), known[name])
    count = int(np.isfinite(found.half).sum())
    if count < precursors.LEAST_SEEDS:
        raise RunError(
            f"{each.path}: {name} emerges in {count} of {len(each.seeds)} seeds, and "
            f"{precursors.LEAST_SEEDS} are needed"
        )
    return name, found


def _check_control(controls, each, name):
    """Raise an error if a control is the run itself, or if the ability comes in it, too."""
    if controls is None:
        return
    if controls.path.resolve() == each.path.resolve():
        raise RunError(f"{each.path} is its own control: name another run with --control")
    level_SxT = abilities_of(controls).get(name)
    if level_SxT is None:
        raise RunError(f"{controls.path}: the control has no ability {name!r}")
    came = np.isfinite(precursors.emergence(controls.steps("probe"), level_SxT).half).sum()
    if came:
        raise RunError(
            f"{controls.path}: {name} emerges in {came} of {len(controls.seeds)} seeds of the "
            "control"
        )


def _about(each, name, found):
    half = found.half[np.isfinite(found.half)]
    rng = np.random.default_rng(precursors.SEED)
    limits_Sx2 = precursors.half_intervals(each.steps("probe"), abilities_of(each)[name], rng)
    median = quantile_test(half, p=0.5).confidence_interval(0.9)
    return {
        "run": each.name,
        "ability": name,
        "seeds": len(each.seeds),
        "emerges": len(half),
        "step": float(np.median(half)),
        "step_interval": [median.low, median.high],
        "low": float(half.min()),
        "high": float(half.max()),
        "rise": float(np.nanmedian(found.end - found.onset)),
        "of_seeds": [
            {"seed": seed, "onset": onset, "half": at, "low": low, "high": high}
            for seed, onset, at, (low, high) in zip(
                each.seeds, found.onset, found.half, limits_Sx2, strict=True
            )
        ],
    }


def signals(each: Run, controls: Run | None) -> list[Signal]:
    """List the signals of a run: its quantities, of which several per step become the largest.

    Args:
      each: open run.
      controls: run in which the ability never comes, or None.

    Returns:
      Signals with at least 20 measurements that are finite in all seeds, and the number of `jumps`
      of D that were reported so far.
    """
    of_control = {} if controls is None else {_name(q): q for q in _quantities(controls)}
    found = []
    for quantity in _quantities(each):
        if quantity.group in GROUPS_LEFT_OUT or quantity.name in NAMES_LEFT_OUT:
            continue
        other, keep = of_control.get(_name(quantity)), _places(each, quantity)
        values = _largest(quantity.values)[:, keep]
        if len(keep) < LEAST_STEPS or not np.isfinite(values).all():
            continue
        same = other is not None and np.array_equal(other.steps, quantity.steps)
        control = _largest(other.values)[:, keep] if same else None
        if control is not None and not np.isfinite(control).all():
            control = None
        found.append(Signal(_name(quantity), quantity.steps[keep], values, control))
    return found


def _quantities(each):
    """List the quantities of a run, and the number of jumps of D that were reported so far."""
    listed = quantities(each)[0]
    of_d = next((q for q in listed if q.name == "D"), None)
    if of_d is None or not np.isfinite(of_d.values).all():
        return listed
    count_SxT = np.zeros(of_d.values.shape)
    for row, jumps in zip(count_SxT, detector.detect_each(of_d.values, of_d.steps), strict=True):
        for jump in jumps:  # a jump is reported once the measurements after it are known
            row[jump.index + detector.DELAY :] += 1
    return [*listed, Quantity("probe", "jumps", of_d.steps, count_SxT)]


def _places(each, quantity):
    """Return the places of the steps of the probe among those of a quantity, or all places."""
    if quantity.group != "scalar":
        return np.arange(len(quantity.steps))
    return np.flatnonzero(np.isin(quantity.steps, each.steps("probe")))


def _name(quantity):
    return "D" if quantity.name == "D" else f"{quantity.group}/{quantity.name}"


def _largest(values):
    return values.max(2) if values.ndim == 3 else values


def _rows(each, every, found, ahead):
    rng = np.random.default_rng(precursors.SEED)
    loss = next((s for s in every if s.name in ("probe/loss", "scalar/loss")), None)
    speed = None if loss is None else precursors.moving_steps(loss, precursors.ONSET)
    if speed is not None and np.isfinite(speed).sum() < precursors.LEAST_SEEDS:
        speed = None  # a loss that does not move says nothing about the speed
    until = np.nanmin(found.onset) * 0.67
    first = [] if loss is None else [loss]
    baseline = precursors.forecast(first, found.half, until) if first else np.nan
    rows = []
    for signal in every:
        moved = precursors.moving_steps(signal)
        lead = (found.half - moved)[np.isfinite(found.half) & np.isfinite(moved)]
        rho, p_order = precursors.order_over_seeds(moved, found.half, speed, rng)
        distance = ahead * np.nanmedian(found.half)
        area, p_warning, hits = early_warning.warning(signal, found.onset, distance, rng)
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
                "hits": hits,
                "next": following,
                "p_next": p_next,
                "R2": precursors.forecast([*first, signal], found.half, until),
                "R2_loss": baseline,
            }
        )
    return rows


def _by_distance(each, every, found):
    """Return the area under the ROC curve of each signal's warning at several distances."""
    rows = []
    for share in early_warning.DISTANCES:
        distance = share * np.nanmedian(found.half)
        for signal in every:
            area, hits = early_warning.area_and_hits(signal, found.onset, distance)
            rows.append(
                {
                    "run": each.name,
                    "signal": signal.name,
                    "ahead": share,
                    "steps": float(distance),
                    "area": area,
                    "hits": hits,
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


def _conclusion(about, table):
    own = table[table["run"] == about["run"]]
    found = own[["q", "q_warning", "q_next"]] <= LEVEL
    warn = own[found["q_warning"]].sort_values("area", ascending=False)["signal"]
    following = own[found["q_next"]]["signal"]
    often = own["moves"] >= 0.9 * about["emerges"]
    order = own[often & found["q"] & (own["rho"] > 0) & (own["low"] > 0)]["signal"]
    least = about["found_with_80_percent"]
    low, high = about["step_interval"]
    said = (
        f"{about['ability']} emerges in {about['emerges']} of {about['seeds']} seeds of "
        f"{about['run']}, at step {about['step']:.0f} (median, 90 % interval {low:.0f} to "
        f"{high:.0f}; seeds {about['low']:.0f} to {about['high']:.0f}). "
    )
    if own["p_warning"].notna().any():
        said += f"Before, {len(warn)} of {len(own)} signals move farther than in controls"
        said += _listed(warn) + f" (an area of {least['area']:.2f} would be found). "
    else:
        said += (
            "Warnings are not tested: they need six seeds of a control that were measured at the "
            "same steps, and are alike before training. "
        )
    if own["p_next"].notna().any():
        said += f"{len(following)} tell which seed is the next{_listed(following)}. "
    said += f"{len(order)} move before it in nine of ten seeds and tell their order"
    return said + _listed(order) + f" (a correlation of {least['rho']:.2f} would be found)."


def _listed(names):
    return f": {', '.join(names[:5])}" + (", ..." if len(names) > 5 else "") if len(names) else ""
