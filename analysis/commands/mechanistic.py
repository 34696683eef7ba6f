"""Measure what changes inside a network around its critical steps, beyond its ordinary changes.

It also describes in which order the layers settle, which layers move together, and the jumps.
"""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_csv
from analysis.figures import mechanistic as figures
from analysis.figures.style import synthetic
from analysis.mechanistic import changes, interventions, metrics, report_text
from analysis.mechanistic import overview as course_of
from analysis.mechanistic.convergence import CHARACTER
from analysis.mechanistic.critical_steps import COLUMNS, CriticalMoment, plan_from
from analysis.runs.finding import find_runs
from analysis.runs.reader import RunError, open_runs
from analysis.runs.snapshots import read_plan, read_snapshots
from analysis.statistics.corrections import ALPHA, q_values
from tapjax.contract.layout import INTERVENTIONS, record_steps, write_json, write_text
from tapjax.contract.text import plural, shortened

SHOWN = ("run", "moment", "seed", "layer", "quantity", "unit")
SHOWN += ("before", "after", "change", "z", "p")

MOST = 3  # maximum number of critical steps of a run of another loop
CACHED = 4  # maximum number of steps whose snapshots are in memory


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    add_out(parser, "mechanistic")
    add_figure_flags(parser)
    parser.add_argument(
        "--jump",
        type=int,
        help="number of the only critical step to compare in each run, from 1; by default all",
    )
    parser.add_argument(
        "--at",
        type=steps,
        default=(),
        metavar="STEPS",
        help="critical steps, such as 500,2000, instead of detected ones; for snapshots that a "
        "Recorder has written",
    )
    parser.add_argument(
        "--snapshots",
        type=Path,
        help="folder with the snapshots of a single run; by default RUN/snapshots",
    )


def steps(text: str) -> tuple[int, ...]:
    """Read steps such as `500,2000`."""
    return tuple(int(step) for step in text.split(","))


def run(args):
    """Run the command with its parsed flags.

    Raises:
      RunError: one folder of snapshots was given for several runs.
    """
    if args.snapshots and len(find_runs(args.runs)) > 1:
        raise RunError(
            "--snapshots is the folder of a single run: give one run, or leave --snapshots out"
        )
    return explain(args.runs, args.out, args.partial, args.jump, args.snapshots, args.at)


def explain(paths, out: Path, partial=False, number: int | None = None, snapshots=None, asked=()):
    """Compare before, during and after each critical step of each run; describe layers and jumps.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for the results. Each run gets a folder in it; families.csv compares all runs.
      partial: whether to read unfinished runs, too.
      number: number of the only critical step to compare in each run, from 1; None for all.
      snapshots: folder with the snapshots of a single run; None for RUN/snapshots.
      asked: critical steps that the user requests instead of detected ones.

    Returns:
      (JSON result, table to print). The table lists the changes beyond the null. If no critical
      step was compared, it describes how the layers of each run settle and move together.

    Raises:
      RunError: no run has D at every measurement, snapshots are damaged, a run has no critical
        step of this number, or two runs have the same name.
    """
    runs, shown, compared, without = {}, [], [], []
    opened, left_out = open_runs(paths, partial)
    for run in opened:
        try:
            course = course_of.describe(run)
        except RunError as error:
            left_out.append(str(error))
            continue
        folder = out / run.name
        folder.mkdir(parents=True, exist_ok=True)
        results, why = compare_moments(
            run, Path(snapshots or run.path / "snapshots"), folder, number, asked
        )
        settling = _draw_settling(run, course, folder)
        detailed = pd.DataFrame(course["jumps"], columns=(*COLUMNS, *CHARACTER, "kind"))
        write_csv(folder / "jumps_detailed.csv", detailed, index=False)
        runs[run.name] = course | {"moments": [r._asdict() for r in results]}
        compared += [(run.name, r.measurements, changes.findings(r)) for r in results]
        try:
            effects = _draw_interventions(run, folder)
        except RunError as error:
            effects = []
            why.append(str(error))
        runs[run.name]["interventions"] = [each.about | {"rows": each.rows} for each in effects]
        write_json(folder / "analysis_results.json", plain(runs[run.name]))
        text = report_text.report(run.name, course, results, why, settling, effects)
        write_text(folder / "comparison_report.md", text)
        without += why
        for result in results:
            m = result.measurements
            about = {"run": run.name, "moment": m["number"], "seed": m["seed"]}
            found = changes.findings(result)[: report_text.MOST_ROWS]
            shown += [about | row for row in found or [{"layer": report_text.NOTHING}]]
    if not runs:
        raise RunError(f"no run could be described: {shortened(left_out)}")
    families = _families(runs)
    write_csv(out / "families.csv", families)
    if not shown:
        table = families
    else:
        table = pd.DataFrame(shown, columns=SHOWN).set_index("run")
        table = table.map(lambda value: np.nan if value is None else value)
    result = {"command": "mechanistic", "conclusion": _conclusion(compared, families)}
    result |= {"runs": runs, "left_out": left_out, "not_compared": without}
    return plain(result | {"refused": left_out + without}), table


