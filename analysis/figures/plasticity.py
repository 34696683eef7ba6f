"""Figures of plasticity runs: learning over tasks, memory of tasks, clones, and early signs."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from analysis.figures.style import binned, legend_below, one_panel, panels, save, synthetic
from analysis.plasticity.learning import remembered, score, score_name, task_matrix, unit_courses
from analysis.runs.seeds import interval
from tapjax.contract.text import plural

PANELS = {
    "dead_fraction": "dead units",
    "dup_fraction": "duplicate units",
    "eff_rank": "effective rank",
    "dimension": "D",
    "weight_norm": "weight norm",
}
MOST = 10  # maximum number of runs in one figure
TEXT = {
    "score": "the score itself", "dimension": "D", "dead_fraction": "dead units",
    "dormant_fraction": "dormant units", "dup_fraction": "duplicate units",
    "saturated_fraction": "saturated units", "eff_rank": "effective rank",
    "stable_rank": "stable rank", "hard_rank": "hard rank", "feature_norm": "feature norm",
    "weight_norm": "weight norm", "gradient_rank": "gradient rank", "ntk_rank": "NTK rank",
}  # fmt: skip


def learning(runs, labels, title: str, out: Path) -> Path:
    """Draw the online score and the measures of units, task by task.

    Args:
      runs: open runs of one setting; the first 10 are drawn.
      labels: label of each run.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(6, (4.2, 3.1), least=2.2)
    for run, label, colour in zip(runs[:MOST], labels, _colours(), strict=False):
        values_SxK = score(run)
        _band(axes[0], np.arange(1, values_SxK.shape[1] + 1), values_SxK, colour, label)
        courses = unit_courses(run)
        for axis, name in zip(axes[1:], PANELS, strict=True):
            if name in courses:
                tasks = np.arange(1, courses[name].shape[1] + 1)
                _band(axis, tasks, courses[name], colour, label)
    axes[0].set_ylabel(f"online {score_name(runs[0])}, mean over the task")
    for axis, text in zip(axes[1:], PANELS.values(), strict=True):
        axis.set_ylabel(f"{text}, mean over layers")
    for axis in axes:
        axis.set_xlabel("task")
        axis.locator_params(axis="x", integer=True)
    legend_below(figure, *axes[0].get_legend_handles_labels())
    figure.suptitle(f"{title}{synthetic(runs[0])}; {_seeds(runs)}")
    return save(figure, out)


