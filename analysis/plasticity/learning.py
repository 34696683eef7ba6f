"""Analyses of whether a network keeps learning: sequences of tasks, forgetting, clones of units.

All results are means over seeds with a t interval. Runs are compared seed by seed.
"""

import numpy as np
from scipy import stats

from analysis.runs.reader import Run, RunError
from analysis.runs.seeds import differing, field, interval
from analysis.statistics.corrections import LEAST_CORRELATED, sign_flip_p

# Config fields that describe what is learned, as opposed to the network and the method.
SETTING = (
    "data.name", "data.train_size", "data.normalise", "data.batch_size", "tasks.kind",
    "tasks.classes", "tasks.steps", "tasks.slow", "steps",
)  # fmt: skip
# Config fields in which networks and methods may differ, each with its usual values. Labels leave
# out the usual values.
METHOD = {
    "model.name": (), "model.norm": ("own",), "model.activation": ("own",), "model.init": (),
    "model.dropout": (-1.0, 0.0), "optimizer.name": (), "optimizer.lr": (),
    "optimizer.weight_decay": (0.0,), "optimizer.noise": (0.0,), "optimizer.noise_decay": (1.0,),
    "optimizer.l2_init": (0.0,), "optimizer.spectral": (0.0,), "optimizer.perturb": (0.0,),
    "renewal.name": ("none",), "renewal.rate": (1e-4,), "renewal.legacy": ("none",),
    "renewal.threshold": (0.1,), "tasks.head": ("keep",), "tasks.reset": (False,),
    "tasks.reset_optimizer": (False,), "clone.factor": (1,), "clone.times": (1,), "clone.step": (),
    "clone.track": (False,), "probe.one_class": (False,),
}  # fmt: skip
PLAIN = "plain"
UNITS = (
    "dead_fraction", "dormant_fraction", "dup_fraction", "saturated_fraction", "eff_rank",
    "stable_rank", "hard_rank", "feature_norm", "weight_norm", "gradient_rank", "ntk_rank",
)  # fmt: skip
MANY_TASKS = 20  # fewest tasks for which early and later changes are compared


def setting(config: dict) -> dict:
    """Return the fields of a config that describe what is learned."""
    return {name: field(config, name) for name in SETTING}


def labels(runs: list[Run]) -> list[str]:
    """Describe in a few words how each run differs from the others.

    Args:
      runs: runs of one setting.

    Returns:
      Names such as `renewal=cbp` or `weight_decay=0.0001, perturb=1e-05`. They list the fields that
      differ between the runs and do not have their usual values. For a single run they list the
      fields that have a usual value in general but another one in this run. `plain` if there are
      none.
    """
    rows = [_method(run) for run in runs]
    told = differing(rows)
    if len(rows) == 1:  # a field that an older run lacks is not listed
        told = {name for name in METHOD if METHOD[name] and rows[0][name] is not None}
    found = []
    for row in rows:
        said = [name for name in METHOD if name in told and row[name] not in METHOD[name]]
        short = (name.removesuffix(".name").rpartition(".")[2] for name in said)
        words = [f"{name}={row[full]}" for name, full in zip(short, said, strict=True)]
        found.append(", ".join(words) or PLAIN)
    return found


def _method(run):
    return {name: field(run.config, name) for name in METHOD}


def task_steps(run: Run) -> int:
    """Return the number of steps of each task of a run; all steps if there is only one task."""
    return run.config["tasks"]["steps"] or run.config["steps"]


def finished_tasks(run: Run) -> int:
    """Return the number of tasks that a run has trained to their end.

    Args:
      run: open run.

    Returns:
      Number of finished tasks, at least 1.

    Raises:
      RunError: no task is finished, because the run is not complete.
    """
    steps = int(run.steps("scalar")[-1]) + run.config.get("scalar_bin", 1)
    if steps < task_steps(run):
        raise RunError(
            f"{run.path}: no task is finished at step {steps}, the first ends at {task_steps(run)}"
        )
    return steps // task_steps(run)