def _conclusion(compared, families):
    """Name the strongest change around each critical step that has one."""
    tested = families[families["q"].notna()]
    ordered = int((tested["settling"] != "no order").sum())
    text = f"Layers settle in an order in {ordered} of {plural(len(tested), 'run')}"
    if len(tested) < len(families):
        text += f" ({len(families) - len(tested)} not tested, for too few layers or seeds)"
    if tested.empty:
        text = "The order in which layers settle was not tested, for too few layers or seeds"
    if not compared:
        return f"{text}; no critical step was compared, which needs snapshots."
    strongest = [
        f"{name} at step {about['steps'][1]}, seed {about['seed']}: {_strongest(rows)}"
        for name, about, rows in compared
        if rows
    ]
    text += f"; {plural(len(compared), 'critical step')} compared, {len(strongest)} with changes"
    return f"{text} beyond the null{': ' + '; '.join(strongest) if strongest else ''}."


def _strongest(rows):
    """Name the layer that changed most, and the unit within it if one stands out."""
    layer = rows[0]["layer"]
    units = [row["unit"] for row in rows if row["layer"] == layer and row["unit"] is not None]
    return f"{layer}{f', unit {units[0]},' if units else ''} changed most"


def _families(courses) -> pd.DataFrame:
    """Build one row per run; q corrects the p-values of the settling orders over these runs.

    If q is above .05, the settling is reported as `no order`.
    """
    rows = [{"run": name} | course_of.summary(course) for name, course in courses.items()]
    table = pd.DataFrame(rows).set_index("run")
    table["p"] = q_values(table["p"].astype(float))
    table = table.rename(columns={"p": "q"})
    table.loc[table["q"] > ALPHA, "settling"] = "no order"
    return table


def compare_moments(run, folder: Path, out: Path, number: int | None = None, asked=()):
    """Test and draw the critical steps that were planned when the snapshots were taken.

    Args:
      run: open run.
      folder: folder with the run's snapshots.
      out: folder for the figures.
      number: number of the only critical step to compare, from 1; None for all.
      asked: critical steps that the user requests; only for snapshots of another loop.

    Returns:
      (list of AnalysisResult, list of reasons why critical steps were left out).

    Raises:
      RunError: snapshots are damaged, or there is no critical step of this number.
    """
    try:
        planned = _planned(run, folder, asked)
    except RunError as error:
        return [], [str(error)]
    chosen = list(enumerate(planned["moments"], 1))
    if number is not None:
        if not 1 <= number <= len(chosen):
            raise RunError(f"--jump={number}: {folder} has {len(chosen)} critical steps")
        chosen = [chosen[number - 1]]
    at = functools.lru_cache(CACHED)(functools.partial(read_snapshots, folder))
    quiet = course_of.quiet_pairs(run, planned)
    known, results, left_out = _ordinary(run, at, [quiet[i - 1] for i, _ in chosen]), [], []
    for i, moment in chosen:
        triple = [CriticalMoment(**m) for m in moment["triple"]]
        sides = [at(m.step)[triple[1].jump_info["seed"]] for m in triple]
        null = [known[pair] for pair in quiet[i - 1]]
        try:
            result = changes.compare(run, triple, sides, null, len(quiet))
        except RunError as error:
            left_out.append(str(error))
            continue
        title = f"critical step {i}: {result.moment}, seed {result.measurements['seed']}"
        drawn = _draw_moment(result, sides, f"{title}{synthetic(run)}", out / f"moment_{i}")
        numbered = {"number": i} | result.measurements
        results.append(result._replace(measurements=numbered, visualizations=drawn))
    looked_at = [moment["triple"][1]["step"] for moment in planned["moments"]]
    _draw_entropy(run, folder, planned["steps"], looked_at, out)
    if results:
        figures.change_map(run.layer_names, results, _title(run), out / "change_map")
    return results, left_out