def memory(run, label: str, out: Path) -> Path:
    """Draw the accuracy on every task at the end of every task, as a matrix and as curves.

    Args:
      run: open run with two or more finished tasks, for which `learning.has_matrix` holds.
      label: label of the run, for the title.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    matrix_SxKxK = task_matrix(run)
    matrix_KxK, found = matrix_SxKxK.mean(0), remembered(matrix_SxKxK, 0.0)
    judged_by = "training labels" if run.config["tasks"]["kind"] == "labels" else "test split"
    tasks = np.arange(1, len(matrix_KxK) + 1)
    figure, (left, right) = panels(2, (5.2, 3.9), least=3)
    box = (0.5, len(tasks) + 0.5, len(tasks) + 0.5, 0.5)
    image = left.imshow(matrix_KxK, vmin=0, vmax=1, cmap="viridis", extent=box)
    figure.colorbar(image, ax=left, label=f"accuracy, {judged_by}")
    left.set(xlabel="task evaluated", ylabel="tasks learned")
    for i in range(len(tasks)):
        colour = plt.get_cmap("viridis")(i / max(len(tasks) - 1, 1))
        right.plot(tasks[i:], matrix_KxK[i:, i], "o-", markersize=3, color=colour)
    right.set(xlabel="tasks learned", ylabel=f"accuracy, {judged_by}", ylim=(-0.02, 1.02))
    right.set_title("one line per task, from the end of its training (yellow: last task)")
    left.set_title(
        f"forgetting (Chaudhry et al. 2018) {found['forgetting'].mean():.3f}, "
        f"backward transfer (BWT) {found['backward_transfer'].mean():.3f}",
    )
    left.locator_params(integer=True)
    right.locator_params(axis="x", integer=True)
    seeds = plural(len(run.seeds), "seed")
    figure.suptitle(f"{label}{synthetic(run)}; means over {seeds}")
    return save(figure, out)


def cloning(runs, labels, title: str, out: Path) -> Path:
    """Draw how similar clones stay, the training loss, and the number of independent units.

    Args:
      runs: open runs with clones; the first 10 are drawn.
      labels: label of each run.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axes = panels(3, (4.2, 3.6), least=2.2)
    for run, label, colour in zip(runs[:MOST], labels, _colours(), strict=False):
        at = run.steps("probe")
        _band(axes[0], at, run.array("probe", "cloning_loss").mean(-1), colour, label)
        for name, line in (("", "-"), ("x1_", "--")):
            steps, loss_SxT = binned(run, f"{name}loss")
            axes[1].plot(steps, loss_SxT.mean(0), line, color=colour, linewidth=1)
            rank_SxT = run.array("probe", f"{name}hard_rank").sum(-1)
            axes[2].plot(at, rank_SxT.mean(0), line, color=colour, linewidth=1)
    clone = runs[0].config["clone"]
    for axis in axes:
        for i in range(clone["times"]):
            axis.axvline((i + 1) * clone["step"], color="0.4", linestyle=":", linewidth=1)
        axis.set_xlabel("training step")
    axes[0].set_ylabel("cloning loss, 1 - R² within clones")
    axes[1].set(ylabel="training loss", yscale="log")
    axes[2].set_ylabel("independent units (hard rank), all layers")
    axes[1].set_title("solid: clone; dashed: base network; dotted: step of cloning")
    legend_below(figure, *axes[0].get_legend_handles_labels())
    figure.suptitle(f"{title}{synthetic(runs[0])}; {_seeds(runs)}")
    return save(figure, out)


def early_signs(rows, title: str, out: Path) -> Path:
    """Draw how well the early change of each quantity predicted the later loss of plasticity.

    Args:
      rows: rows from `analysis.plasticity.learning.early_signs`, one per quantity.
      title: title of the figure.
      out: path of the PNG file to write.

    Returns:
      The path written.
    """
    figure, axis = one_panel(7.5, 0.42 * len(rows) + 1.8)
    kinds = (
        ("rho", "alone", "C0", -0.12),
        ("given_score", "given the early change of the score", "C1", 0.12),
    )
    for key, text, colour, shift in kinds:
        shown = [(i, row) for i, row in enumerate(rows) if key in row]
        x = [row[key] for _, row in shown]
        ends = [
            [abs(row[f"{key}_{end}"] - row[key]) for _, row in shown] for end in ("low", "high")
        ]
        y = [i + shift for i, _ in shown]
        axis.errorbar(x, y, xerr=ends, fmt="o", color=colour, markersize=4, capsize=2, label=text)
    axis.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    axis.set_yticks(range(len(rows)), [TEXT.get(row["quantity"], row["quantity"]) for row in rows])
    axis.set_xlim(-1.05, 1.05)
    axis.set_xlabel("Spearman's rho of the early change with the later change of the score")
    axis.invert_yaxis()
    legend_below(figure, *axis.get_legend_handles_labels())
    figure.suptitle(f"{title}; {plural(rows[0]['runs'], 'run')}, all seeds")
    return save(figure, out)


def _colours():
    return [f"C{i}" for i in range(MOST)]


def _band(axis, x, values_SxT, colour, label):
    axis.plot(x, values_SxT.mean(0), color=colour, label=label, linewidth=1.2)
    if len(values_SxT) > 1:
        mean_T, half_T = np.transpose([interval(values_S) for values_S in values_SxT.T])
        axis.fill_between(x, mean_T - half_T, mean_T + half_T, color=colour, alpha=0.2)


def _seeds(runs):
    return f"means over {plural(len(runs[0].seeds), 'seed')} with 95 % intervals"