def by_task(run: Run, group: str, values: np.ndarray) -> np.ndarray:
    """Reduce a recorded quantity to one value per task.

    Args:
      run: open run.
      group: `scalar` for the mean over the steps of a task, which makes accuracy an online
        accuracy; `probe` for the last measurement within each task.
      values: recorded values [S, T, ...]. They are averaged over all axes after the second.

    Returns:
      Values [S, K] of K tasks.
    """
    values = values.reshape(*values.shape[:2], -1).mean(-1)
    task = run.steps(group) // task_steps(run)
    mine = [np.flatnonzero(task == k) for k in range(finished_tasks(run))]
    if group == "scalar":
        return np.stack([values[:, index].mean(1) for index in mine], 1)
    return np.stack([values[:, index[-1]] for index in mine], 1)


def score(run: Run) -> np.ndarray:
    """Return the online accuracy of every task, or the loss if there are no classes, [S, K]."""
    return by_task(run, "scalar", run.array("scalar", score_name(run)))


def score_name(run: Run) -> str:
    """Return the name of the score: `accuracy`, or `loss` if there are no classes."""
    return "accuracy" if run.has("scalar", "accuracy") else "loss"


def early_and_late(values_SxK) -> tuple[np.ndarray, np.ndarray]:
    """Return the means over the second tenth and over the last tenth of the tasks.

    The first tenth is not used as the early value because it starts at random weights.

    Args:
      values_SxK: one value per task.

    Returns:
      Early and late means ([S], [S]).
    """
    tenth = max(values_SxK.shape[1] // 10, 1)
    start = min(tenth, values_SxK.shape[1] - 1)
    return values_SxK[:, start : start + tenth].mean(1), values_SxK[:, -tenth:].mean(1)


def task_matrix(run: Run) -> np.ndarray:
    """Return the accuracy on task i at the end of task t, [S, t, i], of a run that `has_matrix`.

    Evaluations within a task and tasks that are not finished are left out.
    """
    ends = task_steps(run) * (1 + np.arange(finished_tasks(run)))
    rows = np.searchsorted(run.steps("eval"), ends)
    return run.array("eval", "task_accuracy")[:, rows, : len(ends)]


def has_matrix(run: Run) -> bool:
    """Decide whether every task was evaluated at the end of every task."""
    if not run.has("eval", "task_accuracy"):
        return False
    ends = task_steps(run) * (1 + np.arange(finished_tasks(run)))
    return bool(np.isin(ends, run.steps("eval")).all())


def remembered(matrix_SxKxK, chance: float) -> dict[str, np.ndarray]:
    """Measure accuracy, forgetting and transfer after a sequence of K tasks.

    Forgetting is defined by Chaudhry et al. 2018, https://arxiv.org/abs/1801.10112, equation 3: the
    best accuracy on a task at the end of any task before the last, minus its accuracy at the end of
    the last task. Backward and forward transfer are those of Lopez-Paz & Ranzato 2017,
    https://arxiv.org/abs/1706.08840, equations 3 and 4.

    Args:
      matrix_SxKxK: accuracy on task i at the end of task t, [:, t, i].
      chance: accuracy of a random guess, which is subtracted for forward transfer.

    Returns:
      Arrays [S]: `average_accuracy` over all tasks at the end of the last one, in [0, 1]; and for
      K > 1 three quantities in [-1, 1]. `forgetting` is a mean over all tasks but the last. It is
      negative if earlier tasks are better after the last task than ever before.
      `backward_transfer` is the final accuracy minus that at the end of the task's own training, a
      mean over all tasks but the last. `forgetting` is never less than its negative.
      `forward_transfer` is the accuracy right before a task is trained minus chance, a mean over
      all tasks but the first.
    """
    last_SxK = matrix_SxKxK[:, -1]
    found = {"average_accuracy": last_SxK.mean(1)}
    if last_SxK.shape[1] > 1:
        learned_SxK = np.diagonal(matrix_SxKxK, axis1=1, axis2=2)
        before = np.diagonal(matrix_SxKxK[:, :-1, 1:], axis1=1, axis2=2)
        best_SxK = matrix_SxKxK[:, :-1].max(1)
        found["forgetting"] = (best_SxK - last_SxK)[:, :-1].mean(1)
        found["backward_transfer"] = (last_SxK - learned_SxK)[:, :-1].mean(1)
        found["forward_transfer"] = before.mean(1) - chance
    return found


def measure(run: Run) -> dict[str, np.ndarray]:
    """Measure for each seed how well it learned.

    Args:
      run: open run of the plasticity family.

    Returns:
      Arrays [S]: `early`, `late` and `change` of the online accuracy (or of the loss, if there are
      no classes); the early value and the `..._late` value of `dimension` and of every unit
      measure; the quantities of `remembered`, if the run has an accuracy matrix; and for a run with
      clones the final and the largest `cloning_loss`, the late losses `loss_late` and (of the base)
      `x1_loss_late`, and the final hard ranks `hard_rank_end` and `x1_hard_rank_end`.
    """
    early, late = early_and_late(score(run))
    found = {"early": early, "late": late, "change": late - early}
    for name, values_SxK in unit_courses(run).items():
        found[name], found[f"{name}_late"] = early_and_late(values_SxK)
    if has_matrix(run):
        tasks = run.config["tasks"]
        few = tasks["kind"] == "classes" and tasks["masked"]
        classes = tasks["classes"] if few else run.array("probe", "class_accuracy").shape[-1]
        found |= remembered(task_matrix(run), 1 / classes)
    return found | (_cloned(run) if is_cloned(run) else {})


def is_cloned(run: Run) -> bool:
    """Decide whether a run has a base network and clones."""
    return run.has("probe", "cloning_loss")


def _cloned(run):
    loss_SxT = run.array("probe", "cloning_loss").mean(-1)
    found = {"cloning_loss": loss_SxT[:, -1], "cloning_loss_max": loss_SxT.max(1)}
    for name in ("loss", "x1_loss"):
        values_SxT = run.array("scalar", name)
        found[f"{name}_late"] = values_SxT[:, -max(values_SxT.shape[1] // 50, 1) :].mean(1)
    for name in ("hard_rank", "x1_hard_rank"):
        found[f"{name}_end"] = run.array("probe", name)[:, -1].mean(-1)
    return found


def unit_courses(run: Run) -> dict[str, np.ndarray]:
    """Return D and every recorded unit measure per task, [S, K] each, means over layers."""
    courses = {name: run.array("probe", name) for name in UNITS if run.has("probe", name)}
    courses = {"dimension": run.dimension(gaps=True)} | courses
    return {name: by_task(run, "probe", values) for name, values in courses.items()}


def table(members: list[Run]) -> list[dict]:
    """Make one row per run of a setting, with a comparison with its plain run seed by seed.

    Args:
      members: open runs of one setting.

    Returns:
      Rows with `method`, `run`, `n` seeds and `score` (the quantity of which `early` and `late` are
      values); the mean of every measure and `..._half`, the half width of its interval; and
      `over_plain`, the difference in `late` from the plain run of the same network, with its half
      width and the p-value of an exact sign-flip test.
    """
    measured, methods = [measure(run) for run in members], [_method(run) for run in members]
    told = differing(methods)
    rows = []
    for i, (run, name) in enumerate(zip(members, labels(members), strict=True)):
        row = {"method": name, "run": run.name, "n": len(run.seeds), "score": score_name(run)}
        for key, values_S in measured[i].items():
            row[key], row[f"{key}_half"] = interval(values_S)
        j = _reference(i, members, methods, told)
        if j is not None:
            apart = measured[i]["late"] - measured[j]["late"]
            row["over_plain"], row["over_plain_half"] = interval(apart)
            row["over_plain_p"] = sign_flip_p(apart)
        rows.append(row)
    return rows


def _reference(i, members, methods, told):
    """Return the index of the plain run: the same network and seeds, but without mitigations."""
    for j, (run, row) in enumerate(zip(members, methods, strict=True)):
        plain = all(row[n] in METHOD[n] if METHOD[n] else row[n] == methods[i][n] for n in told)
        if plain and j != i and run.seeds == members[i].seeds:
            return j
    return None


def early_signs(members: list[Run]) -> list[dict]:
    """Test for each quantity whether its early change predicts a later loss of plasticity.

    Early changes are from the second task to a quarter of the tasks. Later changes are from there
    to the last tenth.

    Args:
      members: open runs of one setting.

    Returns:
      One row per quantity, including the score itself: `rho`, Spearman's correlation over runs and
      seeds between its early change and the later change of the score; `given_score`, the partial
      correlation given the early change of the score; and the bounds `..._low` and `..._high` of
      95 % intervals from a jackknife over runs, each left out with all its seeds. There are no rows
      for fewer than 20 tasks or 12 runs, because a correlation over fewer runs cannot be
      distinguished from 0.
    """
    tasks = min(finished_tasks(run) for run in members)
    if tasks < MANY_TASKS or len(members) < LEAST_CORRELATED:
        return []
    changes = [early_changes(run) for run in members]
    rows = []
    for name in changes[0]:
        if name == "later" or not all(name in found for found in changes):
            continue
        row = {"quantity": name, "runs": len(members)}
        for kind, given in (("rho", None), ("given_score", "score")):
            if name != given:
                row[kind], row[f"{kind}_low"], row[f"{kind}_high"] = _rho_interval(
                    changes, name, given
                )
        rows.append(row)
    return rows


def _rho_interval(changes, name, given):
    """Return Spearman's rho and the jackknife interval, over runs, of its Fisher transform."""
    n = len(changes)
    rho = _rho(changes, name, given)
    # The transform of a perfect correlation is infinite, so correlations are clipped.
    z, *without = (
        np.arctanh(np.clip(r, -0.999, 0.999))
        for r in (rho, *(_rho(changes[:i] + changes[i + 1 :], name, given) for i in range(n)))
    )
    half = interval(n * z - (n - 1) * np.array(without))[1]
    return rho, float(np.tanh(z - half)), float(np.tanh(z + half))


def early_changes(run: Run) -> dict[str, np.ndarray]:
    """Compute for each seed the early change of every quantity and the later change of the score.

    Args:
      run: open run of the plasticity family.

    Returns:
      Early changes [S] by name of the quantity, and the later change [S] of the score as `later`.
    """
    online = score(run)
    quarter = online.shape[1] // 4
    width = max(quarter // 4, 1)
    found = {
        name: values[:, quarter - width : quarter].mean(1) - values[:, 1 : 1 + width].mean(1)
        for name, values in ({"score": online} | unit_courses(run)).items()
    }
    # The later change does not start from the tasks with which the early change ends. Otherwise
    # noise in these tasks would affect both changes and correlate them.
    later = early_and_late(online)[1] - online[:, quarter : quarter + width].mean(1)
    return found | {"later": later}


def _rho(changes, name, given):
    """Return Spearman's rho over all seeds of runs; it is partial (by ranks) if `given` is set."""
    x, y = (np.concatenate([found[key] for found in changes]) for key in (name, "later"))
    if not (np.ptp(x) and np.ptp(y)):
        return np.nan
    x, y = stats.rankdata(x), stats.rankdata(y)
    if given:
        z = stats.rankdata(np.concatenate([found[given] for found in changes]))
        x, y = (a - np.polyval(np.polyfit(z, a, 1), z) for a in (x, y))
    return float(np.corrcoef(x, y)[0, 1])
