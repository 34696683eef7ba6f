"""Measure whether networks keep learning, what they remember, and whether clones of units diverge.

Four columns describe memory. `average_accuracy` is the mean over all tasks at the end of training.
`forgetting` is the best accuracy on a task at the end of any task before the last one, minus the
final accuracy (Chaudhry et al. 2018, https://arxiv.org/abs/1801.10112). It is negative if the last
task helped. `backward_transfer` (BWT) is the final accuracy minus the accuracy at the end of the
task's own training. `forward_transfer` is the accuracy right before that training, minus chance.
Both transfers are those of Lopez-Paz & Ranzato 2017, https://arxiv.org/abs/1706.08840.
"""

from pathlib import Path

import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures import plasticity as figures
from analysis.plasticity import learning
from analysis.runs.seeds import open_family, settings
from analysis.statistics.corrections import LEAST_CORRELATED, correct, told_q, too_few

SHOWN = ("method", "n", "score", "early", "late", "late_half", "over_plain", "over_plain_half")
SHOWN += ("over_plain_q", "dead_fraction_late", "dup_fraction_late", "eff_rank_late")
SHOWN += ("average_accuracy", "forgetting", "backward_transfer", "forward_transfer")
SHOWN += ("cloning_loss", "loss_late", "x1_loss_late", "hard_rank_end", "x1_hard_rank_end")


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.description = __doc__
    add_out(parser, "plasticity")
    add_figure_flags(parser)


def run(args):
    """Run the command with its parsed flags."""
    return compare(args.runs, args.out, args.partial)


def compare(paths, out: Path, partial: bool = False):
    """Write tables and figures of plasticity runs, grouped by setting.

    Runs of one setting learn the same tasks. They are compared with each other.

    Args:
      paths: run directories, or folders that contain them.
      out: folder for plasticity.json, plasticity.csv and the figures.
      partial: whether to read unfinished runs, too.

    Returns:
      (JSON result, table to print).

    Raises:
      RunError: no run is of the plasticity family.
    """
    runs, refused = open_family(paths, "plasticity", partial)
    rows, signs, drawn = [], {}, {}
    groups = settings(runs, learning.setting)
    for i, (name, members) in enumerate(groups, 1):
        rows += [{"setting": name} | row for row in learning.table(members)]
        signs[name] = learning.early_signs(members)
        drawn[name] = [path.name for path in _draw(members, name, signs[name], out, i)]
    told = correct(rows, "over_plain_p", "over_plain_q")
    table = pd.DataFrame(rows).set_index("setting")
    result = {"command": "plasticity", "rows": rows, "early_signs": signs, "figures": drawn}
    result["refused"] = refused + [
        f"{run.name}: memory of tasks: eval_every={run.config['eval_every']} does not divide "
        f"tasks.steps={learning.task_steps(run)}, so the ends of tasks were not evaluated"
        for run in runs
        if run.has("eval", "task_accuracy") and not learning.has_matrix(run)
    ]
    few = [too_few(len(m), LEAST_CORRELATED, "runs") for _, m in groups]
    early = [f"early signs of {name}: {why}" for (name, _), why in zip(groups, few, strict=True)]
    result["notes"] = [told] * bool(told) + [n for n, why in zip(early, few, strict=True) if why]
    result["conclusion"] = _conclusion(rows)
    result = plain(result)
    write_results(out, "plasticity", result, table)
    return result, table[[name for name in SHOWN if name in table]].dropna(axis=1, how="all")


def _conclusion(rows):
    """Name the method that learns best late in training, in each setting."""
    said = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        scored = [r for r in rows if r["setting"] == setting and r.get("late") is not None]
        if scored:
            score = scored[0]["score"]
            best = min if score == "loss" else max
            top = best(scored, key=lambda row: row["late"])
            gain = ""
            if top.get("over_plain"):
                gain = f", {top['over_plain']:+.3f} from plain, {told_q(top['over_plain_q'])}"
            said.append(f"{top['method']} ({score} {top['late']:.3f}{gain}) in {setting}")
            said += [_course(row) for row in scored if row["method"] == learning.PLAIN][:1]
    return f"Best late in training: {'; '.join(said)}." if said else "No score was recorded."


def _course(row):
    """Say how the score of plain training went from early to late tasks."""
    return f"plain training went from {row['early']:.3f} to {row['late']:.3f}"


def _draw(members, name, signs, out, i):
    labels = learning.labels(members)
    if learning.score(members[0]).shape[1] > 1:
        yield figures.learning(members, labels, name, out / f"setting_{i}")
    for run, label in zip(members, labels, strict=True):
        if learning.has_matrix(run) and learning.finished_tasks(run) > 1:
            yield figures.memory(run, f"{name}, {label}", out / f"memory_{i}_{run.name}")
    cloned = [pair for pair in zip(members, labels, strict=True) if learning.is_cloned(pair[0])]
    if cloned:
        yield figures.cloning(*zip(*cloned, strict=True), name, out / f"cloning_{i}")
    if signs:
        yield figures.early_signs(signs, name, out / f"early_signs_{i}")