def _planned(run, folder, asked):
    """Return the plan of the snapshots, made now if another loop has written them."""
    steps = record_steps(folder)
    if run.recorded and steps and not (folder / "moments.json").exists():
        return plan_from(run, list(steps), MOST, asked)
    if asked:
        raise RunError(
            f"--at: the snapshots of {run.path} lie around steps that were chosen when they were "
            "taken; tapjax replay --moments --steps=... takes those around other steps"
        )
    return read_plan(folder)


def _ordinary(run, at, quiet):
    """Measure the changes over each pair, in an order that keeps few snapshots in memory."""
    rectified, known = changes.rectified_of(run), {}
    pairs = sorted({pair for each in quiet for pair in each}, key=lambda pair: pair[1:])
    for seed, a, b in tqdm(pairs, desc=f"{run.name}: ordinary pairs", disable=None):
        pair = changes.Pair(seed, at(a)[seed], at(b)[seed])
        known[seed, a, b] = changes.ordinary(pair, rectified)
    return known


def _draw_interventions(run, folder):
    """Test, write and draw the interventions of a run, if it has any."""
    if not (run.path / INTERVENTIONS / "moments.json").is_file():
        return []
    found = interventions.compare(run)
    rows = [
        {"step": each.about["step"], "seed": each.about["seed"]} | row
        for each in found
        for row in each.rows
    ]
    write_csv(folder / "interventions.csv", pd.DataFrame(rows), index=False)
    for i, each in enumerate(found, 1):
        figures.interventions(each, _title(run), folder / f"interventions_{i}")
    return found


def _title(run):
    return f"{run.model['architecture']} on {run.model['data']}{synthetic(run)}"


def _draw_moment(result, sides, title, stem):
    """Draw one figure of each kind, for the layer with the most unusual change."""
    layers = list(dict.fromkeys(row["layer"] for row in result.measurements["changes"]))

    def most_changed(group):
        return next((layer for layer in layers if layer in sides[0].group(group)), None)

    drawn = {}
    layer = most_changed("attention")
    if layer:
        p = [side.group("attention")[layer] for side in sides]
        out = stem.with_name(f"{stem.name}_attention_pattern")
        drawn["attention"] = figures.attention_pattern(p, f"{layer}, {title}", out)
    pairs = {"filters": figures.filter_viz, "class_mean": figures.activation_heatmap}
    for group, draw in pairs.items():
        layer = most_changed(group)
        if layer:
            ends = (side.group(group)[layer] for side in (sides[0], sides[-1]))
            name = draw.__name__
            out = stem.with_name(f"{stem.name}_{name}")
            drawn[group] = draw(*ends, f"{layer}, {title}", out)
    return {name: path.name for name, path in drawn.items()}


def _draw_entropy(run, folder, steps, moments, out):
    seed, entropy = run.seeds[0], {}
    for step in steps:
        few = read_snapshots(folder, step, ["attention"])[seed]
        for layer, p in few.group("attention").items():
            entropy.setdefault(layer, []).append(metrics.attention_entropy(p))
            most = float(np.log(p.shape[-1]))
    if entropy:
        title, path = f"{_title(run)}, seed {seed}", out / "entropy_evolution"
        figures.entropy_evolution(steps, entropy, most, moments, title, path)


def _draw_settling(run, course, folder):
    """Draw when layers settled; return the name of the figure, or None if no layer did."""
    settled_SxL = np.array(list(course["settled"].values())).T
    names, order = run.layer_names, course["convergence"]
    if not len(settled_SxL):
        return None
    return figures.settling(settled_SxL, names, order, _title(run), folder / "convergence").name
