"""Text of the before/after report of a run."""

from analysis.mechanistic.changes import ALPHA, AnalysisResult, findings
from analysis.mechanistic.critical_steps import SIDES
from analysis.mechanistic.interventions import Intervention
from tapjax.contract import detector
from tapjax.contract.text import plural

MOST_ROWS = 12
NOTHING = "Nothing beyond the null."


def report(
    name: str,
    course: dict,
    results: list[AnalysisResult],
    why: list[str],
    settling: str | None,
    effects: list[Intervention] = (),
) -> str:
    """Write the report: what changed around the critical steps of a run, and how its layers moved.

    Args:
      name: name of the run.
      course: description of the run from `overview.describe`.
      results: one result per critical step, with its figures.
      why: reasons why critical steps could not be compared; empty if there are none.
      settling: name of the figure of when layers settled; None if there is none.
      effects: effects of interventions, one per critical step.

    Returns:
      Markdown text.
    """
    synthetic = " (SYNTHETIC data)" if course["synthetic"] else ""
    lines = [f"# {name}: {course['architecture']} on {course['data']}{synthetic}", ""]
    lines += [f"{plural(len(course['seeds']), 'seed')}, {course['measurements']} measurements.", ""]
    lines += [line for reason in why for line in (f"No comparison: {reason}", "")]
    if not results and not why:
        lines += ["No critical step was found. " + NOTHING, ""]
    for result in results:
        lines += _moment(result)
    if results:
        lines += [
            "z is the excess of the logarithm of a change over the changes between ordinary pairs "
            "of states, equally far apart, in the same part of training, in units of their spread. "
            "For a single unit, it is the largest z over the units of its layer, in units of the "
            "spread of this maximum. p is the share of ordinary pairs whose largest z over all "
            "layers and quantities is at least as large, times the number of critical steps. p is "
            "valid for steps that were chosen beforehand. Jumps were chosen because something "
            "changed, at least D.",
            "",
        ]
    for i, each in enumerate(effects, 1):
        lines += _interventions(i, each)
    return "\n".join(lines + _course(course, settling)) + "\n"


def _interventions(number, effects):
    about = effects.about
    found = [row for row in effects.rows if row["p"] <= ALPHA]
    power = f"{about['null_pairs']} ordinary pairs, smallest possible p {about['smallest_p']:.3f}"
    lines = [f"## Did it matter? Step {about['step']}, seed {about['seed']}", ""]
    lines += [
        "Undo: the later network with activations of the earlier one, on the same examples. "
        "Transplant: the earlier network with those of the later one. Ablation: how much more or "
        "less the mean activation costs later than earlier. Effects are changes of the loss, "
        f"compared with {power}.",
        "",
        f"{plural(len(found), 'effect')} beyond the null:" if found else NOTHING,
        "",
    ]
    if found:
        columns = ("layer", "unit", "intervention", "effect", "ordinary", "accuracy", "class")
        rows = [row | {"unit": "all" if row["unit"] is None else row["unit"]} for row in found]
        lines += [*_table((*columns, "z", "p"), rows[:MOST_ROWS]), ""]
    return [*lines, f"![effects of interventions](interventions_{number}.png)", ""]


def _moment(result):
    m = result.measurements
    found = findings(result)
    why = ", ".join(f"{key} {_value(value)}" for key, value in m["why"].items() if key != "run")
    power = f"{m['null_pairs']} ordinary pairs, smallest possible p {m['smallest_p']:.3f}"
    if m["smallest_p"] > ALPHA:
        power += ", which is too few to find anything: train longer"
    said = f"{len(found)} changes beyond the null:" if found else NOTHING
    lines = [f"## Critical step {m['number']}: {result.moment}, seed {m['seed']}", "", why, ""]
    lines += [f"Compared with {power}.", "", said, ""]
    if m["not_measured"]:
        lines += [f"Not tested, because values are not finite: {', '.join(m['not_measured'])}.", ""]
    if found:
        columns = ("layer", "quantity", "unit", *SIDES, "change", "ordinary", "z", "p")
        lines += _table(columns, found[:MOST_ROWS])
        if len(found) > MOST_ROWS:
            lines += ["", f"and {len(found) - MOST_ROWS} more in analysis_results.json."]
        lines += [
            "",
            "Units whose weights changed most, compared with their layer and their usual changes:",
            "",
        ]
        lines += _table(("layer", "unit", "change", "z"), m["units"][:5])
    lines += ["", *(f"![{name}]({file})" for name, file in result.visualizations.items()), ""]
    return lines


def _table(columns, rows):
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return head + ["| " + " | ".join(_value(row[c]) for c in columns) + " |" for row in rows]


def _value(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _course(course, settling):
    order = course["convergence"]
    lines = ["## Layers", "", f"Order in which layers settle: {order['pattern']}."]
    if order["rho"] is not None:
        lines[-1] += (
            f" Depth and settling step correlate with {order['rho']:.2f} ({order['low']:.2f} "
            f"to {order['high']:.2f} over seeds)"
        )
        lines[-1] += "." if order["p"] is None else f", p {order['p']:.3f} of this run alone."
    lines += ["", f"![step from which each layer is settled]({settling})" if settling else "", ""]
    judged = [row for row in course["coordination"] if row["p"] is not None]
    for row in judged:
        periods = "; ".join(f"{a} to {b}" for a, b in row["periods"]) or "none"
        lines += [f"- {row['kind']}, seed {row['seed']}: p {row['p']:.3f}, steps {periods}"]
    looked_at = len(course["seeds"]) * course["measurements"] * (len(course["settled"]) + 1)
    kinds = course["kinds"]
    lines += [
        "",
        "## Jumps",
        "",
        f"{plural(len(course['jumps']), 'jump')} in {looked_at} measurements of D and of all "
        f"layers. {detector.by_chance(looked_at)}",
    ]
    if kinds["kinds"]:
        lines += [
            f"Kinds of jumps by size, speed and phase: {kinds['kinds']}, with silhouette "
            f"{kinds['silhouette']:.2f}. The kinds of two halves of the jumps agree with "
            f"{kinds['stability']:.2f} (p {kinds['p']:.2f})."
        ]
    for name, test in course["early_against_late"].items():
        judged = test["too_few"] or f"p {test['p']:.3f}, {test['n']} seeds, {test['jumps']} jumps"
        said = "" if test["too_few"] else f" {test['rho']:.2f}"
        lines += [
            f"Early and late jumps: correlation of {name.replace('_', ' ')} with the phase of "
            f"training{said} ({judged})."
        ]
    return lines
